//! What becomes of deliveries that are given up: the policy of their key, and the bounds of dead letters.
//!
//! Defaults are the core's. Knows nothing of how letters are kept.

use bugle_core::spec::{DeadBounds, OnDeadFull, OnExhausted};
use serde::{Deserialize, Serialize};

use crate::quantity::{Duration, Size};

/// What happens to a delivery that used up its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExhaustedSpec {
    /// Dead letter; its key goes on.
    #[default]
    Skip,
    /// Never given up: tried at the longest backoff for ever, while its key waits. What the plugin rejects is given up all the same.
    Block,
    /// Dead letter, and its key waits until a person replays or dismisses it. An event without a key is skipped.
    ParkKey,
}

impl OnExhaustedSpec {
    pub(super) fn to_core(self) -> OnExhausted {
        match self {
            OnExhaustedSpec::Skip => OnExhausted::Skip,
            OnExhaustedSpec::Block => OnExhausted::Block,
            OnExhaustedSpec::ParkKey => OnExhausted::ParkKey,
        }
    }
}

/// What happens at the bounds of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeadFullSpec {
    /// The oldest are removed, counted and warned of; those whose key waits stay.
    #[default]
    RemoveOldest,
    /// The subscription pauses.
    Pause,
}

/// Bounds of the dead letters of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLettersSpec {
    /// Letters in any state. Default 100000. Large: more disk, and slower lists.
    pub letters_max: u64,
    /// Their bytes. Default 1GiB.
    pub bytes_max: Size,
    /// Older ones are removed. Default 30d. Small: less time for people to decide.
    pub age_max: Duration,
    /// What happens at the first two: `remove-oldest` (default) or `pause`.
    pub on_full: OnDeadFullSpec,
}

impl Default for DeadLettersSpec {
    fn default() -> Self {
        let bounds = DeadBounds::default();
        DeadLettersSpec {
            letters_max: bounds.letters_max,
            bytes_max: Size(bounds.bytes_max),
            age_max: Duration(bounds.age_max),
            on_full: OnDeadFullSpec::default(),
        }
    }
}

/// A younger letter would be gone before anybody could look.
const AGE_MIN: Duration = Duration::from_secs(60);

impl DeadLettersSpec {
    /// Checks what can be judged without the host: the field and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.letters_max == 0 {
            return Err((
                "dead_letters.letters_max",
                "is 0, so no dead letter would be kept; use 1 or more".to_owned(),
            ));
        }
        if self.bytes_max < Size::mib(1) {
            return Err(("dead_letters.bytes_max", "is less than `1MiB`, so one event may not fit".to_owned()));
        }
        if self.age_max < AGE_MIN {
            return Err(("dead_letters.age_max", format!("is less than `{AGE_MIN}`")));
        }
        Ok(())
    }

    pub(super) fn to_core(self) -> DeadBounds {
        DeadBounds {
            letters_max: self.letters_max,
            bytes_max: self.bytes_max.0,
            age_max: self.age_max.0,
            on_full: match self.on_full {
                OnDeadFullSpec::RemoveOldest => OnDeadFull::RemoveOldest,
                OnDeadFullSpec::Pause => OnDeadFull::Pause,
            },
        }
    }
}
