//! Definitions of the simulated subscriptions, and the bounds of their machines: small ones, so that every bound is met.
//!
//! Knows nothing of what they lead to. Invariant: a change leaves the name, the number and the topics as they are.

use bugle_core::event::Class;
use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::spec::{
    BacklogCap, BacklogPolicy, Blame, BreakerPolicy, Classes, DeadBounds, DegradeAction, DegradeRule, Filter, Health,
    OnDeadFull, OnExhausted, OnUnknown, Ordering, Protection, Rate, RetryPolicy, Subscription,
};
use bugle_core::subscription::Bounds;
use bugle_core::time::Millis;
use bugle_random::Random;

/// Names of the subscriptions, by index.
const NAMES: [&str; 3] = ["count", "send", "follow"];

/// Which of them have send records. It stays so, or the records would not say how each delivery ended.
const HAS_RECORDS: [bool; 3] = [false, true, true];

/// Which of them have their claims in a scope that another one could share; that never changes either.
const HAS_CHANNEL: [bool; 3] = [false, true, false];

/// The one that sends something.
const SENDS: usize = 1;

/// Which of them tell how their deliveries ended. The last one reads that, so it must not tell of what it read.
const TELLS: [bool; 3] = [true, false, true];

/// Where they tell it.
pub(crate) const OUTCOMES: TopicId = TopicId(3);

/// The one that gets what a send publishes, and outcomes.
const FOLLOW: SubscriptionId = SubscriptionId(3);

/// Largest concurrency that is drawn.
pub(crate) const CONCURRENCY_MAX: u64 = 6;

/// A new subscription.
pub(crate) fn draw(random: &mut Random, index: usize, topics: Vec<TopicId>) -> Subscription {
    let id = SubscriptionId(index as u32 + 1);
    let spec = Subscription {
        // Who is asked before a second send is asked always, or the provider's word would not count.
        on_unknown: if index == SENDS && random.chance(50) { OnUnknown::Ask } else { OnUnknown::Resend },
        redelivery: Some(private(index)),
        records: HAS_RECORDS[index],
        channel: HAS_CHANNEL[index].then(|| "shared".into()),
        settled: TELLS[index].then_some(OUTCOMES),
        ..Subscription::new(id, NAMES[index], "script", topics)
    };
    policy(random, spec)
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
    // What follows from a send must not come back to it: it would publish once more, for ever.
    let targets: &[usize] = if spec.id == FOLLOW { &[0] } else { &[0, 1, 2] };
    let spec = Subscription {
        ordering: if random.chance(80) { Ordering::ByKey } else { Ordering::None },
        concurrency: random.within(1, CONCURRENCY_MAX) as u32,
        batch_max: *random.pick(&[1, 1, 2, 64]),
        retry: RetryPolicy {
            attempts_max: random.within(2, 6) as u32,
            first_backoff: Millis(random.within(1, 20)),
            backoff_max: Millis(60),
        },
        on_unknown: match spec.on_unknown {
            OnUnknown::Ask => OnUnknown::Ask,
            OnUnknown::Resend | OnUnknown::Park if random.chance(70) => OnUnknown::Resend,
            OnUnknown::Resend | OnUnknown::Park => OnUnknown::Park,
        },
        lease: Millis(random.within(50, 400)),
        protection: protection(random, targets),
        backlog: backlog(random),
        on_exhausted: *random.pick(&[
            OnExhausted::Skip,
            OnExhausted::Skip,
            OnExhausted::ParkKey,
            OnExhausted::ParkKey,
            OnExhausted::Block,
        ]),
        dead: DeadBounds {
            letters_max: random.within(1, 20),
            on_full: if random.chance(80) { OnDeadFull::RemoveOldest } else { OnDeadFull::Pause },
            ..DeadBounds::default()
        },
        ..spec
    };
    Subscription { late_after: late_after(&spec), ..spec }
}

/// Half of the definitions have what was sent watched. Without a draw of its own, so that histories stay what they were.
fn late_after(spec: &Subscription) -> Option<Millis> {
    let is_watched = spec.id.0 as usize == SENDS + 1 && spec.lease.0.is_multiple_of(2);
    is_watched.then(|| Millis(200 + 4 * spec.lease.0))
}

/// Caps that a history reaches.
fn backlog(random: &mut Random) -> BacklogCap {
    if random.chance(50) {
        return BacklogCap::default();
    }
    let policies = [BacklogPolicy::ExpireOldest, BacklogPolicy::ExpireOldest, BacklogPolicy::RefusePublish];
    BacklogCap { events_max: random.within(5, 60), policy: *random.pick(&policies), ..BacklogCap::default() }
}

/// Half of the channels are not protected at all, so that rules on faults are tested without a breaker too.
fn protection(random: &mut Random, targets: &[usize]) -> Protection {
    if random.chance(50) {
        return Protection::default();
    }
    let rate = Rate {
        events: random.within(1, 20) as u32,
        per: Millis(random.within(5, 50)),
        burst: random.within(1, 10) as u32,
    };
    let breaker = BreakerPolicy {
        open_first: Millis(random.within(5, 40)),
        open_max: Millis(random.within(40, 100)),
        probes: random.within(1, 3) as u32,
    };
    Protection {
        rate: random.chance(30).then_some(rate),
        blame: Blame { events_min: random.within(1, 8) as u32, fresh_breaks_max: random.within(1, 3) as u32 },
        breaker: random.chance(80).then_some(breaker),
        degrade: (0..random.below(3)).map(|_| degrade_rule(random, targets)).collect(),
    }
}

/// A rule that counts only while the channel is sick, so that it ends with the faults.
fn degrade_rule(random: &mut Random, targets: &[usize]) -> DegradeRule {
    let action = match random.below(5) {
        0 => DegradeAction::Send,
        1 | 2 => DegradeAction::Defer,
        3 => DegradeAction::Reroute(private(*random.pick(targets))),
        _ => DegradeAction::Drop,
    };
    DegradeRule {
        classes: if random.chance(50) { Classes::of(&[Class::Critical]) } else { Classes::ALL },
        health: Some(Health::Sick),
        older_than: Millis(random.below(2) * random.within(1, 50)),
        action,
        sustained: Millis(random.below(20)),
        until: Millis(random.below(20)),
    }
}

/// The private topic of a subscription.
pub(crate) fn private(index: usize) -> TopicId {
    TopicId(10 + index as u32)
}

pub(crate) fn bounds(random: &mut Random) -> Bounds {
    if random.chance(50) {
        return Bounds::default();
    }
    Bounds {
        lane_queue_max: random.within(1, 6) as usize,
        queued_max: random.within(6, 60) as usize,
        lanes_max: random.within(3, 30) as usize,
        waiting_max: random.within(0, 20) as usize,
        ready_min: random.within(1, 30) as usize,
        // Two and four lanes for all keys and classes: collisions all the time.
        lane_hash_bits: *random.pick(&[64, 64, 2, 1]),
    }
}
