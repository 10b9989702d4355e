//! Definitions of the simulated subscriptions, and the bounds of their machines: small ones, so that every bound is met.
//!
//! Knows nothing of what they lead to. Invariant: a change leaves the name, the number and the topics as they are.

use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::spec::{Filter, OnUnknown, Ordering, RetryPolicy, Subscription};
use bugle_core::subscription::Bounds;
use bugle_core::time::Millis;

use crate::random::Random;

/// Names of the subscriptions, by index.
const NAMES: [&str; 3] = ["count", "send", "follow"];

/// Largest concurrency that is drawn.
pub(crate) const CONCURRENCY_MAX: u64 = 6;

/// A new subscription.
pub(crate) fn draw(random: &mut Random, index: usize, topic: TopicId) -> Subscription {
    let id = SubscriptionId(index as u32 + 1);
    policy(random, Subscription::new(id, NAMES[index], "script", vec![topic]))
}

/// A subscription as an operator changes it.
pub(crate) fn change(random: &mut Random, spec: &Subscription) -> Subscription {
    let filter = match random.below(4) {
        0 => spec.filter.clone(),
        1 => Filter::Exact { attribute: "source".to_owned(), value: "producer-1".to_owned() },
        2 => Filter::Not(Box::new(Filter::Suffix { attribute: "partitionkey".to_owned(), value: "/a".to_owned() })),
        _ => Filter::Everything,
    };
    Subscription { filter, ..policy(random, spec.clone()) }
}

fn policy(random: &mut Random, spec: Subscription) -> Subscription {
    Subscription {
        ordering: if random.chance(80) { Ordering::ByKey } else { Ordering::None },
        concurrency: random.within(1, CONCURRENCY_MAX) as u32,
        retry: RetryPolicy {
            attempts_max: random.within(2, 6) as u32,
            first_backoff: Millis(random.within(1, 20)),
            backoff_max: Millis(60),
        },
        on_unknown: if random.chance(70) { OnUnknown::Resend } else { OnUnknown::Park },
        lease: Millis(random.within(50, 400)),
        ..spec
    }
}

pub(crate) fn bounds(random: &mut Random) -> Bounds {
    if random.chance(50) {
        return Bounds::default();
    }
    Bounds {
        lane_queue_max: random.within(1, 6) as usize,
        queued_max: random.within(6, 60) as usize,
        lanes_max: random.within(3, 30) as usize,
        waiting_max: random.within(2, 20) as usize,
        ready_min: random.within(1, 30) as usize,
    }
}
