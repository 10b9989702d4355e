//! A day without a provider: what becomes of a steady stream of events while it is gone, and after it is back.
//!
//! One subscription sends notifications at a bounded rate; its critical ones are handed on to a fallback channel while it is sick. In the
//! healthy time before there is one event that its plugin cannot stand. All rules are checked on the way, and the host is killed now
//! and then. Knows nothing of breakers: it only sees what reaches the receivers. Invariant: calls take no simulated time, so a delay is the host's.

use std::collections::BTreeMap;

use bugle_core::event::Class;
use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::spec::{Classes, DegradeAction, DegradeRule, Health, Protection, Rate, RetryPolicy, Subscription};
use bugle_core::subscription::{Bounds, STEPS_OUTSTANDING_MAX, Status};
use bugle_core::time::{Millis, Timestamp};
use bugle_random::Random;

use crate::bus::Item;
use crate::call::{POISONED, Script};
use crate::definition::private;
use crate::rule::{self, Broken, Checked, broken, must};
use crate::world::{ORDERS, Setup, World};

/// The subscription whose provider goes away, and the one that stands in for it.
const MAIN: SubscriptionId = SubscriptionId(1);
const FALLBACK: SubscriptionId = SubscriptionId(2);

/// Rounds in which everybody does something, without time going by; far more than one event needs.
const ROUNDS_MAX: u32 = 10_000;

/// What happens.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Dice.
    pub seed: u64,
    /// Between two events.
    pub every: Millis,
    /// Healthy time before; the poisoned event comes half-way.
    pub before: Millis,
    /// Time without the provider.
    pub gone: Millis,
    /// Ordering keys.
    pub keys: u64,
    /// One event of so many is critical.
    pub critical_one_in: u64,
    /// Notifications a second that the provider takes.
    pub rate: u32,
    /// The host is killed so often during the outage.
    pub kills: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events published.
    pub events: u64,
    /// Dead letters, with their causes.
    pub dead: Vec<(Offset, String)>,
    /// Attempts while the provider was gone.
    pub attempts_while_gone: u64,
    /// Critical events that came while the provider was gone.
    pub critical_while_gone: u64,
    /// Of those, how many the fallback channel sent.
    pub handed_on: u64,
    /// The longest a critical event waited while the provider was gone.
    pub critical_wait_max: Millis,
    /// The longest any event but the poisoned one waited in the healthy time before.
    pub healthy_wait_max: Millis,
    /// Events that waited when the provider came back.
    pub backlog: u64,
    /// From then until the last one was sent.
    pub drained_in: Millis,
    /// The most notifications in any ten seconds.
    pub ten_seconds_max: u64,
    /// Events that were sent after a later one of their key, class and channel.
    pub inversions: u64,
    /// Events that were sent twice.
    pub repeats: u64,
    /// Waiting rows on disk at the end of the outage.
    pub rows_while_gone: u64,
}

/// The run with what it keeps of it.
struct Day {
    plan: Outage,
    world: World,
    random: Random,
    next_event: Timestamp,
    began: Timestamp,
    /// Events of the outage begin here.
    first_gone: Offset,
}

/// Lets it happen.
///
/// # Errors
///
/// The first rule that was broken.
pub fn outage(plan: Outage) -> Result<Report, Broken> {
    let mut day = Day::new(plan);
    let gone = day.began.after(plan.before);
    day.live_until(day.began.after(Millis(plan.before.0 / 2)))?;
    day.publish(POISONED, Class::Normal);
    day.live_until(gone)?;
    let attempts = day.world.bus.evidence.attempts;
    day.world.bus.sick = Some(MAIN);
    day.first_gone = day.world.bus.disk.synced.end();
    for kill in 1..=plan.kills {
        day.live_until(gone.after(Millis(plan.gone.0 * kill / (plan.kills + 1))))?;
        day.world.crash()?;
    }
    let back = gone.after(plan.gone);
    day.live_until(back)?;
    let mut report = day.count_at_return(attempts);
    day.world.bus.sick = None;
    day.drain(back)?;
    day.report(back, &mut report)?;
    Ok(report)
}

impl Day {
    fn new(plan: Outage) -> Day {
        let subscriptions = vec![
            (main(plan), Script::Notify, Bounds::default(), STEPS_OUTSTANDING_MAX),
            (fallback(), Script::Notify, Bounds::default(), STEPS_OUTSTANDING_MAX),
        ];
        let mut world = World::made(Setup {
            seed: plan.seed,
            random: Random::new(plan.seed),
            has_journal: false,
            has_faults: false,
            subscriptions,
            producers: 1,
            ids: 1_000_000,
            read_max: 4_096,
        });
        let began = world.bus.now;
        world.connect_all();
        Day { plan, random: Random::new(plan.seed), next_event: began, began, first_gone: Offset(u64::MAX), world }
    }

    fn publish(&mut self, key: &str, class: Class) {
        if let Some(batch) = self.world.producers[0].publish_one(key, class) {
            self.world.bus.queue.push_back(Item::Publish { producer: 0, batch });
        }
    }

    /// Events come at their times, and everybody does what there is to do, until this time.
    fn live_until(&mut self, end: Timestamp) -> Checked {
        self.settle_down()?;
        while self.world.bus.now < end {
            if self.world.bus.now >= self.next_event {
                self.next_event = self.next_event.after(self.plan.every);
                let key = format!("key-{}", self.random.below(self.plan.keys));
                let is_critical = self.random.below(self.plan.critical_one_in) == 0;
                self.publish(&key, if is_critical { Class::Critical } else { Class::Normal });
            }
            self.settle_down()?;
            self.pass(self.next_event.min(end))?;
        }
        Ok(())
    }

    /// Nothing new comes; until everything is sent.
    fn drain(&mut self, back: Timestamp) -> Checked {
        let last = back.after(Millis(self.plan.gone.0.saturating_mul(2)));
        loop {
            self.settle_down()?;
            let end = self.world.bus.disk.synced.end();
            if self.world.workers.iter().all(|worker| worker.is_at_rest(end)) {
                return Ok(());
            }
            if self.world.bus.now >= last {
                let statuses: Vec<_> = self.world.workers.iter().map(|worker| worker.machine.status()).collect();
                return broken(rule::SETTLES_AT_LAST, format!("{statuses:?}"));
            }
            self.pass(last)?;
        }
    }

    /// Time goes by until a machine wants to be woken, or until then.
    fn pass(&mut self, until: Timestamp) -> Checked {
        let now = self.world.bus.now;
        let wakeups = self.world.workers.iter().filter_map(|worker| worker.machine.next_wakeup());
        // A wake-up that is due now has just been.
        let at = wakeups.min().unwrap_or(until).min(until).max(now.after(Millis(1)));
        self.world.bus.pass(at.since(now))?;
        self.world.tick()
    }

    /// Everybody does what there is to do until nobody has anything to do at this time.
    fn settle_down(&mut self) -> Checked {
        for _ in 0..ROUNDS_MAX {
            let before = self.activity();
            self.world.round_of_all()?;
            let can_read = self.world.workers.iter().any(|worker| worker.can_read(&self.world.bus));
            if before == self.activity() && self.world.bus.queue.is_empty() && !can_read {
                return Ok(());
            }
        }
        broken(rule::SETTLES_AT_LAST, "there is always something to do")
    }

    /// Changes whenever anybody does anything.
    fn activity(&self) -> (u64, Offset, Vec<Status>) {
        let statuses = self.world.workers.iter().map(|worker| worker.machine.status()).collect();
        (self.world.bus.evidence.attempts, self.world.bus.tail, statuses)
    }

    fn count_at_return(&self, attempts: u64) -> Report {
        let rows = self.world.bus.disk.synced.rows(MAIN);
        let log = &self.world.bus.disk.synced.log;
        let unsettled = log.iter().filter(|event| event.topic == ORDERS && !rows.is_told(event.position.offset));
        Report {
            attempts_while_gone: self.world.bus.evidence.attempts - attempts,
            backlog: unsettled.count() as u64,
            rows_while_gone: rows.waiting_len(),
            ..Report::default()
        }
    }

    fn report(&self, back: Timestamp, report: &mut Report) -> Checked {
        let store = &self.world.bus.disk.synced;
        let dead = &store.rows(MAIN).dead;
        report.dead = dead.iter().map(|(offset, row)| (*offset, row.cause.clone())).collect();
        report.events = store.log.iter().filter(|event| event.topic == ORDERS).count() as u64;
        let mut latest: BTreeMap<(SubscriptionId, u32), Offset> = BTreeMap::new();
        let mut times: BTreeMap<Offset, Timestamp> = BTreeMap::new();
        let mut recent = std::collections::VecDeque::new();
        for (at, (subscription, offset)) in &self.world.bus.evidence.notified {
            report.repeats += u64::from(times.insert(*offset, *at).is_some());
            if let Some(lane) = store.lane(*offset) {
                let before = latest.insert((*subscription, lane), *offset);
                report.inversions += u64::from(before.is_some_and(|before| before > *offset));
            }
            if *subscription == MAIN {
                recent.push_back(*at);
                while recent.front().is_some_and(|first| at.since(*first) >= Millis::from_secs(10)) {
                    recent.pop_front();
                }
                report.ten_seconds_max = report.ten_seconds_max.max(recent.len() as u64);
                report.drained_in = report.drained_in.max(at.since(back));
            }
        }
        for event in &store.log {
            let offset = event.position.offset;
            let waited = times.get(&offset).map(|at| at.since(event.received));
            if event.topic == private(FALLBACK.0 as usize - 1) {
                report.handed_on += 1;
                let of = self.first_copy_of(event);
                let waited = times.get(&offset).map_or(Millis(u64::MAX), |at| at.since(of));
                report.critical_wait_max = report.critical_wait_max.max(waited);
            } else if offset < self.first_gone {
                report.healthy_wait_max = report.healthy_wait_max.max(waited.unwrap_or_default());
            } else if event.event.class() == Class::Critical {
                report.critical_while_gone += 1;
                report.critical_wait_max = report.critical_wait_max.max(waited.unwrap_or_default());
            }
            let is_sent = waited.is_some() || dead.contains_key(&offset) || store.rows(MAIN).suppressed.has(offset);
            must(rule::SETTLES_AT_LAST, is_sent, || format!("{offset} was never sent"))?;
        }
        Ok(())
    }

    /// When the event that a copy was made of came in.
    fn first_copy_of(&self, copy: &bugle_core::event::StoredEvent) -> Timestamp {
        let origin = bugle_core::origin::Origin::of(FALLBACK, Some(copy.topic), copy);
        let first = self.world.bus.disk.synced.log.get(origin.position.offset.0 as usize);
        first.map_or(Timestamp(0), |event| event.received)
    }
}

/// Bounded in its rate; only critical events leave while it is sick, through the other one.
fn main(plan: Outage) -> Subscription {
    let degrade = DegradeRule {
        classes: Classes::of(&[Class::Critical]),
        health: Some(Health::Sick),
        older_than: Millis(0),
        action: DegradeAction::Reroute(private(FALLBACK.0 as usize - 1)),
        sustained: Millis(0),
        until: Millis(0),
    };
    Subscription {
        redelivery: Some(private(0)),
        retry: RetryPolicy::default(),
        protection: Protection {
            rate: Some(Rate { events: plan.rate, per: Millis::from_secs(1), burst: plan.rate }),
            degrade: vec![degrade],
            ..Protection::standard()
        },
        ..Subscription::new(MAIN, "sms", "script", vec![ORDERS])
    }
}

/// Gets nothing but what is handed on to it.
fn fallback() -> Subscription {
    Subscription { redelivery: Some(private(1)), ..Subscription::new(FALLBACK, "push", "script", Vec::new()) }
}
