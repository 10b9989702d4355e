//! Events of the simulated bus: their bytes are their attributes, one after another.
//!
//! Knows nothing of who makes them. Invariant: the same attributes give the same bytes, as admission compares them.

use bugle_core::event::{Class, ERASED_KIND, Event, Index, Span, Timing};
use bugle_core::origin::{LATE_ATTRIBUTE, ORIGIN_ATTRIBUTE, Origin};
use bugle_core::time::Timestamp;
use bytes::Bytes;

/// What an event says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) class: Class,
    pub(crate) data: &'a str,
    pub(crate) timing: Timing,
}

/// What is left of an event whose content is erased.
pub(crate) fn erased(event: &Event, now: Timestamp) -> Event {
    let timing = Timing { expires: Some(now), released_from: event.timing().released_from, ..Timing::default() };
    let left = Attributes { id: event.id(), source: event.source(), key: None, class: event.class(), data: "", timing };
    left.of_kind(ERASED_KIND)
}

/// A copy for a private topic, with what it carries put behind its bytes.
pub(crate) fn copy(event: &Event, origin: &Origin, is_late: bool) -> Event {
    let origin = origin.to_string();
    let attributes = [(ORIGIN_ATTRIBUTE, origin.as_str()), (LATE_ATTRIBUTE, "true")];
    let mut tail = String::new();
    let mut add = |part: &str| {
        let start = tail.len() as u32;
        tail.push_str(part);
        Span { start, len: part.len() as u32 }
    };
    let count = if is_late { 2 } else { 1 };
    let added: Vec<_> = attributes[..count].iter().map(|(name, value)| (add(name), add(value))).collect();
    event.extended(tail.as_bytes(), &added)
}

impl Attributes<'_> {
    pub(crate) fn event(self) -> Event {
        self.of_kind("order")
    }

    fn of_kind(self, kind: &str) -> Event {
        let mut text = String::new();
        let mut add = |part: &str| {
            let start = text.len() as u32;
            text.push_str(part);
            Span { start, len: part.len() as u32 }
        };
        let index = Index {
            id: add(self.id),
            source: add(self.source),
            kind: add(kind),
            key: self.key.map(&mut add),
            data: add(self.data),
            class: self.class,
            timing: (self.timing != Timing::default()).then(|| Box::new(self.timing)),
            ..Index::default()
        };
        Event::new(Bytes::from(text), index).expect("spans of the text just written")
    }
}
