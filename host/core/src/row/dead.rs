//! Dead letters: deliveries given up, where each stands, and their numbers.
//!
//! Encoding is the store's. Invariant: as of all rows, writing one again changes nothing.

use alloc::string::String;
use alloc::vec::Vec;

use super::AttemptNote;
use crate::event::StoredEvent;
use crate::ids::{KeyGeneration, Revision};
use crate::time::Timestamp;

/// Whether a delivery is parked: its key waits until a person decides ([`crate::spec::OnExhausted::ParkKey`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parking {
    /// It never was.
    #[default]
    Never,
    /// It is. No attempt is made, and its dead letter is in state [`DeadState::Manual`].
    Parked,
    /// It was, and a person had it tried again in its place. The event to deliver is the one in its dead letter.
    Released {
        /// Of the letter, so of the idempotency key.
        generation: KeyGeneration,
    },
}

/// Where a dead letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadState {
    /// Nobody decided yet; its key went on.
    Open,
    /// Nobody decided yet, and its key waits.
    Manual,
    /// Delivered again, as a copy or in its place.
    Replayed,
    /// Given up for good by a person.
    Dismissed,
}

impl DeadState {
    /// Every state, in code order.
    pub const ALL: [DeadState; 4] = [DeadState::Open, DeadState::Manual, DeadState::Replayed, DeadState::Dismissed];

    /// The word in JSON and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            DeadState::Open => "open",
            DeadState::Manual => "manual",
            DeadState::Replayed => "replayed",
            DeadState::Dismissed => "dismissed",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<DeadState> {
        DeadState::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether a person still has to decide.
    #[must_use]
    pub fn is_undecided(self) -> bool {
        match self {
            DeadState::Open | DeadState::Manual => true,
            DeadState::Replayed | DeadState::Dismissed => false,
        }
    }
}

/// A delivery given up: kept with its event, its cause and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRow {
    /// The event, so that the log may be trimmed; as a person edited it, if one did.
    pub event: StoredEvent,
    /// Where it stands.
    pub state: DeadState,
    /// Whether its key waited for the decision: then a replay is in its place, not as a copy.
    pub holds_key: bool,
    /// When it came to that state by a person's decision.
    pub decided: Option<Timestamp>,
    /// Of the idempotency key it goes out with next: grows with each edit.
    pub generation: KeyGeneration,
    /// The plugin revision of the last attempt, if that attempt ended by itself.
    pub revision: Option<Revision>,
    /// Stable word: `rejected`, `attempts-exhausted`, `poison`.
    pub cause: String,
    /// The last reason, for people.
    pub reason: String,
    /// Attempts charged to the event.
    pub attempts: u32,
    /// Attempts that failed by the channel's fault.
    pub channel: u32,
    /// Attempts that failed by the plugin's fault.
    pub plugin: u32,
    /// The latest ended attempts, oldest first.
    pub notes: Vec<AttemptNote>,
    /// When it was given up.
    pub at: Timestamp,
}

/// What a dead letter counts beside its event's bytes: its history and its place on the disk, roughly.
const DEAD_OVERHEAD_BYTES: u64 = 512;

impl DeadRow {
    /// What it counts in [`DeadTotals::bytes`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.event.event.bytes().len() as u64 + DEAD_OVERHEAD_BYTES
    }
}

/// All dead letters of one subscription in numbers, kept in step with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadTotals {
    /// Letters in any state.
    pub letters: u64,
    /// Sum of their costs.
    pub bytes: u64,
    /// Those in state [`DeadState::Open`].
    pub open: u64,
    /// Those in state [`DeadState::Manual`].
    pub manual: u64,
    /// Undecided letters removed so far because there were too many, or because they were too old.
    pub removed: u64,
}

impl DeadTotals {
    /// Counts a letter that came.
    pub fn add(&mut self, state: DeadState, cost: u64) {
        self.letters += 1;
        self.bytes += cost;
        self.count(state, |count| count + 1);
    }

    /// Counts a letter that went. Totals of an older host may not have known it.
    pub fn take(&mut self, state: DeadState, cost: u64) {
        self.letters = self.letters.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost);
        self.count(state, |count| count.saturating_sub(1));
    }

    fn count(&mut self, state: DeadState, change: impl FnOnce(u64) -> u64) {
        match state {
            DeadState::Open => self.open = change(self.open),
            DeadState::Manual => self.manual = change(self.manual),
            DeadState::Replayed | DeadState::Dismissed => {}
        }
    }
}
