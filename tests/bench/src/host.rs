//! The host under test: its counters before and after, and its set-up through the command line.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bugle_client::Client;
use bugle_harness::{Host, Settings, Usage};
use serde_json::Value;

/// CPU and counters at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) host: Usage,
    pub(crate) load_cpu: Duration,
    pub(crate) commits: u64,
    pub(crate) status: Value,
}

pub(crate) fn start(binary: &Path) -> Result<Host> {
    let settings = Settings { config: "[log]\nfilter = \"warn\"\n".to_owned(), environment: Vec::new() };
    let host = Host::start(binary, settings)?;
    host.cli(&["topic", "create", "bench"])?;
    Ok(host)
}

/// Deploys the guest that acks each event without a look at it, and subscribes it to the topic with these lines of definition.
pub(crate) fn subscribe(host: &Host, lines: &str) -> Result<()> {
    let guest = bugle_guests::noop();
    host.cli(&["plugin", "deploy", "noop", &guest.display().to_string()])?;
    let file = host.directory().join("subscription.toml");
    let text = format!("name = \"bench\"\ntopics = [\"bench\"]\nplugin = \"noop\"\n{lines}\n");
    std::fs::write(&file, text).context("could not write the subscription")?;
    host.cli(&["subscription", "apply", &file.display().to_string()])?;
    Ok(())
}

pub(crate) async fn connect(host: &Host, producer: &str, in_flight: usize) -> Result<Client> {
    let (address, fingerprint) = host.quic();
    let builder = Client::builder(&address.to_string()).producer(producer).server_fingerprint(&fingerprint);
    Ok(builder.in_flight(8 << 20, in_flight).connect().await?)
}

pub(crate) fn snapshot(host: &Host) -> Result<Snapshot> {
    let status: Value = serde_json::from_str(&host.cli(&["status", "--json"])?)?;
    let commits = status.get("commits").and_then(Value::as_u64).context("`status` tells no commits")?;
    Ok(Snapshot { host: host.usage(), load_cpu: own_cpu(), commits, status })
}

/// CPU time of this process: what the machine's other work does not change.
pub(crate) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Microseconds of `after - before` per event.
pub(crate) fn per_event(before: Duration, after: Duration, events: u64) -> f64 {
    (after.saturating_sub(before)).as_secs_f64() * 1e6 / events.max(1) as f64
}
