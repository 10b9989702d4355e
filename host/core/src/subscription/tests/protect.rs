//! Breaker, blame, rate and degrade rules at work in a whole machine.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::{Bench, event, nack, offsets, spec};
use crate::delivery::{Fault, Retry, Verdict};
use crate::event::{Class, StoredEvent};
use crate::flow::BreakerStatus;
use crate::ids::{Offset, Slot, TopicId};
use crate::row::{ChannelRow, Culprit, WaitingRow};
use crate::spec::{
    BreakerPolicy, Classes, DegradeAction, DegradeRule, Health, Protection, Rate, RetryPolicy, Subscription,
};
use crate::step::{Invocation, Write};
use crate::subscription::{Input, Machine, Recovered};
use crate::time::{Millis, Timestamp};

const DAY: u64 = 86_400_000;

fn protected(protection: Protection) -> Subscription {
    Subscription {
        retry: RetryPolicy { attempts_max: 4, first_backoff: Millis(1_000), backoff_max: Millis(3_600_000) },
        lease: Millis(60_000),
        protection,
        ..spec()
    }
}

fn rule(classes: &[Class], action: DegradeAction) -> DegradeRule {
    DegradeRule {
        classes: Classes::of(classes),
        health: Some(Health::Sick),
        older_than: Millis(0),
        action,
        sustained: Millis(0),
        until: Millis(0),
    }
}

/// Every write so far, as a disk would have it, and every call that is not ended.
struct Story {
    bench: Bench,
    waiting: BTreeMap<Offset, WaitingRow>,
    channel: Option<ChannelRow>,
    kept: Vec<Write>,
    calls: Vec<Invocation>,
}

impl Story {
    fn new(spec: Subscription, log: Vec<StoredEvent>) -> Story {
        let machine = Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0)));
        Story {
            bench: Bench::with(machine, log),
            waiting: BTreeMap::new(),
            channel: None,
            kept: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Commits until nothing more starts.
    fn run(&mut self) {
        loop {
            self.calls.extend(self.bench.started());
            let (writes, calls) = self.bench.commit();
            if writes.is_empty() && calls.is_empty() {
                return;
            }
            self.calls.extend(calls);
            for write in writes {
                match write {
                    Write::Waiting { offset, row: Some(row), .. } => drop(self.waiting.insert(offset, row)),
                    Write::Waiting { offset, row: None, .. } => drop(self.waiting.remove(&offset)),
                    Write::Channel { row, .. } => self.channel = row,
                    Write::Dead { .. } | Write::Record { .. } | Write::Redeliver { .. } => self.kept.push(write),
                    _ => {}
                }
            }
        }
    }

    /// Ends every call that runs, by what `verdict` says of it; how many there were.
    fn end_all(&mut self, verdict: impl Fn(&StoredEvent) -> Verdict) -> usize {
        self.run();
        let calls = std::mem::take(&mut self.calls);
        for call in &calls {
            let event = &self.bench.log[call.position.offset.0 as usize];
            let verdict = verdict(event);
            self.bench.end(call, verdict);
        }
        self.run();
        calls.len()
    }

    /// Goes on to the next thing that happens by itself.
    fn sleep(&mut self) -> bool {
        let Some(at) = self.bench.machine.next_wakeup() else { return false };
        let by = at.since(self.bench.now);
        self.bench.tick(by.0);
        self.run();
        true
    }

    /// Everything that happens until then.
    fn pass(&mut self, until: Timestamp, verdict: impl Fn(&StoredEvent) -> Verdict) -> usize {
        let mut calls = 0;
        loop {
            let ended = self.end_all(&verdict);
            calls += ended;
            if ended == 0 && !(self.bench.machine.next_wakeup().is_some_and(|at| at <= until) && self.sleep()) {
                return calls;
            }
        }
    }

    fn breaker(&self) -> BreakerStatus {
        self.bench.machine.status().flow.breaker
    }

    fn count(&self, wanted: impl Fn(&Write) -> bool) -> usize {
        self.kept.iter().filter(|write| wanted(write)).count()
    }

    fn dead(&self) -> Vec<(u64, String)> {
        let dead = |write: &Write| match write {
            Write::Dead { position, row, .. } => Some((position.offset.0, row.cause.clone())),
            _ => None,
        };
        self.kept.iter().filter_map(dead).collect()
    }
}

fn log(count: u64) -> Vec<StoredEvent> {
    (0..count).map(|offset| event(offset, &format!("key-{}", offset % 40), Class::Normal)).collect()
}

fn mixed(count: u64) -> Vec<StoredEvent> {
    let class = |offset| if offset % 100 == 99 { Class::Critical } else { Class::Normal };
    (0..count).map(|offset| event(offset, &format!("key-{offset}"), class(offset))).collect()
}

#[test]
fn outage_of_a_day_spends_no_attempts_kills_nothing_and_leaves_no_row_per_key() {
    let mut story = Story::new(protected(Protection::standard()), log(400));
    assert_eq!(story.end_all(|_| Verdict::Ack), 4);
    let calls = story.pass(Timestamp(DAY), |_| nack());
    assert!(calls < 800, "{calls} calls would not leave a sick provider alone");
    assert!(matches!(story.breaker(), BreakerStatus::Open { culprit: Culprit::Channel, .. }));
    assert!(story.waiting.len() <= 40, "only what was tried has a row: {}", story.waiting.len());
    assert!(story.waiting.values().all(|row| row.spent == 0 && row.channel > 0), "{:?}", story.waiting);
    story.pass(Timestamp(DAY + 2 * 3_600_000), |_| Verdict::Ack);
    assert_eq!(story.breaker(), BreakerStatus::Closed);
    let status = story.bench.machine.status();
    assert_eq!((status.floor, status.waiting, story.dead().len()), (Offset(400), 0, 0));
}

#[test]
fn channel_that_refuses_each_first_attempt_is_learned_once_and_for_all() {
    let first = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let greylist =
        |event: &StoredEvent| match (first.borrow_mut().insert(event.position.offset), event.position.offset.0 % 2) {
            (true, _) => nack(),
            (false, 0) => Verdict::Ack,
            (false, _) => Verdict::Reject("done before".into()),
        };
    let spec = Subscription { concurrency: 16, ..protected(Protection::standard()) };
    let mut story = Story::new(spec, (0..3_000).map(|offset| event(offset, "", Class::Normal)).collect());
    story.pass(Timestamp(60_000), greylist);
    let status = story.bench.machine.status();
    assert_eq!((status.floor, status.flow.counts.opened), (Offset(3_000), 1), "{status:?}");
    assert!(story.channel.is_some_and(|row| row.forgives_first), "so a restart need not learn it again");
}

#[test]
fn poison_event_dies_with_its_cause_and_delays_nobody() {
    let mut events = log(300);
    events[7] = event(7, "poison", Class::Normal);
    let mut story = Story::new(protected(Protection::standard()), events);
    let verdict = |event: &StoredEvent| match event.event.key() {
        Some("poison") => Verdict::Broke("trap".into()),
        _ => Verdict::Ack,
    };
    story.pass(Timestamp(100), verdict);
    assert_eq!(story.bench.machine.status().waiting, 1, "everything else was handled at once");
    let row = &story.waiting[&Offset(7)];
    assert_eq!((row.spent, row.plugin, row.broke), (1, 0, 1));
    story.sleep();
    assert!(story.calls[0].wants_fresh, "it broke an instance before");
    // With too few others to tell it from the rest, it uses its attempts up.
    let mut few = log(9);
    few[7] = event(7, "poison", Class::Normal);
    let mut story = Story::new(protected(Protection::standard()), few);
    story.pass(Timestamp(DAY), verdict);
    assert_eq!(story.dead(), [(7, "attempts-exhausted".into())]);
    let retry = RetryPolicy { attempts_max: 16, first_backoff: Millis(10), backoff_max: Millis(10) };
    let mut events = log(3_000);
    events[0] = event(0, "poison", Class::Normal);
    let rate = Some(Rate { events: 100, per: Millis(1_000), burst: 1 });
    let paced = Protection { rate, ..Protection::standard() };
    let mut story = Story::new(Subscription { retry, ..protected(paced) }, events);
    story.pass(Timestamp(DAY), verdict);
    assert_eq!(story.dead(), [(0, "poison".into())]);
    let attempts = story.kept.iter().find_map(|write| match write {
        Write::Dead { row, .. } => Some(row.attempts),
        _ => None,
    });
    assert!(attempts.is_some_and(|attempts| (4..10).contains(&attempts)), "{attempts:?}");
    assert_eq!(story.bench.machine.status().floor, Offset(3_000));
}

#[test]
fn plugin_that_breaks_on_everything_is_quarantined_and_a_new_revision_is_tried_at_once() {
    let mut story = Story::new(protected(Protection::standard()), log(100));
    story.pass(Timestamp(3_600_000), |_| Verdict::Broke("trap".into()));
    assert!(matches!(story.breaker(), BreakerStatus::Open { culprit: Culprit::Plugin, .. }));
    assert!(story.waiting.values().all(|row| row.spent == 0 && row.plugin > 0));
    let now = story.bench.now;
    story.bench.handle(Input::Probe);
    let calls = story.pass(now, |_| Verdict::Ack);
    assert!(calls > 3, "{calls} calls at the same moment");
    assert_eq!((story.breaker(), story.dead().len()), (BreakerStatus::Closed, 0));
}

#[test]
fn open_breaker_is_found_open_by_a_restart() {
    let mut story = Story::new(protected(Protection::standard()), log(100));
    story.pass(Timestamp(200), |_| nack());
    let channel = story.channel.clone();
    let until = channel.as_ref().and_then(|row| row.open.as_ref()).map(|open| open.until).unwrap();
    let rows = Recovered {
        channel,
        waiting: story.waiting.iter().map(|(offset, row)| (*offset, row.clone())).collect(),
        ..Recovered::at(Offset(0))
    };
    let machine = Machine::recover(protected(Protection::standard()), Slot(0), 1, rows);
    let mut again = Bench::with(machine, story.bench.log);
    assert!(again.started().is_empty() && again.commit().1.is_empty());
    again.now = until;
    again.tick(0);
    let mut probes = again.started();
    probes.extend(again.commit().1);
    assert_eq!(probes.len(), 1, "one probe, at its time");
}

#[test]
fn provider_that_says_how_long_is_left_alone_that_long() {
    let mut story = Story::new(protected(Protection::standard()), log(100));
    let busy = |_: &StoredEvent| {
        Verdict::Nack(Retry { after: Some(Millis(900_000)), reason: "429".into(), fault: Fault::Channel })
    };
    story.pass(Timestamp(200), busy);
    let BreakerStatus::Open { until, .. } = story.breaker() else { panic!("{:?}", story.breaker()) };
    assert!(until >= Timestamp(900_000));
    assert_eq!(story.pass(Timestamp(until.0 - 1), |_| Verdict::Ack), 0);
}

#[test]
fn rate_holds_through_the_whole_machine() {
    let rate = Rate { events: 10, per: Millis(1_000), burst: 5 };
    let protection = Protection { rate: Some(rate), ..Protection::standard() };
    let mut story = Story::new(Subscription { concurrency: 64, ..protected(protection) }, log(1_000));
    let begun = story.bench.now;
    let mut started = 0;
    while story.bench.now < begun.after(Millis(20_000)) {
        started += story.end_all(|_| Verdict::Ack) as u64;
        let allowed = story.bench.now.since(begun).0 / 100 + 5;
        assert!(started <= allowed, "{started} after {} ms", story.bench.now.since(begun).0);
        story.sleep();
    }
    assert!(started >= 195, "{started}");
}

#[test]
fn only_critical_while_sick_and_for_a_while_after() {
    let defer = DegradeRule { until: Millis(60_000), ..rule(&[Class::Normal], DegradeAction::Defer) };
    let protection = Protection { degrade: vec![defer], ..Protection::standard() };
    let mut story = Story::new(protected(protection), mixed(1_000));
    story.pass(Timestamp(200), |_| nack());
    let mut normal = 0;
    while story.breaker() != BreakerStatus::Closed {
        normal += story.calls.iter().filter(|call| call.position.offset.0 % 100 != 99).count();
        if story.end_all(|_| Verdict::Ack) == 0 {
            assert!(story.sleep(), "{:?}", story.bench.machine.status());
        }
    }
    assert_eq!(normal, 0, "probes were critical ones");
    let closed = story.bench.now;
    story.pass(closed.after(Millis(59_000)), |_| Verdict::Ack);
    assert!(story.bench.machine.status().ready > 0, "the rule still counts");
    story.pass(closed.after(Millis(3_700_000)), |_| Verdict::Ack);
    assert_eq!(story.bench.machine.status().floor, Offset(1_000));
    assert!(story.bench.machine.status().flow.rules[0].decided > 0);
}

#[test]
fn critical_ones_go_to_the_fallback_from_behind_any_backlog_and_the_rest_is_kept_in_order() {
    let rules = vec![rule(&[Class::Critical], DegradeAction::Reroute(TopicId(9)))];
    let protection = Protection { degrade: rules, ..Protection::standard() };
    let mut events = mixed(30_000);
    for stored in &mut events {
        if stored.event.class() == Class::Normal {
            *stored =
                event(stored.position.offset.0, &format!("key-{}", stored.position.offset.0 % 1_500), Class::Normal);
        }
    }
    let mut story = Story::new(protected(protection), events);
    story.pass(Timestamp(3_600_000), |_| nack());
    let handed_on = story.count(|write| matches!(write, Write::Redeliver { topic: TopicId(9), .. }));
    let status = story.bench.machine.status();
    assert!(handed_on >= 299, "{handed_on} of 300 critical ones");
    assert_eq!(story.count(|write| matches!(write, Write::Record { .. })), handed_on);
    assert!(status.queued < 4_000 && status.behind == 1, "{status:?}");
    // The provider recovers: everything normal comes, each once, in order of its key.
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut sent = 0;
    while story.bench.machine.status().floor < Offset(30_000) {
        story.run();
        for call in &story.calls {
            let (offset, key) = (call.position.offset.0, &story.bench.log[call.position.offset.0 as usize].event);
            let before = last.insert(key.key().unwrap().into(), offset);
            assert!(before.is_none_or(|before| before < offset), "{offset} after {before:?}");
            sent += 1;
        }
        if story.end_all(|_| Verdict::Ack) == 0 {
            assert!(story.sleep(), "{:?}", story.bench.machine.status());
        }
    }
    assert_eq!((sent + handed_on, story.dead().len()), (30_000, 0));
}

#[test]
fn a_channel_recovers_although_its_policy_sends_nothing_while_it_is_sick() {
    for action in [DegradeAction::Defer, DegradeAction::Drop] {
        let rules = vec![rule(&Class::ALL, action)];
        let protection = Protection { degrade: rules, ..Protection::standard() };
        let mut story = Story::new(protected(protection), log(400));
        story.pass(Timestamp(600_000), |_| nack());
        assert!(matches!(story.breaker(), BreakerStatus::Open { .. }));
        // What is dropped is gone, so only new events can be probes then.
        let new: Vec<StoredEvent> = (400..420).map(|offset| event(offset, "new", Class::Normal)).collect();
        let end = if action == DegradeAction::Drop { 420 } else { 400 };
        if action == DegradeAction::Drop {
            story.bench.log.extend(new.clone());
            story.bench.handle(Input::Events { from: Offset(400), events: &new, next: Offset(420) });
        }
        story.pass(Timestamp(DAY), |_| Verdict::Ack);
        assert_eq!((story.breaker(), story.bench.machine.status().floor), (BreakerStatus::Closed, Offset(end)));
    }
}

#[test]
fn dropped_events_leave_a_record_that_names_the_rule_and_wait_for_their_age() {
    let old = DegradeRule { older_than: Millis(5_000), health: None, ..rule(&[Class::Low], DegradeAction::Drop) };
    let protection = Protection { degrade: vec![old], ..Protection::standard() };
    let mut events: Vec<StoredEvent> = (0..10).map(|offset| event(offset, "", Class::Low)).collect();
    events.iter_mut().for_each(|event| event.received = Timestamp(100));
    let mut story = Story::new(Subscription { concurrency: 2, ..protected(protection) }, events);
    story.run();
    assert_eq!(offsets(&story.calls), [0, 1]);
    while story.bench.now < Timestamp(5_099) {
        assert_eq!(story.kept.len(), 0);
        story.bench.tick(833);
        story.run();
    }
    story.bench.tick(1);
    story.run();
    let details = story.kept.iter().filter_map(|write| match write {
        Write::Record { row, .. } => Some((row.status.word(), row.detail.as_str())),
        _ => None,
    });
    let details: Vec<_> = details.collect();
    assert_eq!(details.len(), 8, "the two in flight go on");
    assert_eq!(details[0], ("suppressed", "degrade rule 1: dropped (class low)"));
    assert_eq!(story.bench.machine.flow_counts().dropped, 8);
}

#[test]
fn what_was_handed_on_once_is_not_handed_on_again() {
    let rules = vec![DegradeRule { health: None, ..rule(&[Class::Normal], DegradeAction::Reroute(TopicId(9))) }];
    let protection = Protection { degrade: rules, ..Protection::standard() };
    let mut events = log(4);
    events[1].topic = TopicId(7);
    events[1].event = event(1, "key-9", Class::Normal).event;
    let mut story = Story::new(Subscription { redelivery: Some(TopicId(7)), ..protected(protection) }, events);
    story.run();
    assert_eq!(offsets(&story.calls), [1], "the copy is delivered here");
    assert_eq!(story.count(|write| matches!(write, Write::Redeliver { .. })), 3);
}

#[test]
fn without_a_breaker_an_outage_uses_attempts_up() {
    let protection = Protection { breaker: None, ..Protection::standard() };
    let mut story = Story::new(protected(protection), log(60));
    story.pass(Timestamp(DAY), |_| nack());
    assert_eq!((story.dead().len(), story.breaker()), (60, BreakerStatus::Off));
}

#[test]
fn settings_change_live() {
    let open = BreakerPolicy { open_first: Millis(DAY), open_max: Millis(DAY), probes: 1 };
    let protection = Protection { breaker: Some(open), ..Protection::standard() };
    let mut story = Story::new(protected(protection), log(100));
    story.pass(Timestamp(200), |_| nack());
    assert!(matches!(story.breaker(), BreakerStatus::Open { .. }));
    let none = Protection { breaker: None, ..Protection::standard() };
    story.bench.handle(Input::Reconfigure(protected(none)));
    story.pass(Timestamp(3_700_000), |_| Verdict::Ack);
    assert_eq!((story.bench.machine.status().floor, story.channel.map(|row| row.open)), (Offset(100), Some(None)));
}
