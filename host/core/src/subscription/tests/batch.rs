//! Deliveries that share a call: who shares with whom, and what a broken call does.

use super::*;
use crate::ids::Attempt;

fn batches_of(batch_max: u32, keys: &[&str]) -> Bench {
    Bench::new(Subscription { concurrency: 100, batch_max, ..spec() }, keys)
}

/// Offsets of each call, in the order of their first members.
fn calls(invocations: &[Invocation]) -> Vec<Vec<u64>> {
    let mut calls: Vec<(Ticket, Vec<u64>)> = Vec::new();
    for invocation in invocations {
        let first = invocation.batch.map_or(invocation.ticket, |batch| batch.first);
        match calls.iter_mut().find(|(other, _)| *other == first) {
            Some((_, members)) => members.push(invocation.position.offset.0),
            None => calls.push((first, vec![invocation.position.offset.0])),
        }
    }
    calls.into_iter().map(|(_, members)| members).collect()
}

fn trap() -> Verdict {
    Verdict::Broke("trap".into())
}

#[test]
fn what_is_ready_at_once_shares_calls_up_to_the_bound_and_no_call_waits_to_be_full() {
    let mut bench = batches_of(3, &["", "", "", "", ""]);
    assert_eq!(calls(&bench.started()), [vec![0, 1, 2], vec![3, 4]]);
    bench.machine.handed_over();
    bench.log.push(event(5, "", Class::Normal));
    let events = [event(5, "", Class::Normal)];
    bench.handle(Input::Events { from: Offset(5), events: &events, next: Offset(6) });
    assert_eq!(calls(&bench.started()), [vec![5]], "what was handed over is closed");
}

#[test]
fn a_call_holds_one_delivery_per_key_and_class() {
    let mut bench = batches_of(64, &["a", "a", "b", "b"]);
    let started = bench.started();
    assert_eq!(calls(&started), [vec![0, 2]]);
    bench.machine.handed_over();
    for call in &started {
        bench.end(call, Verdict::Ack);
    }
    assert!(bench.started().is_empty(), "the acks are not durable yet");
    assert_eq!(calls(&bench.commit().1), [vec![1, 3]]);
}

#[test]
fn a_plugin_that_takes_one_delivery_per_call_never_gets_a_batch() {
    let mut bench = batches_of(1, &["", ""]);
    assert!(bench.started().iter().all(|call| call.batch.is_none()));
}

#[test]
fn a_batch_that_breaks_costs_nobody_and_each_runs_alone_on_a_fresh_instance() {
    let mut bench = batches_of(3, &["", "", ""]);
    let started = bench.started();
    bench.machine.handed_over();
    bench.end(&started[0], Verdict::Ack);
    for call in &started[1..] {
        bench.end(call, trap());
    }
    let (writes, _) = bench.commit();
    assert!(!writes.iter().any(|write| matches!(write, Write::Waiting { .. })), "{writes:?}");
    let again = bench.started();
    let mut alone = offsets(&again);
    alone.sort_unstable();
    assert_eq!(alone, [1, 2], "only the unsettled ones, at once");
    assert!(again.iter().all(|call| call.batch.is_none() && call.wants_fresh && call.attempt == Attempt(1)));
    bench.end(&again[0], trap());
    let (writes, _) = bench.commit();
    let spent = writes.iter().find_map(|write| match write {
        Write::Waiting { row: Some(row), .. } => Some((row.spent, row.broke)),
        _ => None,
    });
    assert_eq!(spent, Some((1, 1)), "the run alone counts");
}

#[test]
fn a_lapsed_lease_in_a_batch_costs_nobody_either() {
    let mut bench = batches_of(2, &["", ""]);
    assert_eq!(calls(&bench.started()), [vec![0, 1]]);
    bench.tick(1_000);
    let again = bench.started();
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|call| call.batch.is_none() && call.attempt == Attempt(1)));
    bench.tick(1_000);
    assert_eq!(bench.commit().0.iter().filter(|write| matches!(write, Write::Waiting { .. })).count(), 2);
}

#[test]
fn a_call_of_one_is_charged_like_any_other() {
    let mut bench = batches_of(16, &[""]);
    let started = bench.started();
    assert!(started[0].batch.is_some(), "it could have been shared");
    bench.end(&started[0], trap());
    assert_eq!(bench.machine.status().waiting, 1);
}

#[test]
fn one_that_is_to_run_alone_stays_alone_through_a_refusal_and_a_conflict() {
    let mut bench = batches_of(2, &["", "", ""]);
    let started = bench.started();
    for call in &started[..2] {
        bench.end(call, trap());
    }
    for verdict in [Verdict::NotStarted("no slot".into()), Verdict::Conflict] {
        let again = bench.started();
        assert!(!again.is_empty() && again.iter().all(|call| call.batch.is_none() && call.wants_fresh), "{again:?}");
        for call in &again {
            bench.end(call, verdict.clone());
        }
        bench.tick(10_000);
    }
}

#[test]
fn verdicts_in_a_batch_are_each_their_own() {
    let mut bench = batches_of(4, &["", "", "", ""]);
    let started = bench.started();
    bench.end(&started[0], Verdict::Ack);
    bench.end(&started[1], nack());
    bench.end(&started[2], Verdict::Reject("no".into()));
    bench.end(&started[3], Verdict::Defer(Timestamp(5_000)));
    let (writes, _) = bench.commit();
    let spent: Vec<(u64, u32)> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Waiting { offset, row: Some(row), .. } => Some((offset.0, row.spent)),
            _ => None,
        })
        .collect();
    assert_eq!(spent, [(1, 1), (3, 0)]);
    assert!(writes.iter().any(|write| matches!(write, Write::Dead { position, .. } if position.offset == Offset(2))));
    bench.tick(100);
    let again = bench.started();
    assert!(again.iter().all(|call| call.batch.is_some()), "a nack is no reason to be alone");
}

#[test]
fn batches_take_no_more_than_the_concurrency_and_the_rate_allow() {
    let keys = [""; 20];
    let mut bench = Bench::new(Subscription { concurrency: 5, batch_max: 64, ..spec() }, &keys);
    assert_eq!(calls(&bench.started()), [vec![0, 1, 2, 3, 4]]);
    let rate = crate::spec::Rate { events: 3, per: Millis(1_000), burst: 3 };
    let protection = crate::spec::Protection { rate: Some(rate), ..crate::spec::Protection::default() };
    let mut bench = Bench::new(Subscription { concurrency: 50, batch_max: 64, protection, ..spec() }, &keys);
    assert_eq!(calls(&bench.started()), [vec![0]], "a new bucket holds one");
    bench.machine.handed_over();
    bench.tick(10_000);
    assert_eq!(calls(&bench.started()), [vec![1, 2, 3]]);
}
