//! B10, single calls: what a delivery costs through the sandbox, beside the same hand-over to a native handler.
//!
//! Both get batches from one thread and finish them on others, so the difference is the sandbox: its queue, the hand-over to a
//! fiber, the guest and the way back. Native, that is a channel and a function. Calls of the guest are one at a time or 64 at once; the
//! last two lines are the same empty guest with one delivery per call and with 16.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bugle_core::delivery::CallEnd;
use bugle_core::event::Event;
use bugle_sandbox::HostCalls as _;

use crate::calls::{BATCH, Call, Gate, SHARED_BY, activate, calls, event, sandbox};
use crate::host::{own_cpu, per_event};
use crate::report::Measured;

/// Calls before anything is counted: instances are made, code is touched.
const WARM_UP: usize = 20_000;
/// Batches of the native handler that may wait: as many calls as the sandbox has under way.
const NATIVE_BATCHES: usize = 1;

/// Measures the native handler and the guest with one and with 64 calls at once.
pub(crate) fn run(count: usize) -> Result<Vec<Measured>> {
    let threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let cache = tempfile::tempdir().context("could not make a directory for compiled plugins")?;
    let (sandbox, plugin) = sandbox(&runtime, cache.path(), 100)?;
    let event = event("ok", "{}")?;
    let mut results = vec![native(&event, count)?];
    for (name, concurrency) in [("one", 1), ("many", 64)] {
        activate(&sandbox, &plugin, name, concurrency, None)?;
        let hand_over = |batch| sandbox.run(name, batch);
        measure(&event, WARM_UP, hand_over)?;
        let settings = format!("Rust guest, {concurrency} at once, warm");
        results.push(measured(settings, count, measure(&event, count, hand_over)?));
    }
    let guests = [("noop", bugle_guests::noop(), 1), ("noop-batch", bugle_guests::noop_batch(), SHARED_BY)];
    for (name, component, shared_by) in guests {
        let plugin = runtime.block_on(sandbox.load(std::fs::read(component)?, None))?;
        activate(&sandbox, &plugin, name, 64, None)?;
        let hand_over = |batch| sandbox.run(name, batch);
        measure(&event, WARM_UP, hand_over)?;
        let settings = format!("guest that acks unread, {shared_by} per call, warm");
        results.push(measured(settings, count, measure(&event, count, hand_over)?));
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
    measure(event, WARM_UP, hand_over)?;
    let cost = measure(event, count, hand_over)?;
    drop(batches);
    thread.join().map_err(|_| anyhow::anyhow!("the native handler panicked"))?;
    Ok(measured("native handler on a thread".to_owned(), count, cost))
}

/// Seconds and CPU microseconds per call; the calls are made before the clock starts.
fn measure(event: &Event, count: usize, hand_over: impl Fn(Vec<Call>)) -> Result<(f64, f64)> {
    let gate = Arc::new(Gate::default());
    let batches: Vec<Vec<Call>> = (0..count.div_ceil(BATCH)).map(|_| calls(BATCH, event, &gate)).collect();
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
