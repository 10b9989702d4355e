//! The JSON of drain, boost and seek, and of how fast a subscription works its backlog off.

use serde::{Deserialize, Serialize};

/// A request to work faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoostRequest {
    /// Times the concurrency and the rate, from 2 to 64; 1 ends a boost.
    pub factor: u32,
}

/// A request to go on at another place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeekRequest {
    /// `latest`, `earliest`, a position, a time, or such as `2h ago`.
    pub to: String,
    /// Do it; without it the answer only says what it would do.
    #[serde(default)]
    pub confirm: bool,
}

/// What a seek would do, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeekView {
    /// `forward`, `back` or `none`.
    pub direction: String,
    /// Everything below was settled.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// Forward: events that are let go undelivered, those settled in between included. Back: events that are delivered again.
    pub events: u64,
    /// The count stopped before the end: there may be more.
    pub is_cut: bool,
    /// Whether it was done.
    pub done: bool,
}

/// How much is left and how long it takes, as of the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DrainView {
    /// Offsets of the log that are not settled: an upper bound of the events left, as topics share the log.
    pub left: u64,
    /// Offsets settled or passed over, per second.
    pub settled_per_s: f64,
    /// Offsets added to the log, per second.
    pub arriving_per_s: f64,
    /// Seconds until nothing is left, if both go on as they do; absent if that is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_in_s: Option<u64>,
}

/// The latest run of the log that was let go undelivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetGoView {
    /// `expired` (the backlog was over its cap) or `sought` (an operator went forward).
    pub why: String,
    /// First position.
    pub from: String,
    /// The position after the last one.
    pub to: String,
    /// Offsets let go in this run, an upper bound of the events.
    pub events: u64,
    /// Those of all runs since the subscription was created.
    pub total: u64,
    /// When.
    pub at: String,
}
