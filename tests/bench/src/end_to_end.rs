//! B3 (a): end to end through a plugin. One topic, one subscription, a Rust guest that acks each event; the clock stops when the
//! host says that every event is settled.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::host::{self, Snapshot, per_event};
use crate::load::{IN_FLIGHT, PRODUCERS, Seen, produce};
use crate::report::Measured;

const PAYLOAD: usize = 256;
/// A run that takes longer has failed.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn run(binary: &Path, events: u64) -> Result<Measured> {
    let host = host::start(binary)?;
    host::subscribe(&host, "ordering = \"none\"\nconcurrency = 256")?;
    let mut clients = Vec::new();
    for number in 0..PRODUCERS {
        clients.push(host::connect(&host, &format!("bench-{number}"), IN_FLIGHT).await?);
    }
    let before = host::snapshot(&host)?;
    let start = Instant::now();
    let each = events / PRODUCERS as u64;
    let mut tasks = tokio::task::JoinSet::new();
    for client in &clients {
        let client = client.clone();
        tasks.spawn(async move { produce(&client, "bench", PAYLOAD, |sent| sent < each).await });
    }
    let mut seen = Seen::new()?;
    while let Some(one) = tasks.join_next().await {
        seen.merge(&one??)?;
    }
    let after = settled(&host, seen.confirmed, start).await?;
    let seconds = start.elapsed().as_secs_f64();
    let summary = after.status.pointer("/subscriptions/bench").context("`status` tells no subscription")?;
    let ms = |name: &str| summary.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let measured = Measured {
        settings: format!(
            "{PAYLOAD} B, {PRODUCERS} producers x {IN_FLIGHT} in flight, 1 subscription, 256 deliveries at once"
        ),
        events: seen.confirmed,
        seconds,
        rate: seen.confirmed as f64 / seconds,
        host_cpu_us: Some(per_event(before.host.cpu, after.host.cpu, seen.confirmed)),
        load_cpu_us: Some(per_event(before.load_cpu, after.load_cpu, seen.confirmed)),
        events_per_sync: Some(seen.confirmed as f64 / (after.commits - before.commits).max(1) as f64),
        p50_ms: Some(ms("settle_ms_p50")),
        p99_ms: Some(ms("settle_ms_p99")),
        host_mib: after.host.resident >> 20,
        ..Measured::of("B3a", "F")
    };
    for client in &clients {
        client.close().await;
    }
    Ok(measured)
}

async fn settled(host: &bugle_harness::Host, events: u64, start: Instant) -> Result<Snapshot> {
    loop {
        let now = host::snapshot(host)?;
        let count = |name: &str| {
            let count = now.status.pointer(&format!("/subscriptions/bench/{name}")).and_then(Value::as_u64);
            count.with_context(|| format!("`status` tells no `{name}`"))
        };
        if count("delivered")? >= events {
            return Ok(now);
        }
        anyhow::ensure!(count("dead")? == 0, "events were given up: {}", now.status);
        anyhow::ensure!(start.elapsed() < SETTLED_WITHIN, "not settled after {SETTLED_WITHIN:?}: {}", now.status);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
