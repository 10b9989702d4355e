//! Events of the histories: their attributes one after the other.

use bugle_core::event::{Class, Event, Index, Span, StoredEvent};
use bugle_core::ids::{Offset, Position, Slot, TopicId};
use bugle_core::time::Timestamp;
use bytes::Bytes;

pub(crate) fn event(offset: Offset, topic: TopicId, kind: &str, key: &str, class: Class) -> StoredEvent {
    let text = format!("{offset}/{kind}/{key}");
    let span = |part: &str, start: usize| Span { start: start as u32, len: part.len() as u32 };
    let id = offset.to_string();
    let kind_at = id.len() + 1;
    let key_at = kind_at + kind.len() + 1;
    let index = Index {
        id: span(&id, 0),
        source: span(&id, 0),
        kind: span(kind, kind_at),
        key: (!key.is_empty()).then(|| span(key, key_at)),
        class,
        ..Index::default()
    };
    StoredEvent {
        position: Position { slot: Slot(0), offset },
        topic,
        received: Timestamp(0),
        event: Event::new(Bytes::from(text), index).expect("spans of the text"),
    }
}
