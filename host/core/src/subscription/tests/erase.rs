//! Events whose content is erased while deliveries of them wait: they end, and say nothing of their lane any more.

use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use super::spill::{bench, bench_of, patient};
use super::{Bench, offsets};
use crate::delivery::Verdict;
use crate::event::{ERASED_KIND, Event, Index, Span, StoredEvent, Timing};
use crate::ids::Offset;
use crate::row::{RecordStatus, WaitingRow};
use crate::step::{Invocation, Write};
use crate::subscription::{Input, Recovered};
use crate::time::Timestamp;

/// Puts what is left of an event in its place; the machine is not told.
fn erase(bench: &mut Bench, offset: usize) {
    let kind = Span { start: 0, len: ERASED_KIND.len() as u32 };
    let left = Event::new(Bytes::from_static(ERASED_KIND.as_bytes()), Index { kind, ..Index::default() }).unwrap();
    let event = left.timed(Timing { expires: Some(bench.now), ..Timing::default() });
    let stored = bench.log[offset].clone();
    bench.log[offset] = StoredEvent { event, ..stored };
}

/// Goes on until something starts; which, and what the records said of others until then.
fn next_started(bench: &mut Bench) -> (Vec<Invocation>, Vec<(u64, RecordStatus)>) {
    let mut told = Vec::new();
    for _ in 0..200 {
        bench.tick(10);
        let mut started = Vec::new();
        for _ in 0..6 {
            started.extend(bench.started());
            let (writes, more) = bench.commit();
            started.extend(more);
            told.extend(writes.iter().filter_map(|write| match write {
                Write::Record { position, row, .. } => Some((position.offset.0, row.status)),
                _ => None,
            }));
        }
        if !started.is_empty() {
            return (started, told);
        }
    }
    (Vec::new(), told)
}

#[test]
fn a_spilled_head_that_was_erased_ends_and_its_lane_goes_on() {
    let mut bench = bench(&["a", "b", "a"]);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 1]);
    bench.fail_all(&calls[..1]);
    bench.end(&calls[1], Verdict::Ack);
    bench.settle_down();
    erase(&mut bench, 0);
    let (started, told) = next_started(&mut bench);
    assert_eq!(offsets(&started), [2]);
    assert_eq!(told, [(0, RecordStatus::Suppressed)]);
    assert!(bench.rows.is_empty(), "{:?}", bench.rows);
}

#[test]
fn one_whose_row_names_no_lane_frees_the_lane_that_it_came_to_head() {
    let row = WaitingRow { spent: 1, due: Timestamp(500), ..WaitingRow::default() };
    let rows = Recovered { waiting: vec![(Offset(0), row.clone())], ..Recovered::at(Offset(0)) };
    let mut bench = bench_of(patient(), rows, &["a", "a"]);
    bench.rows.insert(Offset(0), row);
    assert!(bench.settle_down().is_empty(), "both wait");
    erase(&mut bench, 0);
    let (started, told) = next_started(&mut bench);
    assert_eq!((offsets(&started), told), (vec![1], vec![(0, RecordStatus::Suppressed)]));
}

#[test]
fn one_that_was_erased_before_a_restart_blocks_no_lane_that_its_row_does_not_name() {
    let row = WaitingRow { spent: 1, due: Timestamp(500), ..WaitingRow::default() };
    let rows = Recovered { waiting: vec![(Offset(0), row.clone())], ..Recovered::at(Offset(0)) };
    let mut bench = bench_of(patient(), rows, &[]);
    bench.rows.insert(Offset(0), row);
    bench.log = super::spill::log(&["a", "a"]);
    erase(&mut bench, 0);
    let events = bench.log.clone();
    bench.handle(Input::Events { from: Offset(0), events: &events, next: Offset(2) });
    assert_eq!(offsets(&bench.settle_down()), [1]);
    while !bench.rows.is_empty() {
        assert!(bench.now < Timestamp(10_000), "{:?}", bench.rows);
        next_started(&mut bench);
    }
}

#[test]
fn one_that_overflowed_its_lane_is_passed_when_it_is_read_again() {
    let queue = crate::subscription::Bounds::default().lane_queue_max;
    let keys = vec!["a"; queue + 3];
    let mut bench = bench(&keys);
    let mut started = bench.started();
    erase(&mut bench, queue + 1);
    let mut all = Vec::new();
    while let [call] = &started[..] {
        all.push(call.position.offset.0);
        bench.end(call, Verdict::Ack);
        let more = bench.settle_down();
        started = if more.is_empty() { next_started(&mut bench).0 } else { more };
    }
    let expected: Vec<u64> = (0..keys.len() as u64).filter(|offset| *offset != queue as u64 + 1).collect();
    assert_eq!(all, expected);
    let status = bench.machine.status();
    assert_eq!((status.overflowed, status.floor), (0, Offset(keys.len() as u64)));
}
