//! What operators see of each subscription. Readings, taken while everything runs; nothing here changes anything.

use std::sync::{Arc, PoisonError};

use bugle_core::flow::FlowCounts;
use bugle_core::ids::{Name, Offset};
use bugle_core::spec::Subscription;
use bugle_core::subscription::Status;
use bugle_core::time::Millis;
use tokio::sync::oneshot;

use super::Bus;
use crate::call::Port;
use crate::histogram::Counted;
use crate::worker::{Message, Pace};

/// One subscription, now.
#[derive(Clone, Debug)]
pub struct SubscriptionStatus {
    /// Its definition.
    pub spec: Subscription,
    /// What its machine says: floor, in flight, waiting, paused, ...; `None` if its worker has broken.
    pub machine: Option<Status>,
    /// Offsets from its floor to the end of the log: an upper bound of its backlog, as other topics share the log.
    pub backlog_max: u64,
    /// Age of the oldest unsettled place in the log, as far as memory knows; zero if there is none.
    pub lag: Option<Millis>,
    /// Offsets that are not settled up to the end of the log: an upper bound too, but without what is settled above the floor.
    pub unsettled: u64,
    /// How fast it settles and how fast the log grows.
    pub pace: Pace,
    /// Counts since the start of the host.
    pub throughput: Throughput,
}

/// Counts of one subscription since the start of the host.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// Attempts handed to the plugin.
    pub attempts: u64,
    /// Deliveries acked.
    pub acked: u64,
    /// Attempts that asked for another try.
    pub nacked: u64,
    /// Deliveries rejected.
    pub rejected: u64,
    /// Deliveries given up, rejected ones included.
    pub dead: u64,
    /// Attempts put off.
    pub deferred: u64,
    /// Attempts maybe sent.
    pub unknown: u64,
    /// Attempts in which the plugin broke.
    pub broke: u64,
    /// Attempts run again after a conflict.
    pub conflicts: u64,
    /// Attempts that never started.
    pub not_started: u64,
    /// Events of the log that expired undelivered.
    pub expired: u64,
    /// Deliveries that ended because the `expirytime` of their event had passed.
    pub expired_deliveries: u64,
    /// Deliveries that go on in a copy, since nothing was heard of what was sent.
    pub late_copies: u64,
    /// Records that a person has to look at for that.
    pub late_manual: u64,
    /// Leases that ran out.
    pub lapsed: u64,
    /// Steps committed.
    pub steps: u64,
    /// Reads of the disk.
    pub store_reads: u64,
    /// What breaker and degrade policy did.
    pub flow: FlowCounts,
    /// Publish to settled.
    pub settle_ms: Counted,
}

impl Bus {
    /// One subscription; `None` if there is none of that name.
    pub async fn status(&self, name: &str) -> Option<SubscriptionStatus> {
        let (spec, port) = {
            let running = self.inside.running.read();
            let running = running.unwrap_or_else(PoisonError::into_inner);
            let running = running.get(name)?;
            (running.spec.clone(), Arc::clone(&running.port))
        };
        let (reply, answer) = oneshot::channel();
        port.inbox.push(Message::Status(reply));
        let (machine, pace) = answer.await.ok().unzip();
        let end = self.end();
        let floor = machine.as_ref().map_or(end, |status| status.floor);
        let progress = machine.as_ref().map(|status| status.progress);
        Some(SubscriptionStatus {
            spec,
            machine,
            backlog_max: end.0.saturating_sub(floor.0),
            lag: self.age(floor, end),
            unsettled: progress.map_or(0, |progress| end.0.saturating_sub(progress)),
            pace: pace.unwrap_or_default(),
            throughput: throughput(&port),
        })
    }

    /// Every subscription, by name.
    pub async fn statuses(&self) -> Vec<SubscriptionStatus> {
        let mut all = Vec::new();
        for spec in self.subscriptions() {
            all.extend(self.status(&spec.name).await);
        }
        all
    }

    /// The counts of every subscription, without asking the workers: for metrics.
    #[must_use]
    pub fn throughputs(&self) -> Vec<(Name, Throughput)> {
        let ports = self.inside.ports();
        ports.iter().map(|port| (port.name.clone(), throughput(port))).collect()
    }

    /// Items waiting for the committer, and bytes of publish credit in use.
    #[must_use]
    pub fn queue_depth(&self) -> (usize, usize) {
        self.inside.shared.queue.depth()
    }

    /// Bytes in the tail ring.
    #[must_use]
    pub fn ring_bytes(&self) -> usize {
        self.inside.shared.ring.bytes()
    }

    /// Whether publishing is refused for lack of disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let is_full = &self.inside.shared.is_disk_full;
        is_full.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn age(&self, floor: Offset, end: Offset) -> Option<Millis> {
        if floor >= end {
            return Some(Millis(0));
        }
        let event = self.inside.shared.ring.event(floor)?;
        Some(self.now().since(event.received))
    }
}

fn throughput(port: &Port) -> Throughput {
    let counters = &port.counters;
    Throughput {
        attempts: counters.attempts.get(),
        acked: counters.acked.get(),
        nacked: counters.nacked.get(),
        rejected: counters.rejected.get(),
        dead: counters.dead.get(),
        deferred: counters.deferred.get(),
        unknown: counters.unknown.get(),
        broke: counters.broke.get(),
        conflicts: counters.conflicts.get(),
        not_started: counters.not_started.get(),
        expired: counters.expired.get(),
        expired_deliveries: counters.expired_deliveries.get(),
        late_copies: counters.late_copies.get(),
        late_manual: counters.late_manual.get(),
        lapsed: counters.lapsed.get(),
        steps: counters.steps.get(),
        store_reads: counters.store_reads.get(),
        flow: counters.flow.get(),
        settle_ms: counters.settle_ms.read(),
    }
}
