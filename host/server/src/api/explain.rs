//! The JSON of `explain`: where an event or a key is in each subscription, what it waits for, and what happens next.
//!
//! `state` is a stable word for programs; the sentences are for people and may change.

use serde::{Deserialize, Serialize};

use super::ScheduledView;

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The event that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventHead>,
    /// The ordering key that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the host was asked.
    pub at: String,
    /// By subscription name; for a key, one per subscription and priority class in which it has something.
    pub subscriptions: Vec<ExplanationView>,
}

/// What names an event, without its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHead {
    /// Where it is.
    pub position: String,
    /// Its topic.
    pub topic: String,
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
    /// Priority class.
    pub class: String,
    /// When the host accepted it.
    pub received: String,
    /// Its `expirytime`: no attempt on it starts from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// If it was to be delivered later: what became of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<ScheduledView>,
    /// The scheduled event that it is the copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_from: Option<String>,
}

/// Where it is in one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationView {
    /// The subscription.
    pub subscription: String,
    /// `not-covered`, `before-start`, `filtered-out`, `unread`, `queued`, `held`, `ready`, `in-flight`, `waiting`, `giving-up`,
    /// `held-back` and `degraded` (by the degrade policy), `expiring`, `expired`, `parked`, `dead`, `replayed`, `dismissed`, `unknown`, `let-go`, `settled`, `stopped` (the subscription's worker broke) or `unaccounted` (a bug of the host).
    pub state: String,
    /// Why, a sentence each; what stands in the way comes last.
    pub why: Vec<String>,
    /// What happens next.
    pub next: String,
    /// Since when it is so, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it ends, if a time is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The event that comes first, for one that is queued; the head of the lane, for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Attempts spent, the one under way included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Priority class, for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Events of the key that are read and unsettled, for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
}
