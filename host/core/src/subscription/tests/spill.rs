//! Deliveries that wait on disk only: spilled, loaded, run again; nobody overtakes them and nobody waits for them in vain.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::{Bench, event, nack, offsets, spec};
use crate::delivery::Verdict;
use crate::event::{Class, StoredEvent};
use crate::ids::{Offset, Slot};
use crate::lane_hash::{LaneHash, LaneMark};
use crate::row::WaitingRow;
use crate::spec::{Filter, RetryPolicy, Subscription};
use crate::step::{Action, Invocation, LoadNumber, Write};
use crate::subscription::{Bounds, Input, Machine, Recovered};
use crate::time::Timestamp;

/// Bounds under which every waiting delivery is spilled.
pub(super) fn none_waits_in_memory() -> Bounds {
    Bounds { waiting_max: 0, ..Bounds::default() }
}

pub(super) fn log(keys: &[&str]) -> Vec<StoredEvent> {
    keys.iter().enumerate().map(|(offset, key)| event(offset as u64, key, Class::Normal)).collect()
}

pub(super) fn patient() -> Subscription {
    Subscription { retry: RetryPolicy { attempts_max: 5, ..spec().retry }, ..spec() }
}

pub(super) fn bench_of(spec: Subscription, rows: Recovered, keys: &[&str]) -> Bench {
    Bench::with(Machine::recover_bounded(spec, Slot(0), 1, rows, none_waits_in_memory()), log(keys))
}

pub(super) fn bench(keys: &[&str]) -> Bench {
    bench_of(patient(), Recovered::at(Offset(0)), keys)
}

impl Bench {
    /// The waiting rows of a batch, as a store keeps them.
    pub(super) fn keep_rows(&mut self, writes: &[Write]) {
        for write in writes {
            if let Write::Waiting { offset, row: Some(row), .. } = write {
                let is_less = self.rows.get(offset).is_some_and(|before| row.spent < before.spent);
                self.discharged += usize::from(is_less);
            }
            match write {
                Write::Waiting { offset, row: Some(row), .. } => drop(self.rows.insert(*offset, row.clone())),
                Write::Waiting { offset, row: None, .. } => drop(self.rows.remove(offset)),
                _ => {}
            }
        }
    }

    /// Commits until nothing more comes of it; the attempts that started.
    pub(super) fn settle_down(&mut self) -> Vec<Invocation> {
        let mut all = Vec::new();
        for _ in 0..6 {
            all.extend(self.started());
            all.extend(self.commit().1);
        }
        all
    }

    pub(super) fn fail_all(&mut self, calls: &[Invocation]) {
        calls.iter().for_each(|call| self.end(call, nack()));
    }
}

#[test]
fn failed_delivery_leaves_memory_and_comes_back_when_it_is_due() {
    let mut bench = bench(&["a", "b"]);
    let calls = bench.started();
    bench.end(&calls[0], nack());
    let (writes, _) = bench.commit();
    let row = writes.iter().find_map(|write| match write {
        Write::Waiting { row: Some(row), .. } => Some(row.clone()),
        _ => None,
    });
    let row = row.unwrap();
    assert_eq!((row.class, row.lane), (Class::Normal, LaneMark::Keyed(LaneHash::of("a", Class::Normal))));
    let status = bench.machine.status();
    assert_eq!((status.waiting, status.spilled, status.lanes, status.queued), (1, 1, 2, 1));
    assert_eq!(bench.machine.next_wakeup(), Some(Timestamp(150)));
    bench.tick(49);
    assert!(bench.settle_down().is_empty());
    assert_eq!(bench.loads, 0);
    bench.tick(1);
    let again = bench.settle_down();
    assert_eq!((offsets(&again), again[0].attempt.0, bench.loads), (vec![0], 2, 1));
    bench.end(&again[0], Verdict::Ack);
    bench.end(&calls[1], Verdict::Ack);
    let (writes, _) = bench.commit();
    assert!(writes.iter().any(|write| matches!(write, Write::Waiting { row: None, .. })));
    let status = bench.machine.status();
    assert_eq!((status.floor, status.waiting, status.spilled), (Offset(2), 0, 0));
}

#[test]
fn later_events_of_its_key_wait_without_memory_and_follow_in_order() {
    let mut keys = vec!["a"; 500];
    keys[7] = "b";
    let mut bench = bench(&keys);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 7]);
    bench.end(&calls[0], nack());
    assert!(bench.settle_down().is_empty(), "nothing of the key overtakes it");
    let status = bench.machine.status();
    assert_eq!((status.queued, status.overflowed, status.read), (1, 1, Offset(500)), "only the other key is in memory");
    bench.log.push(event(500, "a", Class::Normal));
    bench.tick(50);
    let mut next = bench.settle_down();
    for expected in (0..=500).filter(|offset| *offset != 7) {
        assert_eq!(offsets(&next), [expected]);
        bench.end(&next[0], Verdict::Ack);
        next = bench.settle_down();
        if next.is_empty() {
            bench.tick(10);
            next = bench.settle_down();
        }
    }
    assert!(next.is_empty());
}

#[test]
fn loaded_delivery_that_fails_is_spilled_again_until_its_attempts_are_used_up() {
    let mut bench = bench(&["a", "a"]);
    let mut calls = bench.started();
    for attempt in 1..=5 {
        assert_eq!((offsets(&calls), calls[0].attempt.0), (vec![0], attempt));
        bench.fail_all(&calls);
        if attempt < 5 {
            assert!(bench.settle_down().is_empty());
            assert_eq!(bench.machine.status().spilled, 1);
            bench.tick(50);
            calls = bench.settle_down();
        }
    }
    let (writes, _) = bench.commit();
    let dead = writes.iter().find_map(|write| match write {
        Write::Dead { row, .. } => Some(row),
        _ => None,
    });
    assert_eq!(dead.unwrap().notes.len(), 5, "the notes of every attempt came back with the row");
    assert_eq!(bench.machine.status().spilled, 0);
}

#[test]
fn lease_of_a_loaded_delivery_that_lapses_is_a_failed_attempt() {
    let mut bench = bench(&["a", "a"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    bench.tick(50);
    let call = bench.settle_down().remove(0);
    bench.tick(1_000);
    assert!(!bench.machine.is_live(call.ticket));
    bench.end(&call, Verdict::Ack);
    let again = bench.settle_down();
    assert_eq!((offsets(&again), again[0].attempt.0), (vec![0], 3), "the late ack had no effect");
    assert_eq!((bench.rows[&Offset(0)].spent, bench.machine.status().stale_ends), (2, 1));
}

#[test]
fn lowered_attempts_bury_a_spilled_delivery_when_it_is_due() {
    let mut bench = bench(&["a", "a"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    let retry = RetryPolicy { attempts_max: 1, ..spec().retry };
    bench.handle(Input::Reconfigure(Subscription { retry, ..patient() }));
    bench.tick(50);
    let mut dead = 0;
    for _ in 0..6 {
        bench.tick(20);
        let (writes, _) = bench.commit();
        dead += writes.iter().filter(|write| matches!(write, Write::Dead { .. })).count();
    }
    assert_eq!((dead, bench.rows.len()), (1, 0));
}

#[test]
fn pause_keeps_them_on_disk_and_resume_brings_them_back() {
    let mut bench = bench(&["a"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    bench.tick(1_000);
    assert!(bench.settle_down().is_empty());
    assert_eq!((bench.loads, bench.machine.next_wakeup()), (0, None), "a paused machine does not even ask to be woken");
    bench.handle(Input::Resume);
    assert_eq!(offsets(&bench.settle_down()), [0]);
}

#[test]
fn load_that_finds_nothing_pauses_and_is_asked_again_on_resume() {
    let mut bench = bench(&["a", "a"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    let row = bench.rows.remove(&Offset(0)).unwrap();
    bench.tick(50);
    assert!(bench.settle_down().is_empty());
    let paused = bench.machine.status().paused.unwrap();
    assert!(paused.by == "host" && paused.reason.contains("0-0"), "{paused:?}");
    assert_eq!(bench.machine.status().spilled, 1, "it is not given up");
    bench.rows.insert(Offset(0), row);
    bench.handle(Input::Resume);
    assert_eq!(offsets(&bench.settle_down()), [0]);
}

#[test]
fn answers_that_nobody_asked_for_have_no_effect() {
    let mut bench = bench(&["a", "b"]);
    let calls = bench.started();
    bench.end(&calls[0], nack());
    bench.settle_down();
    let found = |bench: &Bench, offset: u64| Some((bench.rows[&Offset(0)].clone(), bench.log[offset as usize].clone()));
    let before = bench.machine.image();
    let early = found(&bench, 0);
    bench.handle(Input::Loaded { number: LoadNumber(1), found: early });
    assert_eq!(bench.machine.image(), before, "it was not asked for yet");
    bench.tick(50);
    bench.machine.seal(&mut bench.step);
    let actions = std::mem::take(&mut bench.step.actions);
    let [Action::Load(load)] = actions[..] else { panic!("{actions:?}") };
    let other = found(&bench, 1);
    bench.handle(Input::Loaded { number: load.number, found: other });
    assert!(
        bench.machine.status().paused.is_some(),
        "another event than the one that was asked for is as good as none"
    );
    bench.handle(Input::Resume);
    let answer = found(&bench, 0);
    bench.handle(Input::Loaded { number: load.number, found: answer.clone() });
    let before = bench.machine.image();
    bench.handle(Input::Loaded { number: load.number, found: answer });
    assert_eq!(bench.machine.image(), before, "the second answer to one load");
}

#[test]
fn one_that_is_never_due_waits_for_somebody_and_costs_no_alarm() {
    let lane = LaneMark::Keyed(LaneHash::of("a", Class::Normal));
    let row = WaitingRow { spent: 3, due: Timestamp::NEVER, lane, ..WaitingRow::default() };
    let rows = Recovered { waiting: vec![(Offset(0), row)], ..Recovered::at(Offset(0)) };
    let mut bench = bench_of(patient(), rows, &["a", "a", "b"]);
    let other = bench.settle_down();
    assert_eq!(offsets(&other), [2]);
    bench.end(&other[0], Verdict::Ack);
    bench.tick(u64::MAX / 2);
    assert_eq!((bench.loads, bench.machine.status().spilled), (0, 1));
    assert_eq!(bench.machine.status().floor, Offset(0));
}

#[test]
fn keys_that_collide_wait_for_each_other_and_lose_nothing() {
    let bounds = Bounds { lane_hash_bits: 1, ..none_waits_in_memory() };
    let names: Vec<String> = (0..6).map(|n| format!("k{}", n % 3)).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let machine = Machine::recover_bounded(patient(), Slot(0), 1, Recovered::at(Offset(0)), bounds);
    let mut bench = Bench::with(machine, log(&keys));
    let calls = bench.settle_down();
    assert!(calls.len() <= 2, "three keys in two lanes: {calls:?}");
    bench.fail_all(&calls);
    let mut order: Vec<u64> = Vec::new();
    for _ in 0..40 {
        bench.tick(50);
        for call in bench.settle_down() {
            order.push(call.position.offset.0);
            bench.end(&call, Verdict::Ack);
        }
    }
    assert_eq!(order.len(), 6, "{order:?}");
    for key in 0..3 {
        let place = |offset| order.iter().position(|other| *other == offset);
        assert!(place(key) < place(key + 3), "{order:?}");
    }
}

#[test]
fn unkeyed_deliveries_are_spilled_one_by_one() {
    let mut bench = bench(&["", "", "", "", ""]);
    let calls = bench.started();
    bench.fail_all(&calls);
    assert_eq!(offsets(&bench.settle_down()), [4], "the next one runs");
    let status = bench.machine.status();
    assert_eq!((status.spilled, status.lanes), (4, 0));
    assert!(bench.rows.values().all(|row| row.lane == LaneMark::Unkeyed));
    bench.tick(50);
    assert_eq!(bench.settle_down().len(), 3, "one place is taken");
}

#[test]
fn filter_that_changed_applies_to_what_is_behind_and_not_to_what_was_tried() {
    let only = |value: &str| Filter::Exact { attribute: "type".into(), value: value.into() };
    let mut bench = bench_of(patient(), Recovered::at(Offset(0)), &["a", "a", "a"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    bench.handle(Input::Reconfigure(Subscription { filter: only("other"), ..patient() }));
    bench.tick(50);
    let again = bench.settle_down();
    assert_eq!(offsets(&again), [0], "it had been taken on");
    bench.end(&again[0], Verdict::Ack);
    for _ in 0..3 {
        bench.tick(20);
        assert!(bench.settle_down().is_empty());
    }
    assert_eq!(bench.machine.status().floor, Offset(3));
}

#[test]
fn waiting_lanes_are_shed_before_they_stop_the_reading() {
    let bounds = Bounds { queued_max: 8, lane_queue_max: 6, ready_min: 4, ..Bounds::default() };
    let keys = ["a", "b", "a", "a", "b", "b", "a", "b", "a", "b", "c", "d", "e"];
    let slow = Subscription { concurrency: 2, ..patient() };
    let machine = Machine::recover_bounded(slow, Slot(0), 1, Recovered::at(Offset(0)), bounds);
    let mut bench = Bench::with(machine, log(&keys));
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 1]);
    bench.fail_all(&calls);
    let next = bench.settle_down();
    assert_eq!(offsets(&next), [10, 11], "the other keys are reached");
}

#[test]
fn those_that_come_due_together_and_fresh_events_take_turns() {
    let waiting = (0..2_000u64).map(|offset| {
        let lane = LaneMark::Keyed(LaneHash::of(&format!("{offset}"), Class::Normal));
        (Offset(offset), WaitingRow { spent: 1, due: Timestamp(1), lane, ..WaitingRow::default() })
    });
    let waiting: Vec<_> = waiting.collect();
    let rows = Recovered { waiting: waiting.clone(), ..Recovered::at(Offset(0)) };
    let names: Vec<String> = (0..4_000).map(|n| format!("{n}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let machine = Machine::recover(patient(), Slot(0), 1, rows);
    let mut bench = Bench { rows: waiting.into_iter().collect(), ..Bench::with(machine, log(&keys)) };
    let (mut fresh, mut loaded) = (0, 0);
    for _ in 0..200 {
        for call in bench.settle_down() {
            if call.position.offset.0 < 2_000 {
                loaded += 1
            } else {
                fresh += 1
            }
            bench.end(&call, Verdict::Ack);
        }
    }
    assert!(fresh > 300 && loaded > 300, "{fresh} fresh ones and {loaded} loaded ones started");
    assert!(bench.machine.status().ready < 2_000, "a bounded part is in memory");
}

#[test]
fn blame_that_comes_later_is_given_back_when_they_are_loaded_and_only_a_probe_is() {
    let names: Vec<String> = (0..30).map(|n| format!("{n}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let wide = Subscription { concurrency: 30, ..patient() };
    let mut bench = bench_of(wide, Recovered::at(Offset(0)), &keys);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.commit();
    let charged: Vec<Offset> = bench.rows.iter().filter(|(_, row)| row.spent == 1).map(|(offset, _)| *offset).collect();
    assert!(!charged.is_empty(), "some failed before there was evidence");
    bench.tick(50);
    bench.settle_down();
    assert!(bench.loads <= 1, "{} loads while the channel is held", bench.loads);
    for _ in 0..200 {
        let at = bench.machine.next_wakeup().unwrap_or(bench.now);
        bench.tick(at.since(bench.now).0);
        for call in bench.settle_down() {
            bench.end(&call, Verdict::Ack);
        }
    }
    let status = bench.machine.status();
    assert_eq!((status.floor, status.spilled), (Offset(30), 0));
    assert_eq!(bench.discharged, charged.len(), "each row was written once more without the attempt");
}

#[test]
fn critical_ones_come_back_first() {
    let mut events = log(&["a", "b", "c", "d", "e", "f"]);
    events[5] = event(5, "f", Class::Critical);
    let waiting = events.iter().map(|event| {
        let (key, class) = (event.event.key().unwrap(), event.event.class());
        let lane = LaneMark::Keyed(LaneHash::of(key, class));
        (event.position.offset, WaitingRow { spent: 1, due: Timestamp(1), class, lane, ..WaitingRow::default() })
    });
    let waiting: Vec<_> = waiting.collect();
    let rows = Recovered { waiting: waiting.clone(), ..Recovered::at(Offset(0)) };
    let bounds = Bounds { ready_min: 1, ..none_waits_in_memory() };
    let one = Subscription { concurrency: 1, ..patient() };
    let machine = Machine::recover_bounded(one, Slot(0), 1, rows, bounds);
    let mut bench = Bench { rows: waiting.into_iter().collect(), ..Bench::with(machine, events) };
    assert_eq!(offsets(&bench.settle_down()), [5]);
    bench.tick(0);
    assert_eq!(
        bench.machine.next_wakeup(),
        bench.machine.leases.next_check(),
        "no place is free: nothing to wake up for"
    );
}
