//! Keys of scheduled events: by due time, by name, and what became of them by place.
//!
//! Knows nothing of values. Invariant: rows by due time are in the order of release.

use bugle_core::ids::{Offset, TopicId};
use bugle_core::schedule::Due;

use super::{Key, Kind};

/// All of them, in the order of release.
pub(crate) fn scheduled_all() -> Key {
    Key::of(Kind::Scheduled).slot()
}

pub(crate) fn scheduled(due: Due) -> Key {
    scheduled_all().u64(due.at.0).u64(due.offset.0)
}

/// Those of one topic and name.
pub(crate) fn scheduled_names(topic: TopicId, hash: u64) -> Key {
    Key::of(Kind::ScheduledName).slot().u32(topic.0).u64(hash)
}

pub(crate) fn scheduled_name(topic: TopicId, hash: u64, due: Due) -> Key {
    scheduled_names(topic, hash).u64(due.at.0).u64(due.offset.0)
}

pub(crate) fn fates() -> Key {
    Key::of(Kind::Fate).slot()
}

pub(crate) fn fate(offset: Offset) -> Key {
    fates().u64(offset.0)
}

pub(crate) fn scheduled_totals(topic: TopicId) -> Key {
    Key::of(Kind::ScheduledTotals).slot().u32(topic.0)
}
