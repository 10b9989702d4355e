//! The lines of the logs that the checker reads: JSON, one record a line, told apart by `kind`.
//!
//! Who writes what, and when, is in the README beside this crate; unknown fields are refused so that a typing mistake in a
//! log writer is not taken for silence.
//!
//! Invariant: times (`at_us` and the like) are microseconds of one clock that all writers of a run share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// A producer is about to send an event; on disk before the first byte leaves.
    Intent(Intent),
    /// A producer was told what became of it, or gave up waiting.
    Result(Outcome),
    /// A subscription that took part in the run.
    Subscription(Subscription),
    /// A receiver was called.
    Call(Call),
    /// The host was killed.
    Kill(Kill),
    /// Store dump: one event of the log.
    Log(Log),
    /// Store dump: where one event stands for one subscription.
    State(StateRow),
    /// Store dump: where the log of a topic begins, if its beginning was let go of.
    Dropped(Dropped),
    /// Store dump: the last line, proof that the dump is whole.
    ScanEnd(ScanEnd),
}

/// Written by a producer before it sends an event, each time it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// When.
    pub at_us: u64,
    /// Who sends; one ordered stream of calls.
    pub producer: String,
    /// Number of this call among the producer's calls, rising in call order.
    pub seq: u64,
    /// Which try for this event this is: 1, then one more for each time the program itself sends it again.
    #[serde(rename = "try")]
    pub attempt: u32,
    /// Where to.
    pub topic: String,
    /// `source` of the event.
    pub source: String,
    /// `id` of the event; one run uses a (source, id) in one topic only.
    pub id: String,
    /// `type` of the event.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Ordering key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Any digest of the payload; the store dump must use the same one.
    pub digest: String,
}

/// Written by a producer when it knows what became of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// When.
    pub at_us: u64,
    /// `source` of the event.
    pub source: String,
    /// `id` of the event.
    pub id: String,
    /// The try it answers.
    #[serde(rename = "try")]
    pub attempt: u32,
    /// What it was told.
    pub outcome: Answer,
}

/// The three results of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The event is durable at this position.
    Confirmed {
        /// Where it is; for a duplicate, where its first copy is.
        position: Position,
        /// The host said that it had the event already.
        #[serde(default)]
        duplicate: bool,
    },
    /// The event was not stored.
    Refused {
        /// The stable error code.
        code: String,
    },
    /// No answer came.
    Unknown,
}

/// Declares a subscription: which events must have a state in it, and what its receiver must have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Its name.
    pub subscription: String,
    /// The topics it covers.
    pub topics: Vec<String>,
    /// The `type`s its filter lets through; empty means all.
    #[serde(default)]
    pub types: Vec<String>,
    /// The first position it must handle; none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Position>,
    /// Whether events of one key are handled in order.
    pub ordered: bool,
    /// Whether each acked event must have been accepted by a receiver (`false` for plugins that only write to the host).
    #[serde(default = "yes")]
    pub calls_out: bool,
    /// How long the host waits for the receiver: a later answer counts as none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<u64>,
    /// How many effects may be repeated at one kill; none means that only the ack window bounds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats_per_kill_max: Option<u64>,
}

fn yes() -> bool {
    true
}

/// Written by a receiver for each call, complete or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// When the request was complete.
    pub at_us: u64,
    /// When the answer was written, or the attempt was over.
    pub done_us: u64,
    /// The subscription that called.
    pub subscription: String,
    /// `source` of the event.
    pub source: String,
    /// `id` of the event.
    pub id: String,
    /// Which effect of the event, for a plugin that has several.
    #[serde(default)]
    pub effect: String,
    /// The idempotency key that came with the call (`webhook-id`, `Message-ID`).
    pub idempotency_key: String,
    /// What the receiver answered.
    pub answer: CallAnswer,
}

/// How a call of a receiver ended, as the receiver saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallAnswer {
    /// The effect was done and a complete success answer was written.
    Accepted,
    /// The effect was not done and a complete answer says so: the call may be repeated freely.
    Refused,
    /// The request was complete but no complete answer was written: one more call is allowed.
    Aborted,
}

/// Written by whoever killed the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// Before the signal was sent.
    pub from_us: u64,
    /// After the process was seen to be gone.
    pub until_us: u64,
}

/// The retention of a topic has let go of events of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// The topic.
    pub topic: String,
    /// Events of it below may be gone; each of them counts as acked by every subscription that matches.
    pub below: Position,
}

/// One event as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Where it is.
    pub position: Position,
    /// Its topic.
    pub topic: String,
    /// `source` of the event.
    pub source: String,
    /// `id` of the event.
    pub id: String,
    /// `type` of the event.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Ordering key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Priority class; order holds within one.
    #[serde(default)]
    pub class: String,
    /// Digest of the payload, made as in [`Intent`].
    pub digest: String,
}

/// Where one event stands for one subscription; one row per event, also for those below the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRow {
    /// The subscription.
    pub subscription: String,
    /// The event.
    pub position: Position,
    /// Where it stands.
    pub state: State,
}

/// The states of G1, and `filtered` for an event that the subscription does not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// May be attempted now.
    Ready,
    /// Not due yet.
    Scheduled,
    /// A plugin has it.
    InFlight,
    /// Waits for its backoff or its lane.
    Waiting,
    /// Held back with its key.
    Parked,
    /// Done.
    Acked,
    /// Given up, kept with its reason.
    Dead,
    /// Too late to be worth doing.
    Expired,
    /// Dropped by a rule, with a record.
    Suppressed,
    /// Maybe sent; waits for a decision.
    Unknown,
    /// Does not match the subscription.
    Filtered,
}

impl State {
    /// Nothing more will happen to the event without a person.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Acked | Self::Dead | Self::Expired | Self::Suppressed | Self::Filtered => true,
            Self::Ready | Self::Scheduled | Self::InFlight | Self::Waiting | Self::Parked | Self::Unknown => false,
        }
    }
}

/// The end of a store dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanEnd {
    /// How many `log` lines were written.
    pub events: u64,
    /// How many `state` lines were written.
    pub states: u64,
}

/// Slot and offset, as the text `0-1234`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// The slot.
    pub slot: u16,
    /// The offset in its log.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.slot, self.offset)
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

impl TryFrom<String> for Position {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (slot, offset) = text.split_once('-')?;
            Some(Self { slot: slot.parse().ok()?, offset: offset.parse().ok()? })
        };
        parse().ok_or_else(|| format!("`{text}` is not a position; it looks like `0-1234`"))
    }
}
