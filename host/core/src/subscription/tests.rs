//! The machine, one rule at a time; `tests/machine` has the random histories.

mod backlog;
mod batch;
mod erase;
mod expiry;
mod explain;
mod late;
mod letters;
mod outcomes;
mod protect;
mod records;
mod run;
mod seek;
mod spill;
mod spill_restart;
mod unknowns;

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use bytes::Bytes;

use super::{Bounds, Input, Machine, Recovered};
use crate::delivery::{Fault, Retry, Verdict};
use crate::event::{Class, Event, Index, Span, StoredEvent};
use crate::ids::{Offset, Position, Slot, SubscriptionId, Ticket, TopicId};
use crate::row::WaitingRow;
use crate::spec::{Filter, OnUnknown, RetryPolicy, Subscription};
use crate::step::{Action, Invocation, Step, Write};
use crate::time::{Millis, Timestamp};

fn spec() -> Subscription {
    Subscription {
        concurrency: 4,
        retry: RetryPolicy { attempts_max: 2, first_backoff: Millis(0), backoff_max: Millis(0) },
        on_unknown: OnUnknown::Park,
        lease: Millis(1_000),
        ..Subscription::new(SubscriptionId(1), "mail", "mail", vec![TopicId(1)])
    }
}

fn event(offset: u64, key: &str, class: Class) -> StoredEvent {
    let span = Span { start: 0, len: key.len() as u32 };
    let index = Index { key: (!key.is_empty()).then_some(span), kind: span, class, ..Index::default() };
    StoredEvent {
        position: Position { slot: Slot(0), offset: Offset(offset) },
        topic: TopicId(1),
        received: Timestamp(0),
        event: Event::new(Bytes::from(key.to_string()), index).unwrap(),
    }
}

/// A machine whose log is in memory and whose reads are answered at once.
struct Bench {
    machine: Machine,
    log: Vec<StoredEvent>,
    now: Timestamp,
    step: Step,
    reads: usize,
    /// Waiting rows on disk.
    rows: BTreeMap<Offset, WaitingRow>,
    /// Rows of waiting deliveries that were read from there.
    loads: usize,
    /// Rows written with fewer attempts charged to the event than before.
    discharged: usize,
}

impl Bench {
    fn new(spec: Subscription, keys: &[&str]) -> Bench {
        let log = keys.iter().enumerate().map(|(offset, key)| event(offset as u64, key, Class::Normal)).collect();
        Bench::with(Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0))), log)
    }

    fn with(machine: Machine, log: Vec<StoredEvent>) -> Bench {
        let mut bench = Bench {
            machine,
            log,
            now: Timestamp(100),
            step: Step::default(),
            reads: 0,
            rows: BTreeMap::new(),
            loads: 0,
            discharged: 0,
        };
        bench.tick(0);
        bench
    }

    fn handle(&mut self, input: Input<'_>) {
        self.machine.handle(self.now, input, &mut self.step);
        loop {
            let is_read = |action: &Action| matches!(action, Action::Read { .. } | Action::Fetch(_));
            let Some(at) = self.step.immediate.iter().position(is_read) else { return };
            let (from, events_max) = match self.step.immediate.remove(at) {
                Action::Read { from, events_max } => (from, events_max),
                Action::Fetch(Invocation { ticket, position, .. }) => {
                    let event = self.log.get(position.offset.0 as usize).cloned();
                    self.machine.handle(self.now, Input::Fetched { ticket, event }, &mut self.step);
                    continue;
                }
                Action::Invoke(_)
                | Action::Load(_)
                | Action::Cancel { .. }
                | Action::Paused { .. }
                | Action::Stuck { .. }
                | Action::Trim(_)
                | Action::BacklogFull { .. }
                | Action::Expired { .. } => return,
            };
            let end = (from.0 as usize + events_max as usize).min(self.log.len());
            if from.0 as usize >= end {
                continue;
            }
            self.reads += 1;
            let events = &self.log[from.0 as usize..end];
            let input = Input::Events { from, events, next: Offset(end as u64) };
            self.machine.handle(self.now, input, &mut self.step);
        }
    }

    fn tick(&mut self, by: u64) {
        self.now = self.now.after(Millis(by));
        self.handle(Input::Tick);
    }

    fn end(&mut self, call: &Invocation, verdict: Verdict) {
        self.end_with(call, verdict, None, None);
    }

    fn end_with(&mut self, call: &Invocation, verdict: Verdict, hold: Option<Millis>, pause: Option<&str>) {
        let event = self.log[call.position.offset.0 as usize].clone();
        let pause = pause.map(String::from);
        self.handle(Input::Finished { ticket: call.ticket, event, verdict, writes: Vec::new(), hold, pause });
    }

    /// Attempts that started at once.
    fn started(&mut self) -> Vec<Invocation> {
        invocations(std::mem::take(&mut self.step.immediate))
    }

    /// Commits the step: its rows, and the attempts that had to wait for them. Loads are answered at once.
    fn commit(&mut self) -> (Vec<Write>, Vec<Invocation>) {
        self.machine.seal(&mut self.step);
        let actions = std::mem::take(&mut self.step.actions);
        let writes = std::mem::take(&mut self.step.writes);
        self.keep_rows(&writes);
        for action in &actions {
            if let Action::Load(load) = action {
                self.loads += 1;
                let offset = load.position.offset;
                let found = self.rows.get(&offset).map(|row| (row.clone(), self.log[offset.0 as usize].clone()));
                self.handle(Input::Loaded { number: load.number, found });
            }
        }
        (writes, invocations(actions))
    }
}

fn invocations(actions: Vec<Action>) -> Vec<Invocation> {
    let invocation = |action| match action {
        Action::Invoke(invocation) => Some(invocation),
        Action::Read { .. }
        | Action::Fetch(_)
        | Action::Load(_)
        | Action::Cancel { .. }
        | Action::Paused { .. }
        | Action::Stuck { .. }
        | Action::Trim(_)
        | Action::BacklogFull { .. }
        | Action::Expired { .. } => None,
    };
    actions.into_iter().filter_map(invocation).collect()
}

fn offsets(calls: &[Invocation]) -> Vec<u64> {
    calls.iter().map(|call| call.position.offset.0).collect()
}

fn nack() -> Verdict {
    Verdict::Nack(Retry { after: Some(Millis(50)), reason: "busy".into(), fault: Fault::Channel })
}

#[test]
fn fresh_events_start_at_once_and_the_next_of_a_key_after_the_commit() {
    let mut bench = Bench::new(spec(), &["a", "a", "b", ""]);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 2, 3]);
    bench.end(&calls[0], Verdict::Ack);
    assert!(bench.started().is_empty(), "the ack of 0 is not durable yet");
    let (writes, calls) = bench.commit();
    assert_eq!((writes.len(), offsets(&calls)), (1, vec![1]));
}

#[test]
fn a_key_whose_last_ack_is_not_durable_yet_waits_although_its_lane_is_empty() {
    let mut bench = Bench::new(spec(), &["a"]);
    let calls = bench.started();
    bench.end(&calls[0], Verdict::Ack);
    bench.commit();
    bench.log.push(event(1, "a", Class::Normal));
    let events = [event(1, "a", Class::Normal)];
    bench.handle(Input::Events { from: Offset(1), events: &events, next: Offset(2) });
    assert!(bench.started().is_empty(), "the step with the ack may still be on its way");
    assert_eq!(offsets(&bench.commit().1), [1]);
}

#[test]
fn nacked_event_waits_and_blocks_only_its_lane() {
    let mut bench = Bench::new(spec(), &["a", "a", "b", "b"]);
    let calls = bench.started();
    bench.end(&calls[0], nack());
    bench.end(&calls[1], Verdict::Ack);
    assert_eq!(offsets(&bench.commit().1), [3]);
    assert_eq!(bench.machine.next_wakeup(), Some(Timestamp(150)));
    bench.tick(49);
    assert!(bench.commit().1.is_empty());
    bench.tick(1);
    let retried = bench.commit().1;
    assert_eq!((offsets(&retried), retried[0].attempt.0), (vec![0], 2));
}

#[test]
fn exhausted_attempts_bury_settle_and_clear_in_one_step() {
    let mut bench = Bench::new(spec(), &["a", "a"]);
    let call = bench.started().remove(0);
    bench.end(&call, nack());
    bench.commit();
    bench.tick(50);
    let call = bench.commit().1.remove(0);
    bench.end(&call, Verdict::Broke("trap".into()));
    let (writes, next) = bench.commit();
    let dead = writes.iter().find_map(|write| match write {
        Write::Dead { row, .. } => Some(row),
        _ => None,
    });
    let dead = dead.unwrap();
    assert_eq!((dead.cause.as_str(), dead.reason.as_str(), dead.attempts), ("attempts-exhausted", "trap", 2));
    assert_eq!(dead.notes.iter().map(|note| note.reason.as_str()).collect::<Vec<_>>(), ["busy", "trap"]);
    assert!(writes.iter().any(|write| matches!(write, Write::Waiting { row: None, .. })));
    assert!(writes.iter().any(|write| matches!(write, Write::Cursor { row, .. } if row.floor == Offset(1))));
    assert_eq!(offsets(&next), [1], "the lane goes on");
}

#[test]
fn last_attempt_whose_lease_lapses_is_buried_once_its_event_was_read_again() {
    let spec = Subscription { retry: RetryPolicy { attempts_max: 1, ..spec().retry }, ..spec() };
    let mut bench = Bench::new(spec, &["a"]);
    let call = bench.started().remove(0);
    bench.tick(1_000);
    bench.tick(20);
    assert!(!bench.machine.is_live(call.ticket));
    let (writes, _) = bench.commit();
    assert!(writes.iter().any(|write| matches!(write, Write::Dead { row, .. } if row.reason == "lease lapsed")));
    bench.end(&call, Verdict::Ack);
    assert_eq!(bench.machine.status().stale_ends, 1);
    assert!(bench.commit().0.is_empty(), "a late ack has no effect");
}

#[test]
fn event_that_is_gone_from_the_log_pauses_and_is_tried_again_at_no_cost() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    bench.handle(Input::Fetched { ticket: call.ticket, event: None });
    assert!(!bench.machine.is_live(call.ticket));
    let (writes, next) = bench.commit();
    let paused = |write: &Write| matches!(write, Write::Paused { row: Some(row), .. } if row.by == "host" && row.reason.contains("0-0"));
    assert!(writes.len() == 1 && writes.iter().any(paused) && next.is_empty());
    bench.handle(Input::Resume);
    let again = bench.commit().1.remove(0);
    assert_eq!((again.position.offset, again.attempt.0), (Offset(0), 1));
}

#[test]
fn ticket_of_a_call_fetches_nothing_and_that_of_a_fetch_ends_no_call() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    let event = bench.log[0].clone();
    bench.handle(Input::Fetched { ticket: call.ticket, event: Some(event.clone()) });
    assert!(bench.machine.is_live(call.ticket) && bench.machine.status().stale_ends == 1);
    // The last attempt lapses: its event is asked for, and the answer is not there yet.
    bench.end(&call, nack());
    bench.tick(50);
    assert_eq!(bench.commit().1.len(), 1);
    bench.now = bench.now.after(Millis(1_000));
    bench.machine.handle(bench.now, Input::Tick, &mut bench.step);
    let fetches = bench.step.immediate.iter().filter_map(|action| match action {
        Action::Fetch(fetch) => Some(fetch.ticket),
        Action::Read { .. }
        | Action::Invoke(_)
        | Action::Load(_)
        | Action::Cancel { .. }
        | Action::Paused { .. }
        | Action::Stuck { .. }
        | Action::Trim(_)
        | Action::BacklogFull { .. }
        | Action::Expired { .. } => None,
    });
    let ticket = fetches.collect::<Vec<_>>()[0];
    bench.commit();
    let (verdict, writes) = (Verdict::Ack, Vec::new());
    let input = Input::Finished { ticket, event: event.clone(), verdict, writes, hold: None, pause: None };
    bench.machine.handle(bench.now, input, &mut bench.step);
    assert!(bench.commit().0.is_empty() && bench.machine.is_live(ticket));
    assert_eq!(bench.machine.status().in_flight, 0, "a fetch takes no place");
    bench.machine.handle(bench.now, Input::Fetched { ticket, event: Some(event) }, &mut bench.step);
    assert!(bench.commit().0.iter().any(|write| matches!(write, Write::Dead { .. })));
}

#[test]
fn call_that_never_ran_costs_no_attempt_and_no_row() {
    let mut bench = Bench::new(spec(), &["a"]);
    for _ in 0..40 {
        let call = bench.started().remove(0);
        assert_eq!(call.attempt.0, 1);
        bench.end(&call, Verdict::NotStarted("no instance".into()));
        assert!(bench.started().is_empty(), "no hot loop");
        assert!(bench.commit().0.is_empty());
        bench.tick(5_000);
    }
}

#[test]
fn deferring_costs_no_attempt_but_is_no_hot_loop() {
    let mut bench = Bench::new(spec(), &["a"]);
    let mut call = bench.started().remove(0);
    for _ in 0..10 {
        assert_eq!(call.attempt.0, 1);
        bench.end(&call, Verdict::Defer(Timestamp(0)));
        assert!(bench.commit().1.is_empty());
        bench.tick(99);
        assert!(bench.commit().1.is_empty());
        bench.tick(1);
        call = bench.commit().1.remove(0);
    }
}

#[test]
fn maybe_sent_is_resent_or_parked_by_policy() {
    let resend = Subscription { on_unknown: OnUnknown::Resend, ..spec() };
    let mut bench = Bench::new(resend, &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::Unknown("250?".into()));
    let (writes, mut again) = bench.commit();
    assert!(matches!(writes[..], [Write::Waiting { row: Some(_), .. }]));
    bench.end(&again.remove(0), Verdict::Unknown("250?".into()));
    let parked = |write: &Write| matches!(write, Write::Unknown { row, .. } if row.attempts == 2);
    assert!(bench.commit().0.iter().any(parked), "the last attempt in doubt is for a person");
    let mut bench = Bench::new(spec(), &["a", "a"]);
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::Unknown("250?".into()));
    let (writes, next) = bench.commit();
    assert!(writes.iter().any(|write| matches!(write, Write::Unknown { row, .. } if row.reference == "250?")));
    assert_eq!(offsets(&next), [1], "its lane goes on");
}

#[test]
fn conflict_runs_again_at_once_at_no_cost() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::Conflict);
    let again = bench.started().remove(0);
    assert_eq!((again.attempt.0, again.ticket == call.ticket), (1, false));
}

#[test]
fn held_lane_stays_closed_through_a_restart_and_opens_in_time() {
    let mut bench = Bench::new(spec(), &["a", "a", "b"]);
    let calls = bench.started();
    bench.end_with(&calls[0], Verdict::Ack, Some(Millis(500)), None);
    let (writes, next) = bench.commit();
    assert!(next.is_empty());
    let hold = writes.iter().find_map(|write| match write {
        Write::Hold { key, class, row: Some(row), .. } => Some((key.clone(), *class, *row)),
        _ => None,
    });
    let rows = Recovered { holds: vec![hold.unwrap()], ..Recovered::at(Offset(1)) };
    let mut bench = Bench::with(Machine::recover(spec(), Slot(0), 1, rows), bench.log);
    assert_eq!(offsets(&bench.started()), [2], "the other key is open");
    bench.tick(500);
    assert!(bench.commit().0.iter().any(|write| matches!(write, Write::Hold { row: None, .. })));
    assert_eq!(offsets(&bench.started()), [1]);
}

#[test]
fn plugin_pauses_and_an_operator_resumes() {
    let mut bench = Bench::new(Subscription { concurrency: 1, ..spec() }, &["", ""]);
    let call = bench.started().remove(0);
    bench.end_with(&call, Verdict::Reject("410".into()), None, Some("410 gone"));
    let (writes, next) = bench.commit();
    assert!(next.is_empty() && bench.started().is_empty());
    assert!(writes.iter().any(|write| matches!(write, Write::Paused { row: Some(row), .. } if row.by == "plugin")));
    bench.handle(Input::Resume);
    let (writes, next) = bench.commit();
    assert!(matches!(writes[..], [Write::Paused { row: None, .. }]));
    assert_eq!(offsets(&next), [1]);
}

#[test]
fn lease_can_be_extended_up_to_ten_times_its_length() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    assert_eq!(bench.machine.extend(bench.now, call.ticket, Millis(500)), Some(Millis(1_500)));
    assert_eq!(bench.machine.extend(bench.now, call.ticket, Millis(u64::MAX)), Some(Millis(10_000)));
    bench.tick(9_999);
    assert!(bench.machine.is_live(call.ticket));
    bench.tick(1);
    assert!(!bench.machine.is_live(call.ticket));
    assert_eq!(bench.machine.extend(bench.now, call.ticket, Millis(1)), None);
}

#[test]
fn ticket_of_another_subscription_does_not_fit() {
    let one = Bench::new(spec(), &["a"]).started().remove(0).ticket;
    let other =
        Machine::recover(Subscription { id: SubscriptionId(2), ..spec() }, Slot(0), 1, Recovered::at(Offset(0)));
    let mut other = Bench::with(other, vec![event(0, "a", Class::Normal)]);
    assert_ne!(other.started().remove(0).ticket, one);
    assert!(!other.machine.is_live(one) && !other.machine.is_live(Ticket(0)));
}

#[test]
fn a_stuck_key_delays_nobody_and_takes_no_memory() {
    let keys: Vec<String> = (0..20_000).map(|n| if n % 2 == 0 { "stuck".into() } else { format!("{n}") }).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let bounds = Bounds { lane_queue_max: 8, ..Bounds::default() };
    let machine = Machine::recover_bounded(spec(), Slot(0), 1, Recovered::at(Offset(0)), bounds);
    let log = keys.iter().enumerate().map(|(n, key)| event(n as u64, key, Class::Normal)).collect();
    let mut bench = Bench::with(machine, log);
    let mut acked = 0;
    let mut calls = bench.started();
    let stuck = calls.remove(0);
    while let Some(call) = calls.pop() {
        bench.end(&call, Verdict::Ack);
        acked += 1;
        calls.extend(bench.commit().1);
        calls.extend(bench.started());
        assert!(bench.machine.status().queued < 2_000);
    }
    assert_eq!(acked, 10_000, "every event of another key");
    assert_eq!(bench.machine.status().overflowed, 1);
    // And the stuck key, once it moves, is delivered in order to its end.
    let (mut call, mut last) = (stuck, 0);
    for _ in 1..10_000 {
        bench.end(&call, Verdict::Ack);
        let mut next = bench.commit().1;
        for _ in 0..5 {
            if next.is_empty() {
                bench.tick(10);
                next = bench.started();
                next.extend(bench.commit().1);
            }
        }
        call = next.remove(0);
        assert_eq!(call.position.offset.0, last + 2);
        last += 2;
    }
    assert!(bench.reads < 6_000, "{} reads for 20,000 events", bench.reads);
}

#[test]
fn new_filter_applies_to_what_is_read_next_and_skipped_events_stay_skipped() {
    let only = |value: &str| Filter::Exact { attribute: "type".into(), value: value.into() };
    let mut bench = Bench::new(Subscription { filter: only("a"), ..spec() }, &["a", "b", "a"]);
    assert_eq!(offsets(&bench.started()), [0]);
    bench.handle(Input::Reconfigure(Subscription { filter: only("b"), ..spec() }));
    let (writes, _) = bench.commit();
    let chunks = writes.into_iter().filter_map(|write| match write {
        Write::Chunk { chunk, row: Some(row), .. } => Some((chunk, row)),
        _ => None,
    });
    let rows = Recovered { chunks: chunks.collect(), ..Recovered::at(Offset(0)) };
    let machine = Machine::recover(Subscription { filter: only("b"), ..spec() }, Slot(0), 1, rows);
    let log = ["a", "b", "a", "b"].iter().enumerate().map(|(n, key)| event(n as u64, key, Class::Normal)).collect();
    let mut restarted = Bench::with(machine, log);
    assert_eq!(offsets(&restarted.started()), [3], "1 was skipped before the filter changed");
}

#[test]
fn critical_goes_first_and_low_does_not_starve() {
    let mut log: Vec<StoredEvent> = (0..40).map(|n| event(n, "", Class::Normal)).collect();
    log[1] = event(1, "", Class::Low);
    log[39] = event(39, "", Class::Critical);
    let spec = Subscription { concurrency: 1, ..spec() };
    let mut bench = Bench::with(Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0))), log);
    let mut order = Vec::new();
    let mut calls = bench.started();
    while let Some(call) = calls.pop() {
        order.push(call.position.offset.0);
        bench.end(&call, Verdict::Ack);
        calls.extend(bench.started());
    }
    assert_eq!((order[0], order.len()), (39, 40));
    let low = order.iter().position(|offset| *offset == 1).unwrap();
    assert!((10..25).contains(&low), "the low event was number {low}");
}
