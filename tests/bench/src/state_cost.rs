//! B4: what state costs per settled event. The same events go through a Rust guest that acks, one that confirms a weak claim, one that
//! confirms a strong claim, and once more the first with send records on.
//!
//! CPU is the host's over publishing and settling; bytes are those of the committed batches (what the write-ahead log gets) and those
//! that the process wrote to the disk in the same time, flushes and compactions included.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bugle_client::{Client, Event, Outcome};
use bugle_harness::Host;
use serde_json::{Value, json};

use crate::host::{self, Snapshot, per_event};
use crate::report::Measured;

/// Events of one publish.
const CHUNK: u64 = 1_000;
/// Deliveries in flight at once.
const CONCURRENCY: u32 = 256;
/// A run that takes longer has failed.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// What a delivery does: name for people, event type of the probe, lines of the definition.
const KINDS: [(&str, &str, &str); 4] = [
    ("plain", "ok", ""),
    ("weak claim", "claim-weak", ""),
    ("strong claim", "claim-confirm", ""),
    ("plain, records on", "ok", "records = true"),
];

/// One result for each of them.
pub(crate) async fn run(binary: &Path, events: u64) -> Result<Vec<Measured>> {
    let mut all = Vec::new();
    for (name, kind, more) in KINDS {
        all.push(one(binary, events, name, kind, more).await?);
    }
    Ok(all)
}

async fn one(binary: &Path, events: u64, name: &str, kind: &str, more: &str) -> Result<Measured> {
    let host = host::start(binary)?;
    let probe = bugle_guests::probe();
    host.cli(&["plugin", "deploy", "probe", &probe.display().to_string()])?;
    let file = host.directory().join("subscription.toml");
    let lines = format!("ordering = \"none\"\nconcurrency = {CONCURRENCY}\n{more}");
    std::fs::write(&file, format!("name = \"bench\"\ntopics = [\"bench\"]\nplugin = \"probe\"\n{lines}\n"))?;
    host.cli(&["subscription", "apply", &file.display().to_string()])?;
    let client = host::connect(&host, "bench", usize::try_from(2 * CHUNK)?).await?;
    let before = Cost::of(&host)?;
    let start = Instant::now();
    publish(&client, kind, events).await?;
    settled(&host, events, start)?;
    let (after, seconds) = (Cost::of(&host)?, start.elapsed().as_secs_f64());
    client.close().await;
    let bytes = |before: u64, after: u64| after.saturating_sub(before) as f64 / events as f64;
    let committed = bytes(before.committed, after.committed);
    let written = bytes(before.written, after.written);
    let rows = bytes(before.rows, after.rows);
    Ok(Measured {
        settings: format!("{name}, {CONCURRENCY} deliveries at once"),
        events,
        seconds,
        rate: events as f64 / seconds,
        host_cpu_us: Some(per_event(before.at.host.cpu, after.at.host.cpu, events)),
        load_cpu_us: Some(per_event(before.at.load_cpu, after.at.load_cpu, events)),
        events_per_sync: Some(events as f64 / (after.at.commits - before.at.commits).max(1) as f64),
        host_mib: after.at.host.resident >> 20,
        note: format!("{committed:.0} B and {rows:.2} rows committed, {written:.0} B written to disk, per event"),
        ..Measured::of("B4", "F")
    })
}

async fn publish(client: &Client, kind: &str, events: u64) -> Result<()> {
    let data = json!({ "receipt": "0123456789abcdef" }).to_string();
    let mut sent = 0;
    while sent < events {
        let count = CHUNK.min(events - sent);
        let chunk: Result<Vec<Event>, _> =
            (0..count).map(|_| Event::builder("/bench", kind).json(&data).build()).collect();
        for outcome in client.publish_many("bench", chunk?).await {
            anyhow::ensure!(matches!(outcome, Outcome::Confirmed(_)), "an event was not confirmed: {outcome:?}");
        }
        sent += count;
    }
    Ok(())
}

fn settled(host: &Host, events: u64, start: Instant) -> Result<()> {
    loop {
        let now = host::snapshot(host)?;
        let delivered = now.status.pointer("/subscriptions/bench/delivered").and_then(Value::as_u64);
        if delivered.context("`status` tells no `delivered`")? >= events {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < SETTLED_WITHIN, "not settled after {SETTLED_WITHIN:?}: {}", now.status);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the host has used up.
struct Cost {
    at: Snapshot,
    committed: u64,
    rows: u64,
    written: u64,
}

impl Cost {
    fn of(host: &Host) -> Result<Cost> {
        let metrics = host.admin().text("/metrics")?;
        let metric = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
            value.with_context(|| format!("no `{name}` in the metrics"))
        };
        let io =
            std::fs::read_to_string(format!("/proc/{}/io", host.pid())).context("could not read what was written")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
        Ok(Cost {
            at: host::snapshot(host)?,
            committed: metric("bugle_commit_bytes_total")?,
            rows: metric("bugle_commit_rows_total")?,
            written: written.context("no `write_bytes`")?,
        })
    }
}
