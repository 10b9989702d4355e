//! The JSON of dead letters and of the audit list.
//!
//! Additive changes only, as in the rest of the API. Knows nothing of HTTP.

use serde::{Deserialize, Serialize};

use super::{AttemptView, EventView, KeptFilter};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadView {
    /// The subscription.
    pub subscription: String,
    /// The event's position.
    pub position: String,
    /// `open`, `manual` (its key waits for a person), `replayed` or `dismissed`.
    #[serde(default)]
    pub state: String,
    /// Whether its key waited for the decision, so that a replay is in its place and not as a copy.
    #[serde(default)]
    pub holds_key: bool,
    /// When a person decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// Stable word: `rejected`, `attempts-exhausted`, `poison`.
    pub cause: String,
    /// The last reason.
    pub reason: String,
    /// Attempts charged to the event.
    pub attempts: u32,
    /// Attempts that failed by the channel's fault.
    #[serde(default)]
    pub channel_faults: u32,
    /// Attempts that failed by the plugin's fault.
    #[serde(default)]
    pub plugin_faults: u32,
    /// When it was given up.
    pub at: String,
    /// SHA-256 of the plugin revision that had the last attempt, if that attempt ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The event's `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The idempotency key that a replay goes out with; an edit makes another one.
    #[serde(default)]
    pub idempotency_key: String,
    /// How often the event was edited.
    #[serde(default)]
    pub key_generation: u32,
    /// The latest attempts: number, time and reason.
    pub history: Vec<AttemptView>,
    /// The event.
    pub event: EventView,
}

/// A replay to plan or to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The subscription.
    pub subscription: String,
    /// Which of its letters; without a state those that are open or manual.
    #[serde(default)]
    pub filter: KeptFilter,
    /// At most this many letters a second; without it as fast as they can be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

/// What a replay would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPlan {
    /// Letters it would replay.
    pub letters: u64,
    /// Those of them whose effect dedup knows nothing of.
    pub would_send: u64,
    /// Those whose effect was done before: dedup would suppress them.
    pub would_suppress: u64,
    /// Those whose effect may have happened: the subscription's policy for uncertain effects decides.
    pub uncertain: u64,
    /// Those that would be delivered in their place, since their key waits for them.
    pub in_place: u64,
    /// The first of them, in the order of the replay.
    pub first: Vec<PlannedReplay>,
}

/// One letter of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedReplay {
    /// Its position.
    pub position: String,
    /// Its event's `id`.
    pub event_id: String,
    /// Its ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `copy` or `in-place`.
    pub how: String,
    /// What dedup knows: `free`, `done` or `uncertain`.
    pub dedup: String,
    /// The idempotency key it would go out with.
    pub idempotency_key: String,
}

/// One line of a replay under way, and its last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayProgress {
    /// Letters selected when it began.
    pub total: u64,
    /// Replayed so far, durably.
    pub replayed: u64,
    /// Left alone, since they were decided or removed meanwhile.
    pub skipped: u64,
    /// Whether it is over.
    pub is_done: bool,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<super::Failure>,
}

/// Letters to dismiss or to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadRequest {
    /// The subscription.
    pub subscription: String,
    /// Which of its letters.
    #[serde(default)]
    pub filter: KeptFilter,
    /// For more than one letter: how many the caller knows it to be; more are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u64>,
}

/// What became of letters that were to be dismissed or purged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadChanged {
    /// Changed.
    pub changed: u64,
    /// Left alone: decided or removed meanwhile, or a key waits for them.
    pub skipped: u64,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// When.
    pub at: String,
    /// Who: the name of the token.
    pub by: String,
    /// What, such as `dead.replay`.
    pub action: String,
    /// To what: a subscription, a letter.
    pub target: String,
    /// For people.
    pub detail: String,
}
