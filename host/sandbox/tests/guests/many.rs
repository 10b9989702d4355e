//! Many calls that wait at once, on few threads, and what they leave behind: nothing.

use bugle_core::delivery::CallEnd;
use bugle_egress::Options as EgressOptions;
use bugle_sandbox::{Grants, Limits};
use std::time::{Duration, Instant};

use crate::harness::{Bench, PATIENCE, SUBSCRIPTION, binding, call, event};
use crate::outside::receivers::http;

const CALLS: usize = 1000;

fn bench(slots: u32, concurrency: u32, origin: &str) -> Bench {
    let bench = Bench::empty(Limits { slots, ..Limits::default() }, EgressOptions::default());
    let plugin = bench.load(&bugle_guests::probe());
    let grants = Grants { egress: vec![origin.parse().unwrap()], ..Grants::default() };
    let mut binding = binding(grants, &[("url", origin)]);
    binding.concurrency = concurrency;
    drop(bench.activate(&plugin, &binding));
    bench
}

/// Runs calls that each wait a second for an answer; returns how long all of them took.
fn wait_all(bench: &Bench, origin: &str) -> Duration {
    let data = format!(r#"{{"url": "{origin}/slow"}}"#);
    let (calls, ends): (Vec<_>, Vec<_>) = (0..CALLS)
        .map(|_| {
            let (call, end, _) = call(event("http-wait", &data), PATIENCE, |_| None);
            (call, end)
        })
        .unzip();
    let began = Instant::now();
    bench.sandbox.run(SUBSCRIPTION, calls);
    for end in ends {
        assert_eq!(bench.wait(end), CallEnd::Returned(Ok(())));
    }
    began.elapsed()
}

#[test]
fn a_thousand_calls_wait_together_on_two_threads() {
    let origin = format!("http://{}", http());
    let bench = bench(1000, 1000, &origin);
    let took = wait_all(&bench, &origin);
    // One after another they would take 1,000 seconds; the bound allows for a busy machine.
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(bench.drained(), "{:?}", bench.sandbox.status());
}

#[test]
fn calls_wait_for_slots_instead_of_failing() {
    let origin = format!("http://{}", http());
    let bench = bench(250, 1000, &origin);
    let took = wait_all(&bench, &origin);
    assert!(took >= Duration::from_millis(3900), "250 slots cannot wait for 1,000 answers in {took:?}");
    assert!(bench.drained(), "{:?}", bench.sandbox.status());
}

#[test]
fn concurrency_bounds_what_runs_at_once() {
    let origin = format!("http://{}", http());
    let bench = bench(100, 3, &origin);
    let data = format!(r#"{{"url": "{origin}/hang", "timeout": 500}}"#);
    let (calls, ends): (Vec<_>, Vec<_>) = (0..9)
        .map(|_| {
            let (call, end, _) = call(event("http-wait", &data), PATIENCE, |_| None);
            (call, end)
        })
        .unzip();
    let began = Instant::now();
    bench.sandbox.run(SUBSCRIPTION, calls);
    for end in ends {
        assert!(matches!(bench.wait(end), CallEnd::Returned(Err(_))));
    }
    assert!(began.elapsed() >= Duration::from_millis(1490), "nine calls, three at once, half a second each");
    assert!(bench.drained());
}
