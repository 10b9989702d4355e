//! Events of the simulated bus: their bytes are their attributes, one after another.
//!
//! Knows nothing of who makes them. Invariant: the same attributes give the same bytes, as admission compares them.

use bugle_core::event::{Class, Event, Index, Span};
use bytes::Bytes;

/// What an event says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) class: Class,
    pub(crate) data: &'a str,
}

impl Attributes<'_> {
    pub(crate) fn event(self) -> Event {
        let mut text = String::new();
        let mut add = |part: &str| {
            let start = text.len() as u32;
            text.push_str(part);
            Span { start, len: part.len() as u32 }
        };
        let index = Index {
            id: add(self.id),
            source: add(self.source),
            kind: add("order"),
            key: self.key.map(&mut add),
            data: add(self.data),
            class: self.class,
            ..Index::default()
        };
        Event::new(Bytes::from(text), index).expect("spans of the text just written")
    }
}
