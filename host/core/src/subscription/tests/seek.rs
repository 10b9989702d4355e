//! Seeking forward and back: what becomes of what is in flight, waiting, queued and held.

use super::*;
use crate::row::{LetGoRow, LetGoWhy};

fn let_go(writes: &[Write]) -> Option<LetGoRow> {
    writes.iter().find_map(|write| match write {
        Write::LetGo { row, .. } => Some(*row),
        _ => None,
    })
}

fn floor(writes: &[Write]) -> Option<Offset> {
    writes.iter().rev().find_map(|write| match write {
        Write::Cursor { row, .. } => Some(row.floor),
        _ => None,
    })
}

#[test]
fn forward_lets_go_of_everything_before_the_place_in_one_step() {
    let mut bench = Bench::new(spec(), &["a", "b", "a", "c", "a"]);
    let calls = bench.started();
    bench.end(&calls[0], nack());
    bench.commit();
    bench.handle(Input::Seek { to: Offset(3) });
    let (writes, _) = bench.commit();
    assert!(writes.iter().any(|write| matches!(write, Write::Waiting { offset: Offset(0), row: None, .. })));
    assert_eq!(floor(&writes), Some(Offset(3)));
    let row = let_go(&writes).unwrap();
    assert_eq!((row.from, row.to, row.events, row.why), (Offset(0), Offset(3), 3, LetGoWhy::Sought));
    let status = bench.machine.status();
    assert_eq!((status.floor, status.waiting, status.in_flight), (Offset(3), 0, 1), "3 keeps its lease");
}

#[test]
fn nothing_starts_before_the_cancelled_calls_have_ended() {
    let mut bench = Bench::new(spec(), &["a", "b", "a"]);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 1]);
    bench.handle(Input::Seek { to: Offset(2) });
    assert!(bench.commit().1.is_empty() && bench.started().is_empty());
    bench.end(&calls[0], Verdict::Ack);
    assert_eq!(bench.machine.status().stale_ends, 1, "its end has no effect");
    assert!(bench.commit().1.is_empty() && bench.started().is_empty(), "1 still runs");
    bench.handle(Input::NeverRan { ticket: calls[1].ticket });
    assert_eq!(offsets(&bench.commit().1), [2]);
}

#[test]
fn a_cancelled_call_that_never_ends_is_waited_for_until_its_lease_would_have_run_out() {
    let mut bench = Bench::new(spec(), &["a", "a"]);
    bench.started();
    bench.handle(Input::Seek { to: Offset(1) });
    bench.commit();
    assert_eq!(bench.machine.next_wakeup(), Some(Timestamp(1_100)));
    bench.tick(999);
    assert!(bench.commit().1.is_empty() && bench.started().is_empty());
    bench.tick(1);
    assert_eq!(offsets(&bench.commit().1), [1]);
}

#[test]
fn back_delivers_everything_from_there_on_again() {
    let mut bench = Bench::new(spec(), &["a", "b", "a", "c"]);
    let calls = bench.started();
    for call in &calls {
        bench.end(call, Verdict::Ack);
    }
    let call = bench.commit().1.remove(0);
    bench.end(&call, nack());
    let (_, mut more) = bench.commit();
    more.extend(bench.started());
    assert!(more.is_empty());
    bench.handle(Input::Seek { to: Offset(1) });
    let (writes, calls) = bench.commit();
    assert_eq!(floor(&writes), Some(Offset(1)));
    assert!(writes.iter().any(|write| matches!(write, Write::WaitingRange { .. })), "{writes:?}");
    let mut calls = calls;
    calls.extend(bench.started());
    assert_eq!(offsets(&calls), [1, 2, 3]);
    assert!(calls.iter().all(|call| call.attempt.0 == 1), "with a fresh budget");
}

#[test]
fn back_does_not_start_before_the_seek_is_durable() {
    let mut bench = Bench::new(spec(), &["a", "b"]);
    for call in &bench.started() {
        bench.end(call, Verdict::Ack);
    }
    bench.commit();
    bench.handle(Input::Seek { to: Offset(0) });
    assert!(bench.started().is_empty());
    assert_eq!(offsets(&bench.commit().1), [0, 1]);
}

#[test]
fn holds_stay_closed_in_both_directions() {
    for to in [Offset(0), Offset(1)] {
        let mut bench = Bench::new(spec(), &["a", "a"]);
        let call = bench.started().remove(0);
        bench.end_with(&call, Verdict::Ack, Some(Millis(500)), None);
        bench.commit();
        bench.handle(Input::Seek { to });
        assert!(bench.commit().1.is_empty() && bench.started().is_empty());
        bench.tick(500);
        let (writes, mut calls) = bench.commit();
        calls.extend(bench.started());
        assert!(writes.iter().any(|write| matches!(write, Write::Hold { row: None, .. })));
        assert_eq!(offsets(&calls), [to.0]);
    }
}

#[test]
fn forward_over_a_part_of_an_overflowed_lane_and_over_all_of_it() {
    for to in [5, 20] {
        let bounds = Bounds { lane_queue_max: 2, ..Bounds::default() };
        let machine = Machine::recover_bounded(spec(), Slot(0), 1, Recovered::at(Offset(0)), bounds);
        let mut bench = Bench::with(machine, (0..20).map(|offset| event(offset, "a", Class::Normal)).collect());
        let call = bench.started().remove(0);
        bench.handle(Input::Seek { to: Offset(to) });
        bench.end(&call, Verdict::Ack);
        let mut delivered = Vec::new();
        for _ in 0..100 {
            let mut calls = bench.commit().1;
            calls.extend(bench.started());
            for call in calls {
                delivered.push(call.position.offset.0);
                bench.end(&call, Verdict::Ack);
            }
            bench.tick(10);
        }
        assert_eq!(delivered, (to..20).collect::<Vec<_>>());
        assert_eq!(bench.machine.status().floor, Offset(20));
    }
}

#[test]
fn what_was_settled_behind_the_place_stays_settled_when_going_forward() {
    let mut bench = Bench::new(spec(), &["a", "b", "c", "d"]);
    let calls = bench.started();
    bench.end(&calls[3], Verdict::Ack);
    bench.handle(Input::Seek { to: Offset(2) });
    for call in &calls[..3] {
        bench.end(call, Verdict::Ack);
    }
    bench.commit();
    bench.tick(1_000);
    assert_eq!(bench.machine.status().floor, Offset(4));
    assert!(bench.started().is_empty() && bench.commit().1.is_empty());
}

#[test]
fn a_seek_to_the_end_skips_the_backlog_of_a_subscription_that_stood_still() {
    let mut bench = Bench::new(spec(), &[]);
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    bench.log = (0..50).map(|offset| event(offset, "a", Class::Normal)).collect();
    bench.handle(Input::Seek { to: Offset(50) });
    bench.handle(Input::Resume);
    assert!(bench.started().is_empty() && bench.commit().1.is_empty());
    assert_eq!((bench.machine.floor(), bench.machine.status().let_go.unwrap().total), (Offset(50), 50));
}

#[test]
fn what_was_let_go_comes_back_to_a_paused_machine_and_its_row_goes() {
    let mut bench = spill::bench(&["a", "a"]);
    let calls = bench.started();
    bench.fail_all(&calls);
    bench.settle_down();
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    bench.handle(Input::Seek { to: Offset(1) });
    bench.tick(1);
    assert!(bench.settle_down().is_empty());
    assert_eq!((bench.loads, bench.rows.len()), (1, 0), "while its row is there, its event must stay in the log");
    bench.handle(Input::Resume);
    assert_eq!(offsets(&bench.settle_down()), [1]);
}
