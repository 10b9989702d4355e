//! What is kept of scheduled events: how each one ended, and their numbers by topic.
//!
//! The row of one that still waits is the event itself, under its due time. Knows nothing of how they are found by name.

use crate::ids::Position;
use crate::time::Timestamp;

/// How a scheduled event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was due, and a copy of it was appended to its topic.
    Released {
        /// The copy.
        to: Position,
    },
    /// An operator cancelled it.
    Cancelled,
    /// When it was released at last, its `expirytime` had passed.
    Expired,
    /// A later event of its key took its place.
    Replaced {
        /// That event.
        by: Position,
    },
}

/// The end of a scheduled event; kept as long as the event's place is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FateRow {
    /// How.
    pub fate: Fate,
    /// When.
    pub at: Timestamp,
}

/// The scheduled events of a topic in numbers, since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduledTotals {
    /// Waiting for their time.
    pub waiting: u64,
    /// Released.
    pub released: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Replaced by later ones of their keys.
    pub replaced: u64,
    /// Past their `expirytime` when they were released.
    pub expired: u64,
}

impl ScheduledTotals {
    /// One more waits.
    pub(crate) fn add(&mut self) {
        self.waiting += 1;
    }

    /// One that waited ended.
    pub(crate) fn end(&mut self, fate: Fate) {
        self.waiting = self.waiting.saturating_sub(1);
        match fate {
            Fate::Released { .. } => self.released += 1,
            Fate::Cancelled => self.cancelled += 1,
            Fate::Replaced { .. } => self.replaced += 1,
            Fate::Expired => self.expired += 1,
        }
    }
}
