//! What the bytes of a refused event still tell: source, id and ordering key, as far as each can be read.
//!
//! For the rule that later events of a key wait for a refused one. It walks on where [`EventView`](crate::EventView) stops,
//! since a too large event or one with a bad attribute mostly has a good key. It does not know why the event was refused.
//!
//! The invariant: a text is named only if it is there once and passes the check that an accepted event's would; an event
//! is said to have no key only if every attribute could be told apart from one.

use crate::attribute::{check_text, parse_entry};
use crate::walk::{Field, Walk};

/// The attribute that is the ordering key.
const KEY: &str = "partitionkey";

/// The ordering key of a refused event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTrace<'a> {
    /// It has none.
    None,
    /// This one.
    Known(&'a str),
    /// The bytes do not tell; it may be any.
    Unknown,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTraces<'a> {
    /// `source`, if it can be read.
    pub source: Option<&'a str>,
    /// `id`, if it can be read.
    pub id: Option<&'a str>,
    /// `partitionkey`.
    pub key: KeyTrace<'a>,
}

impl<'a> EventTraces<'a> {
    /// Reads what can be read.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut walk = Walk::new(bytes);
        let (mut source, mut id, mut key) = (Trace::Absent, Trace::Absent, Trace::Absent);
        let is_whole = loop {
            match walk.field() {
                Ok(None) => break true,
                Err(_) => break false,
                Ok(Some((1, field))) => id = id.and(text("id", field)),
                Ok(Some((2, field))) => source = source.and(text("source", field)),
                Ok(Some((5, field))) => key = key.and(key_of(field)),
                Ok(Some(_)) => {}
            }
        };
        let key = match key {
            Trace::Absent if is_whole => KeyTrace::None,
            Trace::Absent | Trace::Unclear => KeyTrace::Unknown,
            Trace::Text(key) => KeyTrace::Known(key),
        };
        Self { source: source.known(), id: id.known(), key }
    }
}

/// One text, as far as the walk has come.
#[derive(Clone, Copy)]
enum Trace<'a> {
    Absent,
    Text(&'a str),
    /// It is there and not readable, or there twice.
    Unclear,
}

impl<'a> Trace<'a> {
    fn and(self, next: Trace<'a>) -> Trace<'a> {
        match (self, next) {
            (known, Trace::Absent) => known,
            (Trace::Absent, next) => next,
            (Trace::Text(_) | Trace::Unclear, Trace::Text(_) | Trace::Unclear) => Trace::Unclear,
        }
    }

    fn known(self) -> Option<&'a str> {
        match self {
            Trace::Text(text) => Some(text),
            Trace::Absent | Trace::Unclear => None,
        }
    }
}

fn text<'a>(name: &str, field: Field<'a>) -> Trace<'a> {
    match field {
        Field::Bytes(bytes) => check_text(name, bytes).map_or(Trace::Unclear, Trace::Text),
        Field::Varint(_) | Field::Fixed64 | Field::Fixed32 => Trace::Unclear,
    }
}

/// What one entry of the attribute map says of the key.
fn key_of(field: Field<'_>) -> Trace<'_> {
    let Field::Bytes(entry) = field else { return Trace::Unclear };
    match parse_entry(entry) {
        Ok(attribute) if attribute.name == KEY => attribute.value.text().map_or(Trace::Unclear, Trace::Text),
        Ok(_) => Trace::Absent,
        Err(_) if may_be_key(entry) => Trace::Unclear,
        Err(_) => Trace::Absent,
    }
}

/// Whether a broken entry may be the key's: its name says so, in whatever case, or cannot be read.
fn may_be_key(entry: &[u8]) -> bool {
    let mut walk = Walk::new(entry);
    let mut name = None;
    while let Ok(Some(field)) = walk.field() {
        match field {
            (1, Field::Bytes(bytes)) if name.is_none() => name = Some(bytes),
            (1, _) => return true,
            _ => {}
        }
    }
    name.is_none_or(|name| name.eq_ignore_ascii_case(KEY.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EVENT_BYTES_MAX;
    use crate::{AttributeValue, EventView, EventWriter};
    use proptest::prelude::*;

    fn event(attributes: &[(&str, AttributeValue<'_>)], data_bytes: usize) -> Vec<u8> {
        let mut writer = EventWriter::new("7", "shop", "order.paid");
        for (name, value) in attributes {
            writer.attribute(name, *value);
        }
        writer.binary_data(&vec![b'x'; data_bytes]);
        writer.finish().to_vec()
    }

    /// Every case is one that the check of an event refuses.
    fn check(bytes: &[u8], source: Option<&str>, id: Option<&str>, key: KeyTrace<'_>) {
        assert!(EventView::parse(bytes).is_err());
        assert_eq!(EventTraces::read(bytes), EventTraces { source, id, key });
    }

    #[test]
    fn a_good_key_is_found_in_a_bad_event() {
        let key = ("partitionkey", AttributeValue::String("user-42"));
        let known = KeyTrace::Known("user-42");
        let named = (Some("shop"), Some("7"));
        check(&event(&[key], EVENT_BYTES_MAX), named.0, named.1, known);
        check(&event(&[("priority", AttributeValue::String("urgent")), key], 1), named.0, named.1, known);
        check(&event(&[("Bad", AttributeValue::String("x")), key], 1), named.0, named.1, known);
        let mut writer = EventWriter::new("", "shop", "t");
        writer.attribute(key.0, key.1);
        check(&writer.finish(), Some("shop"), None, known);
        let mut writer = EventWriter::new("7", &"s".repeat(2000), "t");
        writer.attribute(key.0, key.1);
        check(&writer.finish(), None, Some("7"), known);
        let mut cut = event(&[key], 100);
        cut.truncate(cut.len() - 50);
        check(&cut, named.0, named.1, known);
    }

    #[test]
    fn an_event_without_a_key_has_none() {
        check(&event(&[("priority", AttributeValue::String("urgent"))], 1), Some("shop"), Some("7"), KeyTrace::None);
        check(&event(&[], EVENT_BYTES_MAX), Some("shop"), Some("7"), KeyTrace::None);
        check(b"", None, None, KeyTrace::None);
    }

    #[test]
    fn a_key_that_cannot_be_read_may_be_any() {
        let long = "k".repeat(2000);
        let named = (Some("shop"), Some("7"));
        for attributes in [
            &[("partitionkey", AttributeValue::Integer(42))][..],
            &[("partitionkey", AttributeValue::String("two\nlines"))],
            &[("partitionkey", AttributeValue::String(""))],
            &[("partitionkey", AttributeValue::String(&long))],
            &[("partitionKey", AttributeValue::String("user-42"))],
            &[("partitionkey", AttributeValue::String("a")), ("partitionkey", AttributeValue::String("b"))],
        ] {
            check(&event(attributes, 1), named.0, named.1, KeyTrace::Unknown);
        }
        let key = ("partitionkey", AttributeValue::String("user-42"));
        let mut cut = event(&[key], 100);
        cut.truncate(20);
        check(&cut, named.0, named.1, KeyTrace::Unknown);
        check(b"\xff", None, None, KeyTrace::Unknown);
        // The attribute map as a number, and an entry of garbage.
        let whole = event(&[], 1);
        check(&[&whole[..], &[0x28, 1]].concat(), named.0, named.1, KeyTrace::Unknown);
        check(&[&whole[..], &[0x2a, 1, 0xff]].concat(), named.0, named.1, KeyTrace::Unknown);
        // An id given twice names nothing.
        check(&[&whole[..], &[0x0a, 1, b'8']].concat(), named.0, None, KeyTrace::None);
    }

    proptest! {
        #[test]
        fn an_accepted_event_leaves_the_traces_it_has(
            id in "\\PC{1,20}", key in proptest::option::of("\\PC{1,20}"), others in 0_usize..4, data in 0_usize..40,
        ) {
            let mut writer = EventWriter::new(&id, "shop", "t");
            for other in 0..others {
                writer.attribute(&format!("x{other}"), AttributeValue::Integer(7));
            }
            if let Some(key) = &key {
                writer.attribute(KEY, AttributeValue::String(key));
            }
            writer.binary_data(&vec![0xff; data]);
            let bytes = writer.finish();
            if EventView::parse(&bytes).is_ok() {
                let key = key.as_deref().map_or(KeyTrace::None, KeyTrace::Known);
                prop_assert_eq!(EventTraces::read(&bytes), EventTraces { source: Some("shop"), id: Some(&id), key });
            }
        }

        #[test]
        fn no_bytes_panic_and_no_damage_invents_a_key(cut in 0_usize..80, at in 0_usize..80, byte in any::<u8>()) {
            let mut bytes = event(&[(KEY, AttributeValue::String("user-42"))], 30);
            bytes.truncate(cut);
            let trace = EventTraces::read(&bytes).key;
            prop_assert!(matches!(trace, KeyTrace::None | KeyTrace::Unknown | KeyTrace::Known("user-42")), "{trace:?}");
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = EventTraces::read(&bytes);
        }
    }
}
