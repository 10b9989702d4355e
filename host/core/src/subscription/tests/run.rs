//! Drain and boost: how they begin, what they change, how they end, and that a restart does not end them.

use super::*;
use crate::row::{Boost, RunRow};
use crate::subscription::{BOOST_MAX, DRAINED};

fn run_row(writes: &[Write]) -> Option<Option<RunRow>> {
    writes.iter().rev().find_map(|write| match write {
        Write::Run { row, .. } => Some(*row),
        _ => None,
    })
}

#[test]
fn a_drain_finishes_what_was_read_and_then_pauses() {
    let mut bench = Bench::new(spec(), &["a", "a"]);
    bench.handle(Input::Drain);
    bench.log.push(event(2, "b", Class::Normal));
    let events = [event(2, "b", Class::Normal)];
    bench.handle(Input::Events { from: Offset(2), events: &events, next: Offset(3) });
    assert_eq!(offsets(&bench.started()), [0], "what comes in the answer to an old read is not taken");
    let row = RunRow { drain_to: Some(Offset(2)), boost: None };
    assert_eq!(run_row(&bench.commit().0), Some(Some(row)));
    for expected in [0, 1] {
        let call = if expected == 0 {
            bench.machine.leases.of(Offset(0)).copied()
        } else {
            bench.machine.leases.of(Offset(1)).copied()
        };
        let event = bench.log[expected].clone();
        let ticket = call.unwrap().ticket;
        bench.handle(Input::Finished {
            ticket,
            event,
            verdict: Verdict::Ack,
            writes: Vec::new(),
            hold: None,
            pause: None,
        });
        assert_eq!(bench.machine.status().paused.is_some(), expected == 1);
        let (writes, _) = bench.commit();
        assert_eq!(run_row(&writes), (expected == 1).then_some(None));
    }
    let paused = bench.machine.status().paused.unwrap();
    assert_eq!((paused.by.as_str(), paused.reason.as_str()), ("operator", DRAINED));
    bench.handle(Input::Resume);
    assert_eq!(offsets(&bench.commit().1).len() + bench.started().len(), 1, "the next event, once resumed");
}

#[test]
fn a_drain_with_nothing_open_pauses_at_once() {
    let mut bench = Bench::new(spec(), &[]);
    bench.handle(Input::Drain);
    assert_eq!(bench.machine.status().paused.unwrap().reason, DRAINED);
    assert_eq!(run_row(&bench.commit().0), Some(None));
}

#[test]
fn a_drain_waits_for_a_delivery_that_is_tried_again() {
    let mut bench = Bench::new(spec(), &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, nack());
    bench.handle(Input::Drain);
    assert!(bench.machine.status().paused.is_none());
    bench.commit();
    bench.tick(50);
    let call = bench.commit().1.remove(0);
    bench.end(&call, Verdict::Ack);
    assert_eq!(bench.machine.status().paused.unwrap().reason, DRAINED);
}

#[test]
fn a_drain_goes_on_after_a_restart_up_to_where_it_had_read() {
    let run = Some(RunRow { drain_to: Some(Offset(2)), boost: None });
    let log: Vec<StoredEvent> = (0..4).map(|offset| event(offset, "", Class::Normal)).collect();
    let rows = Recovered { run, ..Recovered::at(Offset(0)) };
    let mut bench = Bench::with(Machine::recover(spec(), Slot(0), 1, rows), log);
    let calls = bench.started();
    assert_eq!(offsets(&calls), [0, 1]);
    for call in &calls {
        bench.end(call, Verdict::Ack);
    }
    assert_eq!(bench.machine.status().paused.unwrap().reason, DRAINED);
    assert!(bench.started().is_empty() && bench.commit().1.is_empty());
}

#[test]
fn pause_resume_and_seek_end_a_drain() {
    let inputs =
        [Input::Pause { by: "operator".into(), reason: "lunch".into() }, Input::Resume, Input::Seek { to: Offset(0) }];
    for input in inputs {
        let mut bench = Bench::new(spec(), &["a"]);
        bench.handle(Input::Drain);
        bench.commit();
        bench.handle(input);
        assert_eq!(run_row(&bench.commit().0), Some(None));
        assert_eq!(bench.machine.status().run, RunRow::default());
    }
}

#[test]
fn a_paused_subscription_does_not_drain() {
    let mut bench = Bench::new(spec(), &["a"]);
    bench.handle(Input::Pause { by: "operator".into(), reason: "lunch".into() });
    bench.commit();
    bench.handle(Input::Drain);
    assert!(bench.commit().0.is_empty());
    assert_eq!(bench.machine.status().paused.unwrap().reason, "lunch");
}

#[test]
fn a_boost_gives_more_places_until_it_has_caught_up() {
    let mut bench = Bench::new(Subscription { concurrency: 2, ..spec() }, &[""; 10]);
    let mut calls = bench.started();
    assert_eq!(calls.len(), 2);
    bench.handle(Input::Boost { factor: 3, until: Offset(10) });
    calls.extend(bench.commit().1);
    calls.extend(bench.started());
    assert_eq!((calls.len(), bench.machine.status().places), (6, 6));
    while let Some(call) = calls.pop() {
        bench.end(&call, Verdict::Ack);
        calls.extend(bench.started());
        calls.extend(bench.commit().1);
    }
    let status = bench.machine.status();
    assert_eq!((status.floor, status.places, status.run), (Offset(10), 2, RunRow::default()));
}

#[test]
fn a_boost_survives_a_restart_and_is_bounded() {
    let boost = Boost { factor: 4, until: Offset(8) };
    let run = Some(RunRow { drain_to: None, boost: Some(boost) });
    let rows = Recovered { run, ..Recovered::at(Offset(0)) };
    let log = (0..40).map(|offset| event(offset, "", Class::Normal)).collect();
    let mut bench = Bench::with(Machine::recover(Subscription { concurrency: 2, ..spec() }, Slot(0), 1, rows), log);
    assert_eq!(bench.started().len(), 8);
    bench.handle(Input::Boost { factor: u32::MAX, until: Offset(1_000) });
    assert_eq!(bench.machine.boost(), BOOST_MAX);
    bench.handle(Input::Boost { factor: 1, until: Offset(40) });
    assert_eq!((bench.machine.boost(), run_row(&bench.commit().0)), (1, Some(None)));
}
