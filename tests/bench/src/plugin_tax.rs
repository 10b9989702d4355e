//! B10, single calls: what a delivery costs through the sandbox, beside the same hand-over to a native handler.
//!
//! Both get batches from one thread and finish them on others, so the difference is the sandbox: its queue, the hand-over to a
//! fiber, the guest and the way back. Native, that is a channel and a function. Calls of the guest are one at a time or 64 at once; then
//! one that traps in each call, which is what it takes to recover; the last lines are the same empty guest with one delivery per call and
//! with several.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bugle_core::delivery::CallEnd;
use bugle_core::event::Event;
use bugle_sandbox::HostCalls as _;

use crate::calls::{BATCH, Call, Gate, activate, calls, event, sandbox};
use crate::host::{own_cpu, per_event};
use crate::report::Measured;

/// Calls before anything is counted: instances are made, code is touched.
const WARM_UP: usize = 20_000;
/// Of so many calls that return, one that traps is made: each needs an instance of its own.
const TRAPS_ARE_DEARER: usize = 20;
/// Batches of the native handler that may wait: as many calls as the sandbox has under way.
const NATIVE_BATCHES: usize = 1;

/// Measures the native handler and the guest with one and with 64 calls at once.
pub(crate) fn run(count: usize) -> Result<Vec<Measured>> {
    let threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let cache = tempfile::tempdir().context("could not make a directory for compiled plugins")?;
    let (sandbox, plugin) = sandbox(&runtime, cache.path(), 100, bugle_guests::probe())?;
    let (event, trapping) = (event("ok", "{}")?, event("abort", "{}")?);
    let mut results = vec![native(&event, count)?];
    for (name, concurrency) in [("one", 1), ("many", 64)] {
        activate(&sandbox, &plugin, name, concurrency, None)?;
        let hand_over = |batch| sandbox.run(name, batch);
        measure(&event, WARM_UP, 1, Gate::default(), hand_over)?;
        let settings = format!("Rust guest, {concurrency} at once, warm");
        results.push(measured(settings, count, measure(&event, count, 1, Gate::default(), hand_over)?));
    }
    let traps = (count / TRAPS_ARE_DEARER).max(1);
    let trapping = measure(&trapping, traps, 1, Gate::of_traps(), |batch| sandbox.run("one", batch))?;
    results.push(measured("Rust guest that traps in each call, 1 at once".to_owned(), traps, trapping));
    for (component, shared_by) in
        [(bugle_guests::noop(), 1), (bugle_guests::noop_batch(), 16), (bugle_guests::noop_batch(), 64)]
    {
        let plugin = runtime.block_on(sandbox.load(std::fs::read(component)?, None))?;
        activate(&sandbox, &plugin, "acks", 64, None)?;
        let hand_over = |batch| sandbox.run("acks", batch);
        measure(&event, WARM_UP, shared_by, Gate::default(), hand_over)?;
        let settings = format!("guest that acks unread, {shared_by} per call, warm");
        results.push(measured(settings, count, measure(&event, count, shared_by, Gate::default(), hand_over)?));
    }
    Ok(results)
}

fn native(event: &Event, count: usize) -> Result<Measured> {
    let (batches, handler) = sync_channel::<Vec<Call>>(NATIVE_BATCHES);
    let thread = std::thread::spawn(move || {
        for call in handler.into_iter().flatten() {
            std::hint::black_box(call.delivery());
            call.finish(CallEnd::Returned(Ok(())));
        }
    });
    let hand_over = |batch| batches.send(batch).expect("the handler ends after this sender");
    measure(event, WARM_UP, 1, Gate::default(), hand_over)?;
    let cost = measure(event, count, 1, Gate::default(), hand_over)?;
    drop(batches);
    thread.join().map_err(|_| anyhow::anyhow!("the native handler panicked"))?;
    Ok(measured("native handler on a thread".to_owned(), count, cost))
}

/// Seconds and CPU microseconds per call; the calls are made before the clock starts.
fn measure(
    event: &Event,
    count: usize,
    shared_by: usize,
    gate: Gate,
    hand_over: impl Fn(Vec<Call>),
) -> Result<(f64, f64)> {
    let gate = Arc::new(gate);
    let batches: Vec<Vec<Call>> = (0..count.div_ceil(BATCH)).map(|_| calls(BATCH, shared_by, event, &gate)).collect();
    let (start, cpu) = (Instant::now(), own_cpu());
    for batch in batches {
        // As a worker does: never more in flight than the queue takes.
        gate.wait(BATCH);
        gate.add(batch.len());
        hand_over(batch);
    }
    gate.wait(0);
    gate.check()?;
    Ok((start.elapsed().as_secs_f64(), per_event(cpu, own_cpu(), count as u64)))
}

fn measured(settings: String, count: usize, (seconds, cpu_us): (f64, f64)) -> Measured {
    Measured {
        settings,
        events: count as u64,
        seconds,
        rate: count as f64 / seconds,
        host_cpu_us: Some(cpu_us),
        ..Measured::of("B10", "-")
    }
}
