//! Random protections of a channel, and how often a history came to what they do.
//!
//! Knows nothing of the world around. Times are of the order of the steps of a history, so that everything happens often.

use bugle_core::ids::TopicId;
use bugle_core::spec::{Blame, BreakerPolicy, Classes, DegradeAction, DegradeRule, Health, Protection, Rate};
use bugle_core::time::Millis;
use bugle_random::Random;

use crate::world::CLASSES;

/// How often a history came to the rarer places, so that the test knows that it tests them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    pub(crate) fetches: u64,
    pub(crate) openings: u64,
    pub(crate) deferred: u64,
    pub(crate) rerouted: u64,
    pub(crate) dropped: u64,
    pub(crate) left_behind: u64,
    pub(crate) poisoned: u64,
    pub(crate) given_back: u64,
    pub(crate) expired: u64,
    pub(crate) shared: u64,
    pub(crate) shared_broken: u64,
}

/// A protection that may have everything or nothing.
pub(crate) fn protection(random: &mut Random) -> Protection {
    let rate = Rate {
        events: random.within(1, 5) as u32,
        per: Millis(random.within(5, 50)),
        burst: random.within(1, 3) as u32,
    };
    let breaker = BreakerPolicy {
        open_first: Millis(random.within(5, 40)),
        open_max: Millis(random.within(5, 100)),
        probes: random.within(1, 3) as u32,
    };
    Protection {
        rate: random.chance(30).then_some(rate),
        blame: Blame { events_min: random.within(1, 5) as u32, fresh_breaks_max: random.within(1, 2) as u32 },
        breaker: random.chance(80).then_some(breaker),
        degrade: (0..random.below(4).saturating_sub(1)).map(|_| rule(random)).collect(),
    }
}

fn rule(random: &mut Random) -> DegradeRule {
    let actions = [DegradeAction::Send, DegradeAction::Defer, DegradeAction::Reroute(TopicId(4)), DegradeAction::Drop];
    let healths = [None, Some(Health::Sick), Some(Health::Sick), Some(Health::Healthy)];
    DegradeRule {
        classes: Classes::of(&[*random.pick(&CLASSES), *random.pick(&CLASSES)]),
        health: *random.pick(&healths),
        older_than: Millis(if random.chance(60) { 0 } else { random.within(1, 80) }),
        action: *random.pick(&actions),
        sustained: Millis(random.below(3) * 15),
        until: Millis(random.below(3) * 15),
    }
}
