//! Every way a call can end, and that the next call is none the worse for it.

use bugle_core::delivery::{CallEnd, Failure, Fault, Retry};
use bugle_core::import::Import;
use bugle_core::time::Millis;
use bugle_sandbox::Grants;
use std::time::Duration;

use crate::harness::{Bench, PATIENCE, SUBSCRIPTION, call, event};

fn bench() -> Bench {
    Bench::probe(Grants::default(), &[])
}

fn is_ok(bench: &Bench) -> bool {
    bench.run("ok", "{}").end == CallEnd::Returned(Ok(()))
}

#[test]
fn verdicts_come_through() {
    let bench = bench();
    assert!(is_ok(&bench));
    assert_eq!(
        bench.run("retry", r#"{"after": 1500, "reason": "busy"}"#).end,
        CallEnd::Returned(Err(Failure::Retry(Retry {
            after: Some(Millis(1500)),
            reason: "busy".to_owned(),
            fault: Fault::Channel
        })))
    );
    assert_eq!(
        bench.run("reject", r#"{"reason": "no"}"#).end,
        CallEnd::Returned(Err(Failure::Reject("no".to_owned())))
    );
    assert_eq!(bench.run("defer", r#"{"millis": 20}"#).end, CallEnd::Returned(Err(Failure::Defer(Millis(20)))));
    assert_eq!(
        bench.run("unknown", r#"{"reference": "r"}"#).end,
        CallEnd::Returned(Err(Failure::Unknown("r".to_owned())))
    );
}

#[test]
fn a_delivery_that_broke_before_runs_on_an_instance_that_ran_nothing_else() {
    let bench = bench();
    assert_eq!(bench.run("calls", "{}").told(), "call 1");
    assert_eq!(bench.run("calls", "{}").told(), "call 2", "instances are used again");
    let fresh = || {
        let (call, ended, _) = call(event("calls", "{}"), PATIENCE, |_| None);
        bench.sandbox.run(SUBSCRIPTION, vec![call.wanting_fresh()]);
        bench.wait(ended)
    };
    for _ in 0..3 {
        assert_eq!(fresh(), CallEnd::Returned(Err(Failure::Reject("call 1".to_owned()))));
    }
    assert!(bench.drained(), "{:?}", bench.sandbox.status());
}

#[test]
fn a_guest_sees_the_whole_delivery() {
    let bench = bench();
    let described: serde_json::Value = serde_json::from_str(bench.run("describe", "{}").told()).unwrap();
    for (name, value) in [
        ("id", "e-1"),
        ("source", "/test"),
        ("type", "describe"),
        ("topic", "orders"),
        ("key", "k-1"),
        ("businessKey", "order 7"),
    ] {
        assert_eq!(described.get(name).and_then(|found| found.as_str()), Some(value), "{described}");
    }
}

#[test]
fn a_trap_is_told_with_the_panic_message() {
    let bench = bench();
    let CallEnd::Trapped(text) = bench.run("trap", "{}").end else { panic!("the probe did not trap") };
    assert!(text.contains("said trap"), "{text}");
    assert!(matches!(bench.run("abort", "{}").end, CallEnd::Trapped(_)));
    assert!(matches!(bench.run("exit", "{}").end, CallEnd::Trapped(_)));
    assert!(is_ok(&bench) && bench.drained());
}

#[test]
fn an_instance_is_not_used_after_a_trap() {
    let bench = bench();
    assert_eq!(bench.run("calls", "{}").told(), "call 1");
    assert_eq!(bench.run("calls", "{}").told(), "call 2");
    assert!(matches!(bench.run("trap", "{}").end, CallEnd::Trapped(_)));
    assert_eq!(bench.run("calls", "{}").told(), "call 1");
}

#[test]
fn a_busy_loop_stops_near_its_cpu_budget() {
    let bench = bench();
    // The probe's manifest says 500 ms of CPU; other tests share the machine.
    let ended = bench.run("spin", "{}");
    let CallEnd::TimedOut(text) = &ended.end else { panic!("{:?}", ended.end) };
    assert!(text.contains("CPU budget of 500ms"), "{text}");
    assert!(ended.took > Duration::from_millis(450), "{:?}", ended.took);
    assert!(is_ok(&bench) && bench.drained());
}

#[test]
fn a_busy_loop_holds_up_nobody_else() {
    let bench = bench();
    let spinning: Vec<_> = (0..4).map(|_| call(event("spin", "{}"), Duration::from_secs(20), |_| None)).collect();
    let mut ends = Vec::new();
    for (call, end, _) in spinning {
        bench.sandbox.run(crate::harness::SUBSCRIPTION, vec![call]);
        ends.push(end);
    }
    // Four loops on two threads: a fast call gets its turn long before they are stopped.
    assert!(is_ok(&bench));
    for end in ends {
        assert!(matches!(bench.wait(end), CallEnd::TimedOut(_)));
    }
}

#[test]
fn sleeping_ends_at_the_deadline() {
    let bench = bench();
    let ended = bench.run_with("sleep", r#"{"millis": 60000}"#, Duration::from_millis(300), |_| None);
    let CallEnd::TimedOut(text) = &ended.end else { panic!("{:?}", ended.end) };
    assert!(text.contains("deadline"), "{text}");
    assert!(ended.took >= Duration::from_millis(290) && ended.took < Duration::from_secs(10), "{:?}", ended.took);
    assert!(is_ok(&bench) && bench.drained());
}

#[test]
fn extend_moves_the_deadline() {
    let bench = bench();
    let ended = bench.run_with("extend", r#"{"millis": 5000}"#, Duration::from_millis(300), |_| None);
    assert_eq!(ended.end, CallEnd::Returned(Ok(())));
    assert!(matches!(ended.imports.as_slice(), [Import::Extend(Millis(5000))]));
}

#[test]
fn hunger_for_memory_is_named() {
    let bench = bench();
    let CallEnd::LimitExceeded(text) = bench.run("alloc", "{}").end else { panic!("no limit") };
    // The probe's manifest says 32 MiB.
    assert!(text.contains("33554432 bytes of memory"), "{text}");
    assert!(is_ok(&bench) && bench.drained());
}

#[test]
fn a_half_full_instance_is_replaced() {
    let bench = bench();
    assert_eq!(bench.run("calls", "{}").told(), "call 1");
    assert_eq!(bench.run("alloc-some", r#"{"bytes": 20000000}"#).end, CallEnd::Returned(Ok(())));
    assert_eq!(bench.run("calls", "{}").told(), "call 1");
}

#[test]
fn deep_recursion_is_stopped() {
    let bench = bench();
    let end = bench.run("recurse", "{}").end;
    assert!(matches!(end, CallEnd::LimitExceeded(_) | CallEnd::Trapped(_)), "{end:?}");
    assert!(is_ok(&bench));
}

#[test]
fn huge_output_is_cut_or_refused() {
    let bench = bench();
    let told = bench.run("huge-output", r#"{"bytes": 1000000}"#);
    assert_eq!(told.told().len(), 1024);
    let CallEnd::LimitExceeded(text) = bench.run("huge-output", r#"{"bytes": 9000000}"#).end else {
        panic!("9 MB went through")
    };
    assert!(text.contains("4194304 bytes"), "{text}");
    assert!(matches!(bench.run("huge-log", r#"{"bytes": 9000000}"#).end, CallEnd::LimitExceeded(_)));
    assert!(is_ok(&bench));
}

#[test]
fn floods_of_output_and_log_lines_are_bounded() {
    let bench = bench();
    assert_eq!(bench.run("log-flood", r#"{"count": 20000}"#).end, CallEnd::Returned(Ok(())));
    assert_eq!(bench.run("stdout-flood", r#"{"count": 5000}"#).end, CallEnd::Returned(Ok(())));
    assert!(is_ok(&bench));
}

#[test]
fn without_an_active_plugin_nothing_starts() {
    let bench = bench();
    let (call, end, _) = call(event("ok", "{}"), Duration::from_secs(5), |_| None);
    bench.sandbox.run("other", vec![call]);
    let CallEnd::NotStarted(text) = bench.wait(end) else { panic!("it ran") };
    assert!(text.contains("`other` has no active plugin"), "{text}");
}

#[test]
fn a_stopped_sandbox_gives_calls_back() {
    let bench = bench();
    assert!(is_ok(&bench) && bench.drained());
    assert!(matches!(bench.run("ok", "{}").end, CallEnd::NotStarted(_)));
}
