//! `bugle status`.

use super::subscription::runs::{alarms, done_in};
use super::{Context, print};
use crate::api::{KeptView, StatusView, SubscriptionStatus};

pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let status: StatusView = context.admin()?.get("/v1/status")?;
    if context.json {
        return print::json(&status);
    }
    print::pairs(&[
        ("bugle", format!("{}, process {}, up {} s", status.version, status.pid, status.uptime_s)),
        ("data", format!("{} (opened {} times)", status.data_dir, status.boot)),
        ("producers", format!("{} (certificate {})", status.quic, status.fingerprint)),
        ("log", format!("next {}, {} topics, {} events scheduled", status.next, status.topics, status.scheduled)),
        ("kept", kept(&status.kept)),
        (
            "since start",
            format!(
                "{} events, {} duplicates, {} refused, {} commits",
                status.events, status.duplicates, status.refused, status.commits
            ),
        ),
        ("memory", format!("{} MiB", status.memory >> 20)),
    ])?;
    print::line("")?;
    let millis = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let rows: Vec<_> = status
        .subscriptions
        .iter()
        .map(|(name, line)| {
            let numbers = &line.status;
            vec![
                name.clone(),
                line.state.clone(),
                numbers.channel.breaker.clone(),
                line.plugin.clone(),
                numbers.backlog.to_string(),
                done_in(&line.drain),
                numbers.in_flight.to_string(),
                numbers.delivered.to_string(),
                numbers.retried.to_string(),
                numbers.dead.to_string(),
                millis(numbers.settle_ms_p50),
                millis(numbers.settle_ms_p99),
            ]
        })
        .collect();
    let headings = [
        "SUBSCRIPTION",
        "STATE",
        "BREAKER",
        "PLUGIN",
        "BACKLOG",
        "DONE IN",
        "IN FLIGHT",
        "DELIVERED",
        "RETRIED",
        "DEAD",
        "P50",
        "P99",
    ];
    print::table(&headings, &rows, "no subscriptions yet")?;
    for (name, line) in &status.subscriptions {
        for warning in alarms(name, &line.status).into_iter().chain(warnings(name, &line.status)) {
            print::line(&warning)?;
        }
    }
    Ok(())
}

/// What is kept of each retention's log.
fn kept(all: &[KeptView]) -> String {
    let told = all.iter().map(|kept| format!("{} from {}: {} MiB", kept.retention, kept.from, kept.bytes >> 20));
    told.collect::<Vec<_>>().join(", ")
}

/// What of its dead letters and unknown results wants a person.
fn warnings(name: &str, numbers: &SubscriptionStatus) -> Vec<String> {
    let counted = [
        (numbers.dead_open, "dead letters are open", format!("bugle dead list {name} --state open")),
        (numbers.parked, "keys wait for a decision", format!("bugle dead list {name} --state manual")),
        (numbers.blocked, "keys are blocked by a delivery that fails on", format!("bugle subscription show {name}")),
        (
            numbers.dead_removed,
            "dead letters were removed undecided, since they were too many or too old",
            format!("bugle dead list {name}"),
        ),
        (numbers.unknown_open, "deliveries may have been sent", format!("bugle unknown list {name} --state open")),
        (
            numbers.unknown_removed,
            "unknown results were removed unresolved, since they were too many or too old",
            format!("bugle unknown list {name}"),
        ),
    ];
    let told = counted.into_iter().filter(|(count, _, _)| *count > 0);
    told.map(|(count, what, command)| format!("! {name}: {count} {what}: {command}")).collect()
}
