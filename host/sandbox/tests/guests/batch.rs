//! Calls for several deliveries: who is in one, and how each of them ends.

use bugle_core::code::Code;
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::event::Event;
use bugle_core::import::{Import, ImportError};
use bugle_core::step::Batch;
use bugle_sandbox::{Grants, Limits, World};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

use crate::harness::{Bench, PATIENCE, SUBSCRIPTION, Scripted, binding, call, event, limits};

type Imports = Arc<Mutex<Vec<Import>>>;

fn bench(limits: Limits) -> Bench {
    let bench = Bench::empty(limits, bugle_egress::Options::default());
    let plugin = bench.load(&bugle_guests::batch());
    assert_eq!(plugin.world(), World::BatchChannel);
    bench.activate(&plugin, &binding(Grants { kv: true, ..Grants::default() }, &[]));
    bench
}

/// Deliveries of these events that share a call.
fn together(events: Vec<Event>) -> (Vec<Scripted>, Vec<(oneshot::Receiver<CallEnd>, Imports)>) {
    let (mut calls, mut ends, mut first) = (Vec::new(), Vec::new(), None);
    for (place, event) in (0..).zip(events) {
        let (call, ended, imports) = call(event, PATIENCE, |_| None);
        let first = *first.get_or_insert(call.ticket());
        calls.push(call.in_batch(Batch { first, place }));
        ends.push((ended, imports));
    }
    (calls, ends)
}

fn events(kinds: &[&str]) -> Vec<Event> {
    kinds.iter().map(|kind| event(kind, "{}")).collect()
}

/// How each ended, and what each noted.
fn run(bench: &Bench, events: Vec<Event>) -> Vec<(CallEnd, Vec<String>)> {
    let (calls, ends) = together(events);
    bench.sandbox.run(SUBSCRIPTION, calls);
    ends.into_iter().map(|(ended, imports)| (bench.wait(ended), notes(&imports))).collect()
}

fn notes(imports: &Imports) -> Vec<String> {
    let text = |import: &Import| match import {
        Import::KvPut { key, value, .. } if key.starts_with("done/") => {
            Some(String::from_utf8_lossy(value).into_owned())
        }
        Import::Ack => Some("ack".to_owned()),
        _ => None,
    };
    imports.lock().unwrap().iter().filter_map(text).collect()
}

fn ok() -> CallEnd {
    CallEnd::Returned(Ok(()))
}

#[test]
fn deliveries_of_a_batch_share_a_call_and_end_each_by_its_own_result() {
    let bench = bench(limits());
    let ended = run(&bench, events(&["ok", "reject", "ack", "ok"]));
    let of_four = || "attempt 1 of 4".to_owned();
    assert_eq!(ended[0], (ok(), vec![of_four()]));
    assert_eq!(ended[1], (CallEnd::Returned(Err(Failure::Reject("as asked".to_owned()))), vec![]));
    assert_eq!(ended[2], (ok(), vec![of_four(), "ack".to_owned()]));
    assert_eq!(ended[3], (ok(), vec![of_four()]));
    assert!(bench.drained(), "{:?}", bench.sandbox.status());
}

#[test]
fn a_trap_ends_the_call_for_all_and_the_next_call_is_none_the_worse() {
    let bench = bench(limits());
    for (kinds, text) in [
        (["ok", "trap-together", "ok"], "trapped as asked beside 2 others"),
        (["ok", "short", "ok"], "returned 2 results for 3 deliveries"),
    ] {
        for (end, _) in run(&bench, events(&kinds)) {
            assert!(matches!(&end, CallEnd::Trapped(reason) if reason.contains(text)), "{end:?}");
        }
        assert_eq!(run(&bench, events(&["ok"]))[0], (ok(), vec!["attempt 1 of 1".to_owned()]));
    }
}

#[test]
fn a_batch_that_spins_is_stopped_for_all() {
    let bench = bench(Limits { cpu: std::time::Duration::from_millis(100), ..limits() });
    for (end, _) in run(&bench, events(&["ok", "spin-together"])) {
        assert!(matches!(end, CallEnd::TimedOut(_)), "{end:?}");
    }
}

#[test]
fn other_batches_and_single_deliveries_are_calls_of_their_own() {
    let bench = bench(limits());
    let (mut calls, mut ends) = together(events(&["ok", "ok"]));
    let (more, more_ends) = together(events(&["ok", "ok", "ok"]));
    let (single, single_end, imports) = call(event("ok", "{}"), PATIENCE, |_| None);
    calls.extend(more);
    calls.push(single);
    ends.extend(more_ends);
    ends.push((single_end, imports));
    bench.sandbox.run(SUBSCRIPTION, calls);
    let sizes: Vec<String> = ends
        .into_iter()
        .map(|(ended, imports)| {
            assert_eq!(bench.wait(ended), ok());
            notes(&imports).concat()
        })
        .collect();
    assert_eq!(sizes.iter().filter(|size| *size == "attempt 1 of 2").count(), 2);
    assert_eq!(sizes.iter().filter(|size| *size == "attempt 1 of 3").count(), 3);
    assert_eq!(sizes.last().map(String::as_str), Some("attempt 1 of 1"));
}

#[test]
fn a_call_holds_one_mebibyte_of_events() {
    let bench = bench(limits());
    let data = format!("\"{}\"", "x".repeat(200 << 10));
    let ended = run(&bench, (0..8).map(|_| event("ok", &data)).collect());
    let sizes: Vec<String> = ended.into_iter().map(|(_, notes)| notes.concat()).collect();
    assert_eq!(&sizes[..5], ["attempt 1 of 5"; 5]);
    assert_eq!(&sizes[5..], ["attempt 1 of 3"; 3]);
}

#[test]
fn a_verdict_that_could_not_be_kept_is_told_to_that_delivery_alone() {
    let bench = bench(limits());
    let refuse = |import: &Import| {
        let error = ImportError { code: Code::Conflict, message: "it runs again".to_owned(), retry_after: None };
        matches!(import, Import::Ack).then_some(Err(error))
    };
    let (first, first_end, _) = call(event("ack", "{}"), PATIENCE, refuse);
    let batch = Batch { first: first.ticket(), place: 0 };
    let (second, second_end, _) = call(event("ok", "{}"), PATIENCE, |_| None);
    let second = second.in_batch(Batch { place: 1, ..batch });
    bench.sandbox.run(SUBSCRIPTION, vec![first.in_batch(batch), second]);
    assert!(matches!(bench.wait(first_end), CallEnd::Returned(Err(Failure::Retry(_)))));
    assert_eq!(bench.wait(second_end), ok());
}

#[test]
fn a_plugin_for_one_delivery_per_call_gets_the_members_of_a_batch_one_by_one() {
    let bench = Bench::probe(Grants::default(), &[]);
    let (calls, ends) = together(events(&["ok", "trap", "ok"]));
    bench.sandbox.run(SUBSCRIPTION, calls);
    let ends: Vec<CallEnd> = ends.into_iter().map(|(ended, _)| bench.wait(ended)).collect();
    assert_eq!((&ends[0], &ends[2]), (&ok(), &ok()));
    assert!(matches!(ends[1], CallEnd::Trapped(_)));
}
