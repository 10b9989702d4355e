//! Scheduled events in the admin API.

use serde::{Deserialize, Serialize};

/// The scheduled events of a topic in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledCounts {
    /// Waiting for their time.
    pub waiting: u64,
    /// Released since the topic was created.
    pub released: u64,
    /// Cancelled since then.
    #[serde(default)]
    pub cancelled: u64,
    /// Replaced by later events of their keys since then.
    #[serde(default)]
    pub replaced: u64,
    /// Past their `expirytime` when they were released, since then.
    #[serde(default)]
    pub expired: u64,
}

/// Scheduled events to cancel: by `source` and `id`, or by `key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// CloudEvents `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// CloudEvents `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What became of a wish to cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledView {
    /// `done`, `already-released`, `already-cancelled`, `already-replaced`, `already-expired`, `not-scheduled` (delivered at once) or `unknown`.
    pub state: String,
    /// How many events were cancelled.
    pub cancelled: u32,
    /// There may be more of the key: ask again.
    #[serde(default)]
    pub is_more: bool,
    /// Where the event of the id is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Its released copy, or the event that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// One scheduled event, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledEvent {
    /// Where it is in the log.
    pub position: String,
    /// It is delivered then.
    pub due: String,
    /// CloudEvents `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`.
    pub id: String,
    /// Ordering key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the host accepted it.
    pub received: String,
}

/// A page of scheduled events, those due first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledList {
    /// The events.
    pub events: Vec<ScheduledEvent>,
    /// To be given as `from` for the next page, if there may be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What became of a scheduled event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledView {
    /// `waiting`, `released`, `cancelled`, `replaced` or `expired`.
    pub state: String,
    /// When it was or is due.
    pub due: String,
    /// When it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Where its copy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// The later event of its key that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
