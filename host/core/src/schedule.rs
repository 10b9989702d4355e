//! Scheduled events: the order in which they are due, the names they are found by, and when to look for the next.
//!
//! A scheduled event is stored in the log at once and skipped by every reader; when it is due, admission appends a copy of it, and
//! in the same batch its row goes. Nothing here grows with their number: the rows are on disk, in the order of [`Due`].
//! Knows nothing of disks and threads. See docs/decisions/0022-scheduled-events.md.
//!
//! Invariant: while anything is scheduled, [`Releases`] knows a time at or before which to look for it.

use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::event::{Event, StoredEvent};
use crate::ids::{Offset, Position, TopicId};
use crate::row::FateRow;
use crate::time::{Millis, Timestamp};

/// How far ahead an event may be scheduled: what is later is more often a mistake of units than a plan.
pub const AHEAD_MAX: Millis = Millis::from_secs(400 * 24 * 3600);

/// Scheduled events released in one batch at most: a few milliseconds of work, so that publishes that come at the same time wait no
/// longer, and a million that are due at once still take seconds only.
pub const RELEASE_EVENTS_MAX: usize = 512;

/// Bytes of events released in one batch at most; a larger first one goes alone.
pub const RELEASE_BYTES_MAX: usize = 256 << 10;

/// Scheduled events cancelled in one batch at most; whoever wants to cancel more asks again.
pub const CANCEL_EVENTS_MAX: usize = 4_096;

/// Scheduled events of one key that one event may replace, all in its batch; with more of them it is refused.
pub const REPLACED_EVENTS_MAX: usize = 1_024;

/// The place of a scheduled event in the order of release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// Its time.
    pub at: Timestamp,
    /// Its place in the log: of those of one time the first published is first.
    pub offset: Offset,
}

impl Due {
    /// Of a scheduled event; `None` if the event says nothing of its time.
    #[must_use]
    pub fn of(event: &StoredEvent) -> Option<Due> {
        let at = event.event.timing().deliver_at?;
        Some(Due { at, offset: event.position.offset })
    }

    /// The first place after this one.
    #[must_use]
    pub fn next(self) -> Due {
        Due { offset: self.offset.next(), ..self }
    }
}

/// Scheduled events from a place on, in their order, as the store has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuePage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// The first one after them, whenever it is due.
    pub next: Option<Due>,
}

/// What a scheduled event is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduledName<'a> {
    /// Its CloudEvents name.
    Id {
        /// `source`.
        source: &'a str,
        /// `id`.
        id: &'a str,
    },
    /// Its ordering key.
    Key(&'a str),
}

/// Fixed for ever: `bugle sc`, `hedule 1`.
const KEYS: (u64, u64) = (0x6275_676c_6520_7363, 0x6865_6475_6c65_2031);

impl ScheduledName<'_> {
    /// Where the rows of this name are: written to disk, so it never changes. It finds candidates and proves nothing.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
        match self {
            ScheduledName::Id { source, id } => {
                hasher.write_u8(0);
                // The source's length keeps "ab" + "c" apart from "a" + "bc".
                hasher.write_u64(source.len() as u64);
                hasher.write(source.as_bytes());
                hasher.write(id.as_bytes());
            }
            ScheduledName::Key(key) => {
                hasher.write_u8(1);
                hasher.write(key.as_bytes());
            }
        }
        hasher.finish()
    }

    /// Whether the event has this name.
    #[must_use]
    pub fn is_of(&self, event: &Event) -> bool {
        match self {
            ScheduledName::Id { source, id } => event.source() == *source && event.id() == *id,
            ScheduledName::Key(key) => event.key() == Some(*key),
        }
    }

    /// The names of an event: one or two.
    pub fn all(event: &Event) -> impl Iterator<Item = ScheduledName<'_>> {
        let id = ScheduledName::Id { source: event.source(), id: event.id() };
        core::iter::once(id).chain(event.key().map(ScheduledName::Key))
    }
}

/// Scheduled events of one topic and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledQuery<'a> {
    /// The topic.
    pub topic: TopicId,
    /// The name.
    pub name: ScheduledName<'a>,
}

impl ScheduledQuery<'_> {
    /// Whether the event is one of them.
    #[must_use]
    pub fn is_of(&self, event: &StoredEvent) -> bool {
        event.topic == self.topic && self.name.is_of(&event.event)
    }
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// So many events were cancelled.
    Done {
        /// How many; of a key perhaps none.
        events: u32,
        /// There may be more of the key: ask again.
        is_more: bool,
    },
    /// The event of that id had ended before.
    Ended {
        /// Where it is.
        position: Position,
        /// How it ended.
        row: FateRow,
    },
    /// The event of that id is stored and was never scheduled: it was delivered at once.
    NotScheduled {
        /// Where it is.
        position: Position,
    },
    /// No event of that id is scheduled, nor within the window of remembered ids.
    Unknown,
}

/// When to release next. Calls: [`ask`](Self::ask) at [`next_wakeup`](Self::next_wakeup) at the latest; if it says yes, a release
/// goes to the committer, and its answer to [`done`](Self::done). [`added`](Self::added) at any time.
#[derive(Debug)]
pub struct Releases {
    /// Nothing is due earlier, but for what a release under way takes.
    earliest: Option<Timestamp>,
    is_asked: bool,
}

impl Releases {
    /// After a start: nobody knows what is on disk, so look at once.
    #[must_use]
    pub fn recover() -> Releases {
        Releases { earliest: Some(Timestamp(0)), is_asked: false }
    }

    /// Events were scheduled, the first of them for then. Told after they are durable.
    pub fn added(&mut self, at: Timestamp) {
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
    }

    /// Whether to release now.
    pub fn ask(&mut self, now: Timestamp) -> bool {
        let is_due = !self.is_asked && self.earliest.is_some_and(|at| at <= now);
        if is_due {
            self.is_asked = true;
            self.earliest = None;
        }
        is_due
    }

    /// The release is durable, and this is when the first of what is left in the store is due.
    pub fn done(&mut self, next: Option<Timestamp>) {
        self.is_asked = false;
        if let Some(at) = next {
            self.added(at);
        }
    }

    /// When to ask.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.is_asked { None } else { self.earliest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_asked_for_when_due_and_one_at_a_time() {
        let mut releases = Releases::recover();
        assert!(releases.ask(Timestamp(5)), "what is on disk is not known at the start");
        assert!(!releases.ask(Timestamp(5)));
        releases.done(Some(Timestamp(9)));
        assert_eq!(releases.next_wakeup(), Some(Timestamp(9)));
        assert!(!releases.ask(Timestamp(8)) && releases.ask(Timestamp(9)));
        releases.done(None);
        assert_eq!(releases.next_wakeup(), None);
    }

    #[test]
    fn what_is_added_while_a_release_is_under_way_is_not_forgotten() {
        let mut releases = Releases::recover();
        assert!(releases.ask(Timestamp(5)));
        releases.added(Timestamp(7));
        assert_eq!(releases.next_wakeup(), None, "the answer is still to come");
        releases.done(Some(Timestamp(9)));
        assert_eq!(releases.next_wakeup(), Some(Timestamp(7)));
    }

    #[test]
    fn hashes_of_names_never_change() {
        let id = |source, id| ScheduledName::Id { source, id }.hash();
        assert_ne!(id("ab", "c"), id("a", "bc"));
        assert_ne!(id("", "a"), ScheduledName::Key("a").hash());
        assert_eq!((id("/orders", "7"), ScheduledName::Key("user:42").hash()), (PINNED_ID, PINNED_KEY));
    }

    const PINNED_ID: u64 = 2_583_984_496_439_510_770;
    const PINNED_KEY: u64 = 13_354_663_584_117_520_811;
}
