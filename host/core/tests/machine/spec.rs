//! Random subscriptions.
//!
//! Knows nothing of what happens to them. Invariant: numbers are small, so that histories meet them.

use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::spec::{
    BacklogCap, BacklogPolicy, DeadBounds, Filter, OnDeadFull, OnExhausted, OnUnknown, Ordering, RetryPolicy,
    Subscription,
};
use bugle_core::time::Millis;
use bugle_random::Random;

use crate::protect::protection;

/// A subscription that meets every bound now and then.
pub(crate) fn spec(random: &mut Random) -> Subscription {
    Subscription {
        filter: Filter::Exact { attribute: "type".to_owned(), value: "wanted".to_owned() },
        ordering: if random.chance(85) { Ordering::ByKey } else { Ordering::None },
        concurrency: random.within(1, 6) as u32,
        batch_max: *random.pick(&[1, 2, 3, 64]),
        retry: RetryPolicy {
            attempts_max: random.within(1, 4) as u32,
            first_backoff: Millis(random.within(0, 20)),
            backoff_max: Millis(50),
        },
        on_unknown: *random.pick(&[OnUnknown::Resend, OnUnknown::Ask, OnUnknown::Park]),
        on_exhausted: *random.pick(&[
            OnExhausted::Skip,
            OnExhausted::ParkKey,
            OnExhausted::ParkKey,
            OnExhausted::Block,
        ]),
        dead: DeadBounds {
            letters_max: random.within(2, 40),
            bytes_max: 1 << 20,
            age_max: Millis(random.within(100, 1_000_000)),
            on_full: if random.chance(80) { OnDeadFull::RemoveOldest } else { OnDeadFull::Pause },
        },
        redelivery: Some(TopicId(3)),
        settled: random.chance(50).then_some(TopicId(4)),
        lease: Millis(random.within(20, 200)),
        backlog: BacklogCap {
            events_max: if random.chance(30) { random.within(5, 60) } else { 1_000_000 },
            policy: if random.chance(80) { BacklogPolicy::ExpireOldest } else { BacklogPolicy::RefusePublish },
            ..BacklogCap::default()
        },
        protection: protection(random),
        ..Subscription::new(SubscriptionId(1), "mail", "mail", vec![TopicId(1)])
    }
}
