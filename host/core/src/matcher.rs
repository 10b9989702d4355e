//! A filter made ready to run: each attribute resolved to its place in an event's index, every text compared as bytes.
//!
//! Compiled once per definition and asked for every event that is read. [`Filter::matches`] says the same, slower, and is what
//! this is tested against. Knows nothing of topics.
//!
//! Invariant: as `Filter::matches` for every event; a missing attribute matches no comparison.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::event::{Event, Span};
use crate::spec::Filter;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher(Node);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Node {
    #[default]
    Everything,
    Compare(Attribute, How, Box<[u8]>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Exact,
    Prefix,
    Suffix,
}

/// Where an attribute is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attribute {
    Id,
    Source,
    Kind,
    Subject,
    Key,
    ContentType,
    /// An extension, found by its name: a walk over the few that an event has.
    Other(Box<[u8]>),
}

impl Matcher {
    /// Makes a filter ready.
    #[must_use]
    pub fn new(filter: &Filter) -> Matcher {
        Matcher(Node::new(filter))
    }

    /// Whether the filter wants the event.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.0.matches(event)
    }
}

impl Node {
    fn new(filter: &Filter) -> Node {
        let compare =
            |how, attribute: &str, value: &str| Node::Compare(Attribute::new(attribute), how, value.as_bytes().into());
        let all = |parts: &[Filter]| parts.iter().map(Node::new).collect::<Vec<_>>().into_boxed_slice();
        match filter {
            Filter::Everything => Node::Everything,
            Filter::Exact { attribute, value } => compare(How::Exact, attribute, value),
            Filter::Prefix { attribute, value } => compare(How::Prefix, attribute, value),
            Filter::Suffix { attribute, value } => compare(How::Suffix, attribute, value),
            Filter::All(parts) => Node::All(all(parts)),
            Filter::Any(parts) => Node::Any(all(parts)),
            Filter::Not(part) => Node::Not(Box::new(Node::new(part))),
        }
    }

    fn matches(&self, event: &Event) -> bool {
        match self {
            Node::Everything => true,
            Node::Compare(attribute, how, wanted) => attribute.of(event).is_some_and(|value| how.holds(value, wanted)),
            Node::All(parts) => parts.iter().all(|part| part.matches(event)),
            Node::Any(parts) => parts.iter().any(|part| part.matches(event)),
            Node::Not(part) => !part.matches(event),
        }
    }
}

impl How {
    fn holds(self, value: &[u8], wanted: &[u8]) -> bool {
        match self {
            How::Exact => value == wanted,
            How::Prefix => value.starts_with(wanted),
            How::Suffix => value.ends_with(wanted),
        }
    }
}

impl Attribute {
    fn new(name: &str) -> Attribute {
        match name {
            "id" => Attribute::Id,
            "source" => Attribute::Source,
            "type" => Attribute::Kind,
            "subject" => Attribute::Subject,
            "partitionkey" => Attribute::Key,
            "datacontenttype" => Attribute::ContentType,
            other => Attribute::Other(other.as_bytes().into()),
        }
    }

    fn of<'e>(&self, event: &'e Event) -> Option<&'e [u8]> {
        let index = event.index();
        let at = |span: Span| event.slice(span);
        match self {
            Attribute::Id => Some(at(index.id)),
            Attribute::Source => Some(at(index.source)),
            Attribute::Kind => Some(at(index.kind)),
            Attribute::Subject => index.subject.map(at),
            Attribute::Key => index.key.map(at),
            Attribute::ContentType => index.content_type.map(at),
            Attribute::Other(wanted) => {
                index.others.iter().find(|(name, _)| *at(*name) == **wanted).map(|(_, value)| at(*value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Index;
    use alloc::string::String;
    use proptest::prelude::*;

    const NAMES: [&str; 9] =
        ["id", "source", "type", "subject", "partitionkey", "datacontenttype", "region", "tenant", "priority"];
    const TEXTS: [&str; 6] = ["", "a", "ab", "ba", "order.paid", "ä"];

    fn event(picks: &[usize; 8]) -> Event {
        let mut bytes = Vec::new();
        let mut add = |text: &str| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(text.as_bytes());
            Span { start, len: text.len() as u32 }
        };
        let mut text = |pick: usize| TEXTS.get(pick).map(|text| add(text));
        let (id, source, kind) = (text(picks[0] % 6), text(picks[1] % 6), text(picks[2] % 6));
        let (subject, key, content_type) = (text(picks[3]), text(picks[4]), text(picks[5]));
        let (region, tenant) = (text(picks[6]), text(picks[7]));
        let mut others = Vec::new();
        for (name, value) in [("region", region), ("tenant", tenant)] {
            others.extend(value.map(|value| (add(name), value)));
        }
        let all = (id.unwrap(), source.unwrap(), kind.unwrap());
        let index =
            Index { id: all.0, source: all.1, kind: all.2, subject, key, content_type, others, ..Index::default() };
        Event::new(bytes.into(), index).unwrap()
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let leaf = (0..3_u8, 0..NAMES.len(), 0..TEXTS.len()).prop_map(|(how, name, text)| {
            let (attribute, value) = (String::from(NAMES[name]), String::from(TEXTS[text]));
            match how {
                0 => Filter::Exact { attribute, value },
                1 => Filter::Prefix { attribute, value },
                _ => Filter::Suffix { attribute, value },
            }
        });
        prop_oneof![1 => Just(Filter::Everything), 8 => leaf].prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::All),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Any),
                inner.prop_map(|part| Filter::Not(Box::new(part))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_matcher_says_what_its_filter_says(filter in filter(), picks in prop::array::uniform8(0..8_usize)) {
            let event = event(&picks);
            prop_assert_eq!(Matcher::new(&filter).matches(&event), filter.matches(&event));
        }
    }
}
