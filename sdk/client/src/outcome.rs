//! What a caller learns about an event: the three results of a publish, and the answer to a question.
//!
//! Knows no frames; conversions from the wire are made where batches are resolved.

use std::time::Duration;

use bugle_wire::{Code, Position};

/// The result of publishing one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event is durable.
    Confirmed(Receipt),
    /// The event is not stored. If it has a key, later events of that key are refused too
    /// ([`Code::BEHIND_REFUSED`]) until it is published again or given up with
    /// [`Client::abandon`](crate::Client::abandon), as long as the session lasts.
    Refused {
        /// Why.
        code: Code,
        /// Set when sending it again later can help.
        retry_after: Option<Duration>,
        /// For people.
        detail: String,
    },
    /// Sent, but the deadline passed without an answer: it may or may not be stored. Publishing the same event again
    /// is safe and gives the answer.
    Unknown,
}

impl Outcome {
    /// The receipt, if the event is durable.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        match self {
            Self::Confirmed(receipt) => Some(*receipt),
            Self::Refused { .. } | Self::Unknown => None,
        }
    }
}

/// Proof that an event is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where it is stored.
    pub position: Position,
    /// Whether it was stored before; then the position is that of the first copy.
    pub duplicate: bool,
}

/// Answer to "was this event stored?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Yes, here.
    At(Position),
    /// Not as far back as the topic's id window reaches.
    NotInWindow,
}
