//! The events of the group that is being built: not durable, not in the store, yet already able to be repeated.
//!
//! Holds their bytes (shared, not copied) until the group is committed. Knows nothing of hashes.
//!
//! Invariant: holds exactly the events from its first offset up to the next one to be given.

use alloc::vec::Vec;

use bytes::Bytes;

use super::publish::Sameness;
use crate::event::Event;
use crate::ids::{Offset, TopicId};

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    first: Offset,
    events: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    topic: TopicId,
    bytes: Bytes,
    /// Where source and id are in the bytes: start and end of each.
    source: (u32, u32),
    id: (u32, u32),
}

impl Group {
    pub(super) fn new(first: Offset) -> Group {
        Group { first, events: Vec::new() }
    }

    /// The next group starts at `first`.
    pub(super) fn clear(&mut self, first: Offset) {
        self.first = first;
        self.events.clear();
    }

    pub(super) fn first(&self) -> Offset {
        self.first
    }

    #[inline]
    pub(super) fn push(&mut self, topic: TopicId, event: &Event) {
        let range = |span: crate::event::Span| (span.start, span.start + span.len);
        self.events.push(Member {
            topic,
            bytes: event.bytes().clone(),
            source: range(event.index().source),
            id: range(event.index().id),
        });
    }

    /// How the event compares with the one at this offset of the group.
    pub(super) fn compare(&self, offset: Offset, topic: TopicId, event: &Event) -> Sameness {
        Sameness::of(
            self.has_id(offset, topic, event.source(), event.id()),
            self.member(offset).is_some_and(|member| member.bytes == event.bytes()),
        )
    }

    /// Whether the event at this offset of the group has this id.
    pub(super) fn has_id(&self, offset: Offset, topic: TopicId, source: &str, id: &str) -> bool {
        let Some(member) = self.member(offset) else { return false };
        let part = |range: (u32, u32)| member.bytes.get(range.0 as usize..range.1 as usize).unwrap_or_default();
        member.topic == topic && part(member.source) == source.as_bytes() && part(member.id) == id.as_bytes()
    }

    fn member(&self, offset: Offset) -> Option<&Member> {
        self.events.get(offset.0.checked_sub(self.first.0)? as usize)
    }
}
