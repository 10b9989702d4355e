//! B1: durable ingest. Eight producers with 512 events in flight each; one matching subscription is on, as the suite demands.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::{self, per_event};
use crate::load::{IN_FLIGHT, PRODUCERS, Seen, produce};
use crate::report::Measured;

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) async fn run(binary: &Path, payload: usize, measured: Duration) -> Result<Measured> {
    let host = host::start(binary)?;
    host::subscribe(
        &host,
        "ordering = \"none\"\nconcurrency = 64\n[filter]\nexact = { attribute = \"type\", value = \"never\" }",
    )?;
    let mut clients = Vec::new();
    for number in 0..PRODUCERS {
        clients.push(host::connect(&host, &format!("bench-{number}"), IN_FLIGHT).await?);
    }
    phase(&clients, payload, WARM_UP).await?;
    let before = host::snapshot(&host)?;
    let start = Instant::now();
    let seen = phase(&clients, payload, measured).await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = host::snapshot(&host)?;
    for client in &clients {
        client.close().await;
    }
    Ok(Measured {
        settings: format!(
            "{payload} B, {PRODUCERS} producers x {IN_FLIGHT} in flight, 1 subscription that filters all out"
        ),
        events: seen.confirmed,
        seconds,
        rate: seen.confirmed as f64 / seconds,
        host_cpu_us: Some(per_event(before.host.cpu, after.host.cpu, seen.confirmed)),
        load_cpu_us: Some(per_event(before.load_cpu, after.load_cpu, seen.confirmed)),
        events_per_sync: Some(seen.confirmed as f64 / (after.commits - before.commits).max(1) as f64),
        p50_ms: Some(seen.latency_us.value_at_quantile(0.5) as f64 / 1e3),
        p99_ms: Some(seen.latency_us.value_at_quantile(0.99) as f64 / 1e3),
        host_mib: after.host.resident >> 20,
        ..Measured::of("B1", "F")
    })
}

async fn phase(clients: &[bugle_client::Client], payload: usize, length: Duration) -> Result<Seen> {
    let end = Instant::now() + length;
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        let client = client.clone();
        // A look at the clock every 256 events.
        tasks.spawn(
            async move { produce(&client, "bench", payload, |sent| sent % 256 != 0 || Instant::now() < end).await },
        );
    }
    let mut total = Seen::new()?;
    while let Some(seen) = tasks.join_next().await {
        total.merge(&seen??)?;
    }
    Ok(total)
}
