//! The JSON of what selects dead letters and unknown results.
//!
//! Additive changes only, as in the rest of the API. Knows nothing of HTTP.

use serde::{Deserialize, Serialize};

/// Which dead letters or unknown results are meant; what is not given is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeptFilter {
    /// One only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// CloudEvents type; with `*` at its end, every type that begins so.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Cause, such as `rejected`; dead letters only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Given up or parked at this time or later: RFC 3339, or how long ago (`2h`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Given up or parked before this time: RFC 3339, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Plugin revision of the last attempt, or how its SHA-256 begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Of a dead letter `open`, `manual`, `replayed` or `dismissed`; of an unknown result `open`, `sent`, `not-sent` or `retried`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
