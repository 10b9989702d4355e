//! Timers: `timer-handler` is called in place of the handler, and a plugin without it says so in a dead letter.

use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::import::Import;
use bugle_sandbox::Grants;

use crate::harness::{Bench, PATIENCE, SUBSCRIPTION, binding, call, event, limits};

fn granted() -> Grants {
    Grants { kv: true, timers: true, ..Grants::default() }
}

/// The end of a timer with these data, and what it asked for.
fn fire(bench: &Bench, data: &str) -> (CallEnd, Vec<Import>) {
    let (call, ended, seen) = call(event("bugle.timer", data), PATIENCE, |_| None);
    bench.sandbox.run(SUBSCRIPTION, vec![call.of_timer("unpaid/7")]);
    let end = bench.wait(ended);
    let imports = std::mem::take(&mut *seen.lock().unwrap());
    (end, imports)
}

#[test]
fn a_timer_is_fired_with_its_name_and_data_and_settles_by_its_verdict() {
    let bench = Bench::probe(granted(), &[]);
    let (end, imports) = fire(&bench, "ok");
    assert_eq!(end, CallEnd::Returned(Ok(())));
    let is_counted = |import: &Import| matches!(import, Import::KvAdd { key, .. } if key == "fired/unpaid/7");
    assert!(imports.iter().any(is_counted), "{imports:?}");
    let (end, imports) = fire(&bench, "again");
    assert_eq!(end, CallEnd::Returned(Ok(())));
    assert!(imports.iter().any(|import| matches!(import, Import::TimerSet { name, .. } if name == "unpaid/7")));
    assert_eq!(fire(&bench, "reject").0, CallEnd::Returned(Err(Failure::Reject("the timer says so".to_owned()))));
    assert!(matches!(fire(&bench, "retry-once").0, CallEnd::Returned(Err(Failure::Retry(_)))));
    assert!(matches!(fire(&bench, "trap").0, CallEnd::Trapped(text) if text.contains("a timer said trap")));
    assert!(bench.drained(), "every instance gave its place back");
}

#[test]
fn timers_and_events_of_one_subscription_share_it_in_peace() {
    let bench = Bench::probe(granted(), &[]);
    for _ in 0..3 {
        assert_eq!(fire(&bench, "ok").0, CallEnd::Returned(Ok(())));
        assert_eq!(bench.run("ok", "{}").end, CallEnd::Returned(Ok(())));
    }
}

#[test]
fn a_plugin_that_cannot_be_woken_rejects_its_timers_and_sets_none() {
    let bench = Bench::empty(limits(), bugle_egress::Options::default());
    let plugin = bench.load(&bugle_guests::noop());
    assert!(!plugin.fires());
    bench.activate(&plugin, &binding(Grants::default(), &[]));
    let (end, imports) = fire(&bench, "ok");
    assert!(imports.is_empty());
    assert!(
        matches!(end, CallEnd::Returned(Err(Failure::Reject(why))) if why.contains("does not export `timer-handler`"))
    );
}
