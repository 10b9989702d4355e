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

/// Deploys the probe and subscribes it to the topic with these lines of definition.
pub(crate) fn subscribe(host: &Host, lines: &str) -> Result<()> {
    let probe = bugle_guests::probe();
    host.cli(&["plugin", "deploy", "probe", &probe.display().to_string()])?;
    let file = host.directory().join("subscription.toml");
    let text = format!("name = \"bench\"\ntopics = [\"bench\"]\nplugin = \"probe\"\n{lines}\n");
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
    let own = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = own.rsplit_once(") ").context("proc(5)")?.1.split(' ').collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Snapshot { host: host.usage(), load_cpu: Duration::from_millis(ticks * 10), commits, status })
}

/// Microseconds of `after - before` per event.
pub(crate) fn per_event(before: Duration, after: Duration, events: u64) -> f64 {
    (after.saturating_sub(before)).as_secs_f64() * 1e6 / events.max(1) as f64
}
