//! The JSON of unknown results: deliveries that may have been sent.
//!
//! Additive changes only, as in the rest of the API. Knows nothing of HTTP.

use serde::{Deserialize, Serialize};

use super::{AttemptView, EventView, KeptFilter};

/// A delivery that may have been sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnknownView {
    /// The subscription.
    pub subscription: String,
    /// The event's position.
    pub position: String,
    /// `open`, or what a person said: `sent`, `not-sent`, `retried`.
    pub state: String,
    /// When a person resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// What the person said of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
    /// What the plugin or the host knows of the send, such as the provider's reference.
    pub reference: String,
    /// Business keys whose claims were left uncertain.
    pub claims: Vec<String>,
    /// Attempts that ended.
    pub attempts: u32,
    /// When it was parked.
    pub at: String,
    /// SHA-256 of the plugin revision that had the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The event's `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The idempotency key it went out with; ask the provider for it.
    pub idempotency_key: String,
    /// The latest attempts: number, time and reason.
    pub history: Vec<AttemptView>,
    /// The event.
    pub event: EventView,
}

/// What a person says of unknown results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The subscription.
    pub subscription: String,
    /// Which of them; without a state those that are open.
    #[serde(default)]
    pub filter: KeptFilter,
    /// `sent`, `not-sent` or `retry`.
    #[serde(rename = "as")]
    pub resolution: String,
    /// With `sent`: what later claims are answered, as the plugin's receipts are (JSON with the SDK); at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// For people; cut at 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// For more than one: how many the caller knows them to be; more are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u64>,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Resolved now.
    pub resolved: u64,
    /// The same had been said before; nothing changed.
    pub before: u64,
    /// Left alone: something else was said before, a delivery holds the claim just now, or they are gone.
    pub skipped: u64,
}
