//! How long a delivery waits before its next attempt: exponential with full jitter, drawn from a seed.
//!
//! A pure function of (seed, subscription, offset, attempt), so a replayed run waits exactly as long as the first one. Knows
//! nothing of clocks or of why the attempt failed.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use crate::ids::{Offset, SubscriptionId};
use crate::spec::RetryPolicy;
use crate::time::Millis;

/// First wait after a call that never ran; it doubles, so that a host without instances is not asked in a hot loop.
const NOT_STARTED_FIRST: Millis = Millis(100);

/// Longest wait after a call that never ran: short, since the event is not to blame.
const NOT_STARTED_MAX: Millis = Millis(5_000);

/// The dice of one subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter {
    seed: u64,
    subscription: SubscriptionId,
}

impl Jitter {
    pub(crate) fn new(seed: u64, subscription: SubscriptionId) -> Jitter {
        Jitter { seed, subscription }
    }

    /// The wait after `spent` failed attempts: anything from nothing to the bound that doubles with each attempt.
    pub(crate) fn after_failure(&self, policy: &RetryPolicy, offset: Offset, spent: u32) -> Millis {
        let bound = doubled(policy.first_backoff, spent.saturating_sub(1), policy.backoff_max);
        self.draw(offset, u64::from(spent), Millis(0), bound)
    }

    /// The wait after `refusals` calls in a row that never ran: between half the bound and the bound.
    pub(crate) fn after_refusal(&self, offset: Offset, refusals: u32) -> Millis {
        let bound = doubled(NOT_STARTED_FIRST, refusals.saturating_sub(1), NOT_STARTED_MAX);
        // The high bit keeps these draws apart from those after failures.
        self.draw(offset, 1 << 63 | u64::from(refusals), Millis(bound.0 / 2), bound)
    }

    /// How long a breaker stays open that opened `times` in a row: between half the bound and the bound.
    pub(crate) fn while_open(&self, first: Millis, max: Millis, times: u32) -> Millis {
        let bound = doubled(first, times.saturating_sub(1), max);
        // The second highest bit keeps these draws apart from the others.
        self.draw(Offset(0), 1 << 62 | u64::from(times), Millis(bound.0 / 2), bound)
    }

    fn draw(&self, offset: Offset, round: u64, least: Millis, most: Millis) -> Millis {
        let mut hasher = SipHasher13::new_with_keys(self.seed, u64::from(self.subscription.0));
        hasher.write_u64(offset.0);
        hasher.write_u64(round);
        let values = u128::from(most.0.saturating_sub(least.0)) + 1;
        let drawn = (u128::from(hasher.finish()) * values) >> 64;
        // The product of a 64-bit number and `values`, shifted down by 64 bits, is below `values`, which fits.
        Millis(least.0 + drawn as u64)
    }
}

/// `first` doubled `times` times, at most `max`.
fn doubled(first: Millis, times: u32, max: Millis) -> Millis {
    let factor = 1u64.checked_shl(times).unwrap_or(u64::MAX);
    Millis(first.0.saturating_mul(factor).min(max.0))
}

#[cfg(test)]
mod tests {
    use super::{Jitter, NOT_STARTED_MAX};
    use crate::ids::{Offset, SubscriptionId};
    use crate::spec::RetryPolicy;
    use crate::time::Millis;

    fn policy() -> RetryPolicy {
        RetryPolicy { attempts_max: 16, first_backoff: Millis(1_000), backoff_max: Millis(60_000) }
    }

    #[test]
    fn waits_stay_under_a_bound_that_doubles_up_to_the_cap() {
        let jitter = Jitter::new(7, SubscriptionId(3));
        for spent in 1..200 {
            let bound = (1_000u64 << (spent - 1).min(20)).min(60_000);
            for offset in 0..50 {
                let wait = jitter.after_failure(&policy(), Offset(offset), spent);
                assert!(wait.0 <= bound, "waited {wait:?} after attempt {spent}");
            }
        }
    }

    #[test]
    fn jitter_is_full_spreading_over_the_whole_bound() {
        let jitter = Jitter::new(7, SubscriptionId(3));
        let waits: std::vec::Vec<u64> =
            (0..1_000).map(|offset| jitter.after_failure(&policy(), Offset(offset), 5).0).collect();
        assert!(waits.iter().any(|wait| *wait < 1_000));
        assert!(waits.iter().any(|wait| *wait > 15_000));
        let mean = waits.iter().sum::<u64>() / 1_000;
        assert!((7_000..9_000).contains(&mean), "mean wait {mean} of 16000");
    }

    #[test]
    fn same_seed_and_event_wait_the_same_and_others_differ() {
        let wait = |seed, subscription, offset, spent| {
            Jitter::new(seed, SubscriptionId(subscription)).after_failure(&policy(), Offset(offset), spent)
        };
        assert_eq!(wait(1, 2, 3, 9), wait(1, 2, 3, 9));
        assert_ne!(wait(1, 2, 3, 9), wait(2, 2, 3, 9));
        assert_ne!(wait(1, 2, 3, 9), wait(1, 3, 3, 9));
        assert_ne!(wait(1, 2, 3, 9), wait(1, 2, 4, 9));
        assert_ne!(wait(1, 2, 3, 9), wait(1, 2, 3, 10));
    }

    #[test]
    fn a_call_that_never_ran_is_tried_again_within_seconds_but_never_at_once() {
        let jitter = Jitter::new(7, SubscriptionId(3));
        for refusals in 1..100 {
            let wait = jitter.after_refusal(Offset(1), refusals);
            assert!(wait.0 >= 50 && wait <= NOT_STARTED_MAX, "waited {wait:?}");
        }
    }
}
