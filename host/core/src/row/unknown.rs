//! Deliveries that may have been sent and that a person decides about, and their numbers.
//!
//! Encoding is the store's. Invariant: as of all rows, writing one again changes nothing.

use alloc::string::String;
use alloc::vec::Vec;

use super::AttemptNote;
use crate::event::StoredEvent;
use crate::ids::{KeyGeneration, Name, Revision};
use crate::time::Timestamp;

/// Where an unknown result stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnknownState {
    /// Nobody decided yet.
    Open,
    /// A person said that it was sent.
    Sent,
    /// A person said that it was not sent: delivered again as if for the first time.
    NotSent,
    /// A person did not know either, and had it sent again under the same idempotency key.
    Retried,
}

impl UnknownState {
    /// Every state, in code order.
    pub const ALL: [UnknownState; 4] =
        [UnknownState::Open, UnknownState::Sent, UnknownState::NotSent, UnknownState::Retried];

    /// The word in JSON and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            UnknownState::Open => "open",
            UnknownState::Sent => "sent",
            UnknownState::NotSent => "not-sent",
            UnknownState::Retried => "retried",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<UnknownState> {
        UnknownState::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// A claim that the attempt left uncertain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncertainClaim {
    /// Scope: a subscription or a named channel.
    pub scope: Name,
    /// Business key.
    pub key: String,
    /// As the attempt left it; a claim that another delivery held since has another one.
    pub expires: Timestamp,
}

/// A delivery that may have been sent and waits for a decision, or waited for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRow {
    /// The event, so that the log may be trimmed; as a person edited it before a replay, if one did.
    pub event: StoredEvent,
    /// Where it stands.
    pub state: UnknownState,
    /// When a person decided.
    pub decided: Option<Timestamp>,
    /// What the person said of it.
    pub remark: String,
    /// Of the idempotency key it went out with.
    pub generation: KeyGeneration,
    /// The plugin revision of the last attempt.
    pub revision: Option<Revision>,
    /// What dedup has to be told of the decision.
    pub claims: Vec<UncertainClaim>,
    /// The guest's or the host's reference.
    pub reference: String,
    /// Attempts that ended.
    pub attempts: u32,
    /// The latest ended attempts, oldest first.
    pub notes: Vec<AttemptNote>,
    /// When it was parked.
    pub at: Timestamp,
}

/// What an unknown result counts beside its event's bytes: its history and its place on the disk, roughly.
const UNKNOWN_OVERHEAD_BYTES: u64 = 512;

impl UnknownRow {
    /// What it counts in [`UnknownTotals::bytes`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.event.event.bytes().len() as u64 + UNKNOWN_OVERHEAD_BYTES
    }
}

/// All unknown results of one subscription in numbers, kept in step with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownTotals {
    /// Rows in any state.
    pub rows: u64,
    /// Sum of their costs.
    pub bytes: u64,
    /// Those in state [`UnknownState::Open`].
    pub open: u64,
    /// Open ones removed so far because there were too many, or because they were too old.
    pub removed: u64,
}

impl UnknownTotals {
    /// Counts a row that came.
    pub fn add(&mut self, state: UnknownState, cost: u64) {
        self.rows += 1;
        self.bytes += cost;
        self.open += u64::from(state == UnknownState::Open);
    }

    /// Counts a row that went. Totals of an older host may not have known it.
    pub fn take(&mut self, state: UnknownState, cost: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost);
        self.open = self.open.saturating_sub(u64::from(state == UnknownState::Open));
    }
}
