//! What people see of the protection of a channel: breaker, rate, rules, counts.
//!
//! Readings only. Counts begin with the machine.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Flow, Phase};
use crate::row::Culprit;
use crate::time::Timestamp;

/// What happened since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Times the breaker opened from closed.
    pub opened: u64,
    /// Events a rule kept back, each counted when its turn came.
    pub deferred: u64,
    /// Events a rule handed to another subscription.
    pub rerouted: u64,
    /// Events a rule dropped with a record.
    pub dropped: u64,
}

/// The breaker, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerStatus {
    /// The subscription has none.
    Off,
    /// Calls start.
    Closed,
    /// No call starts, or one probe at a time.
    Open {
        /// Probes may start.
        is_half_open: bool,
        /// Who was blamed.
        culprit: Culprit,
        /// The next probe is not before then.
        until: Timestamp,
        /// Since when the channel is sick.
        since: Timestamp,
        /// Openings in a row.
        times: u32,
        /// The failure that opened it last.
        reason: String,
    },
}

/// One degrade rule, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleStatus {
    /// Whether it counts now.
    pub counts: bool,
    /// Events it decided since the machine was made.
    pub decided: u64,
}

/// Everything people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// The breaker.
    pub breaker: BreakerStatus,
    /// Whole tokens in the bucket; `None` without a rate.
    pub tokens: Option<u32>,
    /// Each rule of the degrade policy, in order.
    pub rules: Vec<RuleStatus>,
    /// Counts.
    pub counts: FlowCounts,
}

impl Flow {
    /// What people see.
    pub(crate) fn status(&self, now: Timestamp) -> FlowStatus {
        let breaker = match (self.breaker.open(), self.policy.breaker) {
            (Some(open), _) => BreakerStatus::Open {
                is_half_open: self.breaker.phase(now) == Phase::HalfOpen,
                culprit: open.culprit,
                until: open.until,
                since: open.since,
                times: self.breaker.times(),
                reason: open.reason.clone(),
            },
            (None, Some(_)) => BreakerStatus::Closed,
            (None, None) => BreakerStatus::Off,
        };
        let rule = |(number, decided): (usize, &u64)| RuleStatus {
            counts: self.counting.0 >> number & 1 == 1,
            decided: *decided,
        };
        FlowStatus {
            breaker,
            tokens: self.bucket.map(|bucket| bucket.tokens(now)),
            rules: self.decided.iter().enumerate().map(rule).collect(),
            counts: self.counts,
        }
    }

    /// Counts alone: cheap enough for each round of a worker.
    pub(crate) fn counts(&self) -> FlowCounts {
        self.counts
    }
}
