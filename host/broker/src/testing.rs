//! Events for unit tests. Knows nothing of CloudEvents: the bytes are the attributes one after the other.

use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Offset, Position, Slot, TopicId};
use bugle_core::time::Timestamp;
use bytes::Bytes;

/// An event with these attributes.
pub(crate) fn event(id: &str, key: Option<&str>, data: &str) -> Event {
    let mut bytes = String::new();
    let mut add = |text: &str| {
        let start = bytes.len() as u32;
        bytes.push_str(text);
        Span { start, len: text.len() as u32 }
    };
    let index = Index {
        id: add(id),
        source: add("/test"),
        kind: add("test.happened"),
        key: key.map(&mut add),
        data: add(data),
        ..Index::default()
    };
    Event::new(Bytes::from(bytes), index).unwrap()
}

/// An event at an offset of topic 1.
pub(crate) fn stored(offset: u64) -> StoredEvent {
    StoredEvent {
        position: Position { slot: Slot(0), offset: Offset(offset) },
        topic: TopicId(1),
        received: Timestamp(1_000),
        event: event(&format!("e{offset}"), None, "payload"),
    }
}
