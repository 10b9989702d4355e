//! What stands between a delivery that is ready and its attempt: token bucket, circuit breaker, degrade policy; and who is to
//! blame for faults.
//!
//! One `Flow` per subscription, part of its machine, so it is shared by all revisions of the plugin and by redeliveries. The
//! machine asks it before each start and tells it how each attempt ended. Knows nothing of lanes, leases and rows of deliveries.
//!
//! Invariant: what must survive a restart is in `Flow::row`, and whoever changes it says so.

mod ages;
mod breaker;
mod bucket;
mod degrade;
mod evidence;
mod status;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::backoff::Jitter;
use crate::event::Class;
use crate::ids::Offset;
use crate::row::{ChannelRow, Culprit};
use crate::spec::{DegradeAction, Health, Protection, Rate};
use crate::time::{Millis, Timestamp};
use ages::Ages;
use breaker::{Breaker, Cause, Phase};
use bucket::Bucket;
use degrade::Condition;
pub(crate) use degrade::Stance;
pub use degrade::{Counting, Decision};
use evidence::Evidence;
pub(crate) use evidence::Fault;
pub use status::{BreakerStatus, FlowCounts, FlowStatus, RuleStatus};

/// Which kind of start a delivery gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// An ordinary one.
    Call,
    /// It shows whether the channel has recovered.
    Probe,
}

/// A call whose end is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called {
    pub(crate) offset: Offset,
    pub(crate) start: Start,
    /// It was the first attempt on its event.
    pub(crate) is_first: bool,
}

/// How a call ended, as far as the channel is concerned.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The event was handled.
    Succeeded,
    /// The channel and the plugin work, but the event was not handled.
    Worked,
    /// It says nothing: deferred, a conflict, never ran.
    Nothing,
}

/// Who pays for a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// `None`: the event.
    pub(crate) culprit: Option<Culprit>,
    /// Attempts that events were charged with before and that the culprit takes over.
    pub(crate) given_back: Vec<(Offset, u32)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Flow {
    policy: Protection,
    jitter: Jitter,
    bucket: Option<Bucket>,
    breaker: Breaker,
    evidence: Evidence,
    counting: Counting,
    pub(crate) ages: Ages,
    counts: FlowCounts,
    /// Decisions of each rule since the machine was made.
    decided: Vec<u64>,
    /// The event of each class that was found deferred last, so that it counts once.
    deferred: [Option<Offset>; 3],
    /// Times the rate: the subscription is boosted.
    boost: u32,
    /// The next time at which something may start or leave that may not now.
    wake: Option<Timestamp>,
    /// The row changed since it was written.
    is_changed: bool,
}

impl Flow {
    pub(crate) fn recover(policy: &Protection, jitter: Jitter, row: Option<ChannelRow>) -> Flow {
        let row = row.unwrap_or_default();
        Flow {
            decided: alloc::vec![0; policy.degrade.len()],
            policy: policy.clone(),
            jitter,
            bucket: None,
            boost: 1,
            breaker: Breaker::recover(row.open, row.times, row.since),
            evidence: Evidence::new(row.forgives_first),
            counting: Counting(row.counting),
            ages: Ages::new(),
            counts: FlowCounts::default(),
            deferred: [None; 3],
            wake: None,
            is_changed: false,
        }
    }

    /// What a restart must know; `None` while the channel is as it was at the beginning.
    pub(crate) fn row(&self) -> Option<ChannelRow> {
        let row = ChannelRow {
            open: self.breaker.open().cloned(),
            times: self.breaker.times(),
            since: self.breaker.since(),
            counting: self.counting.0,
            forgives_first: self.evidence.forgives_first(),
        };
        (row != ChannelRow::default()).then_some(row)
    }

    /// Whether the row must be written again.
    pub(crate) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.is_changed)
    }

    fn health(&self) -> Health {
        if self.breaker.open().is_some() { Health::Sick } else { Health::Healthy }
    }

    fn condition(&self) -> Condition {
        Condition { health: self.health(), since: self.breaker.since() }
    }

    /// Brings the rules that count up to date. Called before anything else at a new time.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if self.policy.degrade.is_empty() {
            return;
        }
        let settled = self.counting.settled(&self.policy.degrade, self.condition(), now);
        self.is_changed |= settled != self.counting;
        self.counting = settled;
    }

    /// Multiplies the rate for as long as the subscription is boosted; 1 is the rate itself.
    pub(crate) fn boost(&mut self, now: Timestamp, factor: u32) {
        if self.boost == factor {
            return;
        }
        self.boost = factor;
        if let (Some(bucket), Some(rate)) = (self.bucket, self.rate()) {
            self.bucket = Some(bucket.with(now, rate));
        }
    }

    fn rate(&self) -> Option<Rate> {
        let times = |count: u32| count.saturating_mul(self.boost);
        self.policy.rate.map(|rate| Rate { events: times(rate.events), burst: times(rate.burst), ..rate })
    }

    /// Other settings. Rules that changed count anew.
    pub(crate) fn reconfigure(&mut self, now: Timestamp, policy: &Protection) {
        if policy.degrade != self.policy.degrade {
            self.is_changed |= self.counting != Counting::default();
            self.counting = Counting::default();
            self.decided = alloc::vec![0; policy.degrade.len()];
            self.deferred = [None; 3];
        }
        let is_new_rate = self.policy.rate != policy.rate;
        self.policy = policy.clone();
        self.bucket = match (self.bucket, self.rate()) {
            (Some(bucket), Some(rate)) if is_new_rate => Some(bucket.with(now, rate)),
            (bucket, Some(_)) => bucket,
            (_, None) => None,
        };
        if self.policy.breaker.is_none() {
            self.is_changed |= self.breaker.close(now);
        }
        self.settle(now);
    }

    /// How a class is treated now.
    pub(crate) fn stance(&self, now: Timestamp, class: Class) -> Stance {
        match self.counting.stance(&self.policy.degrade, class) {
            Stance::Flow if self.breaker.phase(now) == Phase::Open => Stance::Hold,
            stance => stance,
        }
    }

    /// Whether every class simply flows: nothing open, no rule that counts.
    pub(crate) fn is_plain(&self) -> bool {
        self.counting == Counting::default() && self.breaker.open().is_none()
    }

    fn age(&self, now: Timestamp, offset: Offset) -> Millis {
        self.ages.received_by(offset).map_or(Millis(0), |received| now.since(received))
    }

    /// What becomes of a delivery that could start.
    pub(crate) fn decide(&mut self, now: Timestamp, class: Class, offset: Offset) -> Decision {
        if self.counting == Counting::default() {
            return Decision { action: DegradeAction::Send, rule: None };
        }
        let age = self.age(now, offset);
        if let Some(next) = self.counting.next_age(&self.policy.degrade, class, age) {
            self.wake_at(now.after(Millis(next.0 - age.0)));
        }
        let decision = self.counting.decide(&self.policy.degrade, class, age);
        if decision.action == DegradeAction::Defer {
            let deferred = &mut self.deferred[usize::from(class.code())];
            if *deferred != Some(offset) {
                *deferred = Some(offset);
                self.count(decision);
            }
        }
        decision
    }

    /// Counts a decision that was carried out.
    pub(crate) fn count(&mut self, decision: Decision) {
        if let Some(count) = decision.rule.and_then(|rule| self.decided.get_mut(rule)) {
            *count += 1;
        }
        match decision.action {
            DegradeAction::Send => {}
            DegradeAction::Defer => self.counts.deferred += 1,
            DegradeAction::Reroute(_) => self.counts.rerouted += 1,
            DegradeAction::Drop => self.counts.dropped += 1,
        }
    }

    /// Whether anything may start at all, rate apart.
    pub(crate) fn may_start(&self, now: Timestamp) -> bool {
        self.breaker.may_start(now)
    }

    /// Whether the channel is sick and a probe may start.
    pub(crate) fn wants_probe(&self, now: Timestamp) -> bool {
        self.breaker.open().is_some() && self.breaker.may_start(now)
    }

    /// Whether it is only for the channel's sickness that an event is not sent.
    pub(crate) fn is_while_sick(&self, decision: Decision) -> bool {
        let rule = decision.rule.and_then(|rule| self.policy.degrade.get(rule));
        rule.is_some_and(|rule| rule.health == Some(Health::Sick))
    }

    /// Takes what a start costs; `None` if the rate does not allow it now.
    pub(crate) fn start(&mut self, now: Timestamp) -> Option<Start> {
        if let Some(rate) = self.rate() {
            let bucket = self.bucket.get_or_insert_with(|| Bucket::new(now, rate));
            if !bucket.take(now) {
                let next = bucket.next();
                self.wake_at(next);
                return None;
            }
        }
        match self.breaker.phase(now) {
            Phase::Closed | Phase::Open => Some(Start::Call),
            Phase::HalfOpen => {
                self.breaker.probe();
                Some(Start::Probe)
            }
        }
    }

    /// An attempt ended without a failure.
    pub(crate) fn ended(&mut self, now: Timestamp, call: Called, outcome: &Outcome) {
        let blame = self.policy.blame;
        let Called { offset, start, is_first } = call;
        match outcome {
            Outcome::Succeeded => {
                self.note_repeated(is_first, true);
                self.evidence.succeeded(&blame, offset);
            }
            Outcome::Worked => {
                // Refused for good the second time is an answer too.
                self.note_repeated(is_first, true);
                self.evidence.works(&blame, offset);
            }
            Outcome::Nothing => {}
        }
        if start == Start::Call {
            return;
        }
        match (outcome, self.policy.breaker) {
            (Outcome::Succeeded | Outcome::Worked, Some(policy)) => {
                self.settle(now);
                if self.breaker.probe_succeeded(now, &policy) {
                    self.evidence.forget();
                    self.is_changed = true;
                }
                self.settle(now);
            }
            (Outcome::Nothing, _) | (_, None) => self.breaker.probe_ended(),
        }
    }

    /// An attempt failed: who pays. The breaker opens when it is not the event.
    pub(crate) fn failed(&mut self, now: Timestamp, call: Called, fault: Fault, reason: &str) -> Charge {
        let Called { offset, start, is_first } = call;
        self.note_repeated(is_first, false);
        let Some(policy) = self.policy.breaker else {
            if start == Start::Probe {
                self.breaker.probe_ended();
            }
            return Charge::default();
        };
        if let (Start::Call, Some(open)) = (start, self.breaker.open()) {
            // It started before the channel was left alone; what it tells is known.
            return Charge { culprit: Some(open.culprit), given_back: Vec::new() };
        }
        if let (Start::Probe, Some(open)) = (start, self.breaker.open()) {
            let culprit = open.culprit;
            let retry_after = fault.retry_after.unwrap_or_default();
            self.breaker.probe_failed(now, &policy, self.jitter, Cause { culprit, retry_after, reason: reason.into() });
            self.is_changed = true;
            return Charge { culprit: Some(culprit), given_back: Vec::new() };
        }
        if start == Start::Probe {
            self.breaker.probe_ended();
        }
        let Some(verdict) = self.evidence.failed(&self.policy.blame, offset, fault, is_first) else {
            return Charge::default();
        };
        self.settle(now);
        let culprit = verdict.culprit;
        let cause = Cause { culprit, retry_after: verdict.retry_after, reason: reason.into() };
        self.breaker.trip(now, &policy, self.jitter, cause);
        self.counts.opened += 1;
        self.is_changed = true;
        self.settle(now);
        Charge { culprit: Some(culprit), given_back: verdict.charged }
    }

    fn note_repeated(&mut self, is_first: bool, has_succeeded: bool) {
        if !is_first && self.policy.breaker.is_some() {
            let before = self.evidence.forgives_first();
            self.evidence.repeated(has_succeeded);
            self.is_changed |= self.evidence.forgives_first() != before;
        }
    }

    /// Deliveries of other events that succeeded so far.
    pub(crate) fn successes(&self) -> u64 {
        self.evidence.successes()
    }

    /// Whether an event that broke the plugin this often on fresh instances is poison, while so many others succeeded.
    pub(crate) fn is_poison(&self, fresh_breaks: u32, others: u64) -> bool {
        let blame = &self.policy.blame;
        fresh_breaks >= blame.fresh_breaks_max.max(1) && others >= u64::from(blame.events_min)
    }

    /// The cause may be gone: probe now.
    pub(crate) fn probe_now(&mut self, now: Timestamp) {
        self.is_changed |= self.breaker.probe_now(now);
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Forgets what was waited for: it is found again by looking.
    pub(crate) fn look_again(&mut self) {
        self.wake = None;
    }

    /// When something may change by itself.
    pub(crate) fn next_wakeup(&self, now: Option<Timestamp>) -> Option<Timestamp> {
        let is_ahead = |at: &Timestamp| now.is_none_or(|now| *at > now);
        let rules = || self.counting.next_change(&self.policy.degrade, self.condition());
        [self.wake, self.breaker.next_probe().filter(is_ahead), rules().filter(is_ahead)].into_iter().flatten().min()
    }
}
