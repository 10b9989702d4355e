//! The JSON of send records.
//!
//! Additive changes only, as in the rest of the API. Knows nothing of HTTP.

use serde::{Deserialize, Serialize};

/// A send record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordView {
    /// The subscription.
    pub subscription: String,
    /// The event.
    pub position: String,
    /// The event's `id`.
    pub event_id: String,
    /// Business key.
    pub business_key: String,
    /// Recipient; empty in the host's own record of the delivery.
    pub recipient: String,
    /// Status word.
    pub status: String,
    /// Whether something has to follow, such as another attempt or a person's decision.
    #[serde(default)]
    pub is_open: bool,
    /// Provider.
    pub provider: String,
    /// The provider's reference.
    pub provider_reference: String,
    /// What came back.
    pub detail: String,
    /// Attempt that it tells of: how many tries it took.
    pub attempt: u32,
    /// When it came to this status.
    pub at: String,
}

/// What became of a callback of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedView {
    /// Send records that it moved.
    pub moved: u32,
    /// Send records of which it told nothing new.
    pub same: u32,
}

/// Which send records are meant: at least one of the first four, and all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Business key, such as `order:7`.
    pub key: Option<String>,
    /// Recipient, such as `user:42`.
    pub recipient: Option<String>,
    /// The event's `id`.
    pub event: Option<String>,
    /// The provider's reference.
    pub provider_ref: Option<String>,
    /// Subscription.
    pub subscription: Option<String>,
}
