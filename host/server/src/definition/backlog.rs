//! The backlog cap as people write it.

use bugle_core::spec;
use serde::{Deserialize, Serialize};

use crate::quantity::Size;

/// See [`spec::BacklogCap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BacklogSpec {
    /// Unsettled events. Default 10 million.
    pub events: u64,
    /// Bytes of log from the oldest unsettled event on. Default 16GiB.
    pub bytes: Size,
    /// `expire-oldest` (default) or `refuse-publish`.
    pub policy: BacklogPolicySpec,
}

/// What happens to a backlog over its cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BacklogPolicySpec {
    /// The oldest unsettled events expire, with a row that says which.
    ExpireOldest,
    /// Publishing to its topics is refused until it has worked some of it off.
    RefusePublish,
}

/// A smaller cap would expire what only waits for its turn.
const EVENTS_MIN: u64 = 1;

impl Default for BacklogSpec {
    fn default() -> Self {
        let cap = spec::BacklogCap::default();
        let policy = BacklogPolicySpec::ExpireOldest;
        BacklogSpec { events: cap.events_max, bytes: Size(cap.bytes_max), policy }
    }
}

impl BacklogSpec {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.events < EVENTS_MIN || self.bytes.is_empty() {
            return Err(
                "of nothing would expire everything at once; set `events` and `bytes` to more than 0".to_owned()
            );
        }
        Ok(())
    }

    pub(super) fn to_core(self) -> spec::BacklogCap {
        spec::BacklogCap {
            events_max: self.events,
            bytes_max: self.bytes.0,
            policy: match self.policy {
                BacklogPolicySpec::ExpireOldest => spec::BacklogPolicy::ExpireOldest,
                BacklogPolicySpec::RefusePublish => spec::BacklogPolicy::RefusePublish,
            },
        }
    }
}
