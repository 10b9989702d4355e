//! Retentions and what is kept by them.

use serde::{Deserialize, Serialize};

use crate::quantity::{Duration, Size};

/// What is kept of the log of a retention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptView {
    /// The retention.
    pub retention: String,
    /// Where the events begin that can still be read; there may be none of a topic there.
    pub from: String,
    /// Bytes of the log, shared by all topics of the retention.
    pub bytes: u64,
    /// Runs it is dropped in.
    pub epochs: u64,
    /// How old its oldest event is, as of the last look, some seconds ago at most; left out if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Duration>,
    /// The subscription that keeps more of it than the retention asks for, since it has not settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_by: Option<String>,
    /// Bytes that would go if it had, about.
    #[serde(default)]
    pub pinned_bytes: u64,
}

impl KeptView {
    /// The number in the position it begins at.
    #[must_use]
    pub fn from_offset(&self) -> u64 {
        self.from.rsplit('-').next().and_then(|offset| offset.parse().ok()).unwrap_or(0)
    }
}

/// A retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionView {
    /// Its name.
    pub name: String,
    /// Events older than this may go.
    pub age: Duration,
    /// Bytes beyond which the oldest may go.
    pub size: Size,
    /// Whether events may go as soon as every subscription has settled them.
    pub when_done: bool,
    /// Nothing younger goes, whatever the other rules say.
    pub at_least: Duration,
    /// Topics that were given it.
    pub topics: Vec<String>,
    /// What is kept.
    pub kept: KeptView,
}

/// A retention as it shall be; what is left out stays as it is, or is as by default in a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRetention {
    /// Events older than this may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
    /// Bytes beyond which the oldest may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Whether events may go as soon as every subscription has settled them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_done: Option<bool>,
    /// Nothing younger goes, whatever the other rules say; at most the age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Duration>,
}

/// What of a topic shall be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTopic {
    /// Its retention, for events from now on.
    pub retention: String,
}
