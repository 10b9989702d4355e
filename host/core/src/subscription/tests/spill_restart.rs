//! What a restart finds of deliveries that wait on disk only, and what becomes of those that were settled meanwhile.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::spill::{bench, bench_of, log, none_waits_in_memory, patient};
use super::{Bench, offsets};
use crate::delivery::Verdict;
use crate::event::Class;
use crate::ids::{Offset, Slot, TopicId};
use crate::lane_hash::{LaneHash, LaneMark};
use crate::row::{HoldRow, WaitingRow};
use crate::spec::{Ordering, Subscription};
use crate::step::{Action, Write};
use crate::subscription::{Input, Machine, Recovered};
use crate::time::Timestamp;

#[test]
fn restart_knows_them_from_their_rows_and_reads_only_what_is_not_known() {
    let mut bench = bench(&["a", "b", "c", "a", "d"]);
    let calls = bench.started();
    bench.fail_all(&calls[..3]);
    bench.end(&calls[3], Verdict::Ack);
    let (writes, _) = bench.commit();
    let chunks = writes.into_iter().filter_map(|write| match write {
        Write::Chunk { chunk, row: Some(row), .. } => Some((chunk, row)),
        _ => None,
    });
    let waiting: Vec<_> = bench.rows.clone().into_iter().collect();
    assert_eq!(waiting.len(), 3);
    let rows = Recovered { chunks: chunks.collect(), waiting, ..Recovered::at(Offset(0)) };
    let machine = Machine::recover_bounded(patient(), Slot(0), 9, rows, none_waits_in_memory());
    let mut again = Bench::with(machine, bench.log);
    again.rows = bench.rows;
    assert_eq!(again.machine.status().spilled, 3);
    assert_eq!((again.reads, again.machine.status().read), (1, Offset(5)));
    assert!(again.settle_down().is_empty(), "3 is behind 0, and 4 is settled");
    again.tick(50);
    let calls = again.settle_down();
    assert_eq!(offsets(&calls), [0, 1, 2]);
    calls.iter().for_each(|call| again.end(call, Verdict::Ack));
    let last = again.settle_down();
    assert_eq!(offsets(&last), [3]);
    again.end(&last[0], Verdict::Ack);
    again.commit();
    assert_eq!(again.machine.status().floor, Offset(5));
}

#[test]
fn what_is_let_go_while_it_waits_frees_its_lane_and_loses_its_row() {
    let mut bench = bench(&["a", "b", "a", "b"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    bench.machine.cursor.skip(Offset(0), Offset(1));
    bench.machine.spilled.hurry_below(Offset(1));
    assert!(bench.settle_down().is_empty());
    bench.tick(1);
    bench.settle_down();
    bench.tick(10);
    assert_eq!(offsets(&bench.settle_down()), [2], "the lane goes on behind it, and it does not run");
    assert_eq!(bench.rows.keys().map(|offset| offset.0).collect::<Vec<_>>(), [1]);
}

#[test]
fn rows_of_settled_deliveries_are_deleted_after_a_restart() {
    let row = WaitingRow { spent: 1, due: Timestamp(9_999), ..WaitingRow::default() };
    let waiting: Vec<_> = (0..200).map(|offset| (Offset(offset), row.clone())).collect();
    let rows = Recovered { waiting: waiting.clone(), ..Recovered::at(Offset(150)) };
    let mut bench = bench_of(patient(), rows, &["a"]);
    bench.rows = waiting.into_iter().collect();
    for _ in 0..4 {
        bench.commit();
        if bench.machine.next_wakeup() == Some(Timestamp(0)) {
            bench.tick(0);
        }
    }
    assert_eq!((bench.rows.len(), bench.machine.status().waiting), (50, 50));
}

#[test]
fn nothing_is_left_of_them_when_everything_begins_again() {
    let mut bench = bench(&["a", "b"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    bench.tick(50);
    bench.machine.seal(&mut bench.step);
    let loads: Vec<_> = std::mem::take(&mut bench.step.actions);
    bench.machine.spilled.clear();
    for action in loads {
        let Action::Load(load) = action else { continue };
        let found =
            Some((bench.rows[&load.position.offset].clone(), bench.log[load.position.offset.0 as usize].clone()));
        bench.handle(Input::Loaded { number: load.number, found });
    }
    assert_eq!((bench.machine.status().waiting, bench.settle_down().len()), (0, 0), "late answers are dropped");
}

#[test]
fn restart_jumps_over_a_region_that_is_wholly_known() {
    let keys: Vec<String> = (0..1_000).map(|n| format!("{n}")).collect();
    let waiting = keys.iter().enumerate().map(|(offset, key)| {
        let lane = LaneMark::Keyed(LaneHash::of(key, Class::Normal));
        (Offset(offset as u64), WaitingRow { spent: 1, due: Timestamp(1_000), lane, ..WaitingRow::default() })
    });
    let rows = Recovered { waiting: waiting.collect(), ..Recovered::at(Offset(0)) };
    let mut machine = Machine::recover(patient(), Slot(0), 1, rows);
    let mut step = crate::step::Step::default();
    machine.handle(Timestamp(1), Input::Tick, &mut step);
    assert!(matches!(step.immediate[..], [Action::Read { from: Offset(1_000), .. }]), "{:?}", step.immediate);
}

#[test]
fn one_that_comes_back_before_its_event_is_read_again_runs_once() {
    let lane = LaneMark::Keyed(LaneHash::of("b", Class::Normal));
    let row = WaitingRow { spent: 1, due: Timestamp(1), lane, ..WaitingRow::default() };
    let rows = Recovered { waiting: vec![(Offset(1), row.clone())], ..Recovered::at(Offset(0)) };
    let machine = Machine::recover_bounded(patient(), Slot(0), 1, rows, none_waits_in_memory());
    let mut bench = Bench::with(machine, Vec::new());
    bench.rows.insert(Offset(1), row);
    bench.log = log(&["a", "b", "c"]);
    let loaded = bench.settle_down();
    assert_eq!(offsets(&loaded), [1], "the log was not read yet");
    let events = bench.log.clone();
    bench.handle(Input::Events { from: Offset(0), events: &events, next: Offset(3) });
    assert_eq!(offsets(&bench.settle_down()), [0, 2]);
    bench.end(&loaded[0], Verdict::Ack);
    assert!(bench.settle_down().is_empty());
    assert_eq!(bench.machine.status().queued, 2);
}

#[test]
fn rows_without_a_lane_are_found_when_their_events_are_read() {
    let row = |due| WaitingRow { spent: 1, due: Timestamp(due), ..WaitingRow::default() };
    // As an earlier version wrote them: two keys, one event without a key.
    let waiting = vec![(Offset(0), row(500)), (Offset(2), row(300)), (Offset(3), row(400))];
    let rows = Recovered { waiting: waiting.clone(), ..Recovered::at(Offset(0)) };
    let mut bench = bench_of(patient(), rows, &["a", "a", "b", "", "b"]);
    bench.rows = waiting.into_iter().collect();
    assert!(bench.settle_down().is_empty());
    assert_eq!((bench.machine.status().spilled, bench.machine.status().waiting), (3, 3));
    bench.tick(200);
    assert_eq!(offsets(&bench.settle_down()), [2]);
    bench.tick(100);
    assert_eq!(offsets(&bench.settle_down()), [3]);
    bench.tick(100);
    assert_eq!(offsets(&bench.settle_down()), [0]);
}

#[test]
fn ordering_switched_on_puts_waiting_deliveries_of_one_key_in_order() {
    let unordered = Subscription { ordering: Ordering::None, ..patient() };
    let mut bench = bench_of(unordered, Recovered::at(Offset(0)), &["a", "a", "a"]);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 1, 2]);
    bench.fail_all(&calls);
    bench.settle_down();
    assert_eq!(bench.machine.status().spilled, 3);
    let waiting: Vec<_> = bench.rows.clone().into_iter().collect();
    let rows = Recovered { waiting, ..Recovered::at(Offset(0)) };
    let mut ordered = bench_of(patient(), rows, &["a", "a", "a"]);
    ordered.rows = bench.rows;
    ordered.tick(50);
    let mut done = Vec::new();
    for _ in 0..3 {
        let mut calls = ordered.settle_down();
        if calls.is_empty() {
            ordered.tick(10);
            calls = ordered.settle_down();
        }
        assert_eq!(calls.len(), 1, "one at a time");
        done.extend(offsets(&calls));
        ordered.end(&calls[0], Verdict::Ack);
    }
    assert_eq!(done, [0, 1, 2]);
}

#[test]
fn waiting_row_in_a_held_lane_waits_for_both() {
    let lane = LaneMark::Keyed(LaneHash::of("a", Class::Normal));
    let row = WaitingRow { spent: 1, due: Timestamp(200), lane, ..WaitingRow::default() };
    let rows = Recovered {
        waiting: vec![(Offset(0), row.clone())],
        holds: vec![("a".into(), Class::Normal, HoldRow { until: Timestamp(400) })],
        ..Recovered::at(Offset(0))
    };
    let mut bench = bench_of(patient(), rows, &["a", "a"]);
    bench.rows.insert(Offset(0), row);
    bench.tick(200);
    assert!(bench.settle_down().is_empty(), "it is due, but its lane is held");
    bench.tick(100);
    assert_eq!(offsets(&bench.settle_down()), [0]);
}

#[test]
fn topic_that_is_not_covered_any_more_leaves_what_was_tried_before_a_restart() {
    let lane = LaneMark::Keyed(LaneHash::of("b", Class::Normal));
    let row = WaitingRow { spent: 1, due: Timestamp(500), lane, ..WaitingRow::default() };
    let rows = Recovered { waiting: vec![(Offset(1), row.clone())], ..Recovered::at(Offset(0)) };
    let elsewhere = Subscription { topics: vec![TopicId(7)], ..patient() };
    let mut bench = bench_of(elsewhere, rows, &["a", "b", "c"]);
    bench.rows.insert(Offset(1), row);
    assert_eq!(bench.machine.status().floor, Offset(1), "the others are nobody's here");
    bench.tick(400);
    let call = bench.settle_down();
    assert_eq!(offsets(&call), [1]);
    bench.end(&call[0], Verdict::Ack);
    bench.commit();
    assert_eq!(bench.machine.status().floor, Offset(3));
}
