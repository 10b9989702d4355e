//! The facts of the running host that the doctor judges. Readings only.

use bugle_broker::SubscriptionStatus;
use bugle_core::flow::BreakerStatus;

use super::status::position;
use super::{Host, hexadecimal, locked};
use crate::doctor::{
    Diagnosis, Facts, FileFacts, NEAR_PERCENT, RoomFacts, SubscriptionFacts, diagnose, set_aside, token_mode,
};

impl Host {
    /// What is wrong with the host and what to do.
    pub async fn diagnose(&self) -> Diagnosis {
        let bus = self.bus();
        let store = std::sync::Arc::clone(bus.store());
        // A failed reading leaves its fact out; the store's own failure is a fact of its own.
        let figures = tokio::task::spawn_blocking(move || store.figures()).await.ok().and_then(Result::ok);
        let figures = figures.unwrap_or_default();
        let log_bytes: u64 = figures.epochs.iter().map(|epoch| epoch.bytes).sum();
        let told = format!(
            "store: incarnation {}, events {} up to {}, {} of the log with {} in memory and on disk, {} of files",
            hexadecimal(self.parts.incarnation),
            position(bus.floor()),
            position(bus.end()),
            match figures.epochs.len() {
                1 => "1 epoch".to_owned(),
                epochs => format!("{epochs} epochs"),
            },
            size(log_bytes),
            size(figures.bytes)
        );
        let subscriptions = bus.statuses().await;
        let kept = self.kept_logs().into_iter();
        diagnose(&Facts {
            data_dir: self.parts.data.path().display().to_string(),
            is_running: true,
            failure: self.failure(),
            is_half_restored: false,
            room: bus.store().room().ok().map(|room| RoomFacts { total: room.total, free: room.free }),
            is_disk_full: bus.is_disk_full(),
            files: open_files(),
            wal_bytes: figures.wal_bytes,
            set_aside: set_aside(&self.parts.data),
            token_mode: token_mode(&self.parts.data),
            store: Some(told),
            pinned: kept.filter_map(|kept| Some((kept.pinned_by?, kept.pinned_bytes))).collect(),
            subscriptions: subscriptions.iter().map(|status| self.facts(status)).collect(),
        })
    }

    fn facts(&self, status: &SubscriptionStatus) -> SubscriptionFacts {
        let spec = &status.spec;
        let base = SubscriptionFacts {
            name: spec.name.to_string(),
            plugin: spec.plugin.to_string(),
            has_plugin: locked(&self.loaded).contains_key(&*spec.plugin),
            is_stopped: status.machine.is_none(),
            unsettled: status.unsettled,
            cap: spec.backlog,
            dead_bounds: spec.dead,
            ..SubscriptionFacts::default()
        };
        let Some(machine) = &status.machine else { return base };
        let near = spec.backlog.bytes_max / 100 * NEAR_PERCENT;
        SubscriptionFacts {
            paused: machine.paused.clone(),
            breaker: match &machine.flow.breaker {
                BreakerStatus::Off | BreakerStatus::Closed => None,
                BreakerStatus::Open { culprit, reason, .. } => Some((culprit.word().to_owned(), reason.clone())),
            },
            is_near_bytes: status.unsettled > 0 && machine.floor < self.bus().store().last_bytes_from(near),
            is_backlog_full: machine.is_backlog_full,
            dead: machine.dead,
            unknown: machine.unknown,
            parked: machine.dead.manual,
            blocked: machine.blocked as u64,
            ..base
        }
    }
}

/// Bytes for people: a young store has less than a MiB.
fn size(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes.div_ceil(1024)) } else { format!("{} MiB", bytes >> 20) }
}

/// Files this process may open, and has open; nothing where there is no bound.
fn open_files() -> Option<FileFacts> {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    Some(FileFacts { allowed, open })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_small_is_not_told_as_nothing() {
        for (bytes, told) in
            [(0, "0 KiB"), (1, "1 KiB"), (300 << 10, "300 KiB"), (1 << 20, "1 MiB"), (5 << 30, "5120 MiB")]
        {
            assert_eq!(super::size(bytes), told);
        }
    }
}
