//! What the host is doing, in numbers.

use bugle_broker::SubscriptionStatus as BusStatus;
use bugle_core::flow::{BreakerStatus, RuleStatus};
use bugle_core::ids::{Offset, Position, Slot};
use bugle_core::subscription::Status as MachineStatus;

use super::Host;
use super::runs::drain_view;
use crate::api::{ChannelView, RuleView, StatusView, SubscriptionStatus, SubscriptionSummary};
use crate::moment;

/// The only slot of the embedded host.
const SLOT: Slot = Slot(0);

pub(crate) fn position(offset: Offset) -> String {
    Position { slot: SLOT, offset }.to_string()
}

impl Host {
    /// The whole host.
    pub async fn status(&self) -> StatusView {
        let bus = self.bus();
        let commits = bus.commits();
        let mut subscriptions = std::collections::BTreeMap::new();
        for status in bus.statuses().await {
            let summary = SubscriptionSummary {
                state: state(&status).to_owned(),
                drain: drain_view(status.unsettled, status.pace),
                plugin: status.spec.plugin.to_string(),
                status: self.numbers(&status),
            };
            subscriptions.insert(status.spec.name.to_string(), summary);
        }
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: self.parts.boot.0,
            pid: std::process::id(),
            uptime_s: self.uptime().as_secs(),
            data_dir: self.parts.data.path().display().to_string(),
            quic: self.parts.endpoints.quic.clone(),
            fingerprint: self.parts.endpoints.fingerprint.clone(),
            next: position(bus.end()),
            topics: self.topics(false).len() as u64,
            scheduled: self.scheduled_waiting(),
            kept: self.kept_logs(),
            events: commits.events.get(),
            duplicates: commits.duplicates.get(),
            refused: commits.refused.get(),
            commits: commits.commits.get(),
            memory: resident_bytes(),
            subscriptions,
        }
    }

    /// The numbers of one subscription.
    pub(super) fn numbers(&self, status: &BusStatus) -> SubscriptionStatus {
        let counts = &status.throughput;
        let mut numbers = SubscriptionStatus {
            floor: String::new(),
            backlog: status.backlog_max,
            attempts: counts.attempts,
            delivered: counts.acked,
            retried: counts.nacked + counts.broke + counts.lapsed,
            dead: counts.dead,
            expired: counts.expired,
            expired_deliveries: counts.expired_deliveries,
            is_backlog_full: status.machine.as_ref().is_some_and(|machine| machine.is_backlog_full),
            suppressed: self.tally().suppressed(&status.spec.name),
            settle_ms_p50: counts.settle_ms.quantile(0.5).map(|ms| ms.0),
            settle_ms_p99: counts.settle_ms.quantile(0.99).map(|ms| ms.0),
            ..SubscriptionStatus::default()
        };
        if let Some(machine) = &status.machine {
            numbers.floor = position(machine.floor);
            numbers.ready = machine.ready as u64;
            numbers.in_flight = machine.in_flight as u64;
            numbers.waiting = machine.waiting as u64;
            numbers.next_attempt = machine.next_attempt.map(moment::text);
            numbers.channel = channel(machine);
            numbers.blocked = machine.blocked as u64;
            numbers.dead_open = machine.dead.open;
            numbers.parked = machine.dead.manual;
            numbers.dead_letters = machine.dead.letters;
            numbers.dead_bytes = machine.dead.bytes;
            numbers.dead_removed = machine.dead.removed;
            numbers.unknown_open = machine.unknown.open;
            numbers.unknown_results = machine.unknown.rows;
            numbers.unknown_removed = machine.unknown.removed;
        }
        numbers
    }
}

fn channel(machine: &MachineStatus) -> ChannelView {
    let flow = &machine.flow;
    let rule = |rule: &RuleStatus| RuleView { counts: rule.counts, decided: rule.decided };
    let view = ChannelView {
        tokens: flow.tokens,
        classes_behind: machine.behind as u64,
        opened: flow.counts.opened,
        deferred: flow.counts.deferred,
        rerouted: flow.counts.rerouted,
        dropped: flow.counts.dropped,
        rules: flow.rules.iter().map(rule).collect(),
        ..ChannelView::default()
    };
    match &flow.breaker {
        BreakerStatus::Off => ChannelView { breaker: "off".to_owned(), ..view },
        BreakerStatus::Closed => ChannelView { breaker: "closed".to_owned(), ..view },
        BreakerStatus::Open { is_half_open, culprit, until, since, times, reason } => ChannelView {
            breaker: if *is_half_open { "half-open" } else { "open" }.to_owned(),
            blamed: Some(culprit.word().to_owned()),
            reason: Some(reason.clone()),
            sick_since: Some(moment::text(*since)),
            next_probe: Some(moment::text(*until)),
            openings: *times,
            ..view
        },
    }
}

/// `running`, `draining`, `paused` or, if its worker broke, `stopped`.
pub(super) fn state(status: &BusStatus) -> &'static str {
    match &status.machine {
        None => "stopped",
        Some(machine) if machine.paused.is_some() => "paused",
        Some(machine) if machine.run.drain_to.is_some() => "draining",
        Some(_) => "running",
    }
}

/// Resident memory of this process; 0 where the system does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
