//! What the broker counts, for metrics and status. Plain atomics: written on the hot path, read by anyone.
//!
//! Knows nothing of how they are shown.

use std::sync::atomic::{AtomicU64, Ordering};

use bugle_core::flow::FlowCounts;

use crate::histogram::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the committer did since the start of the process. Each commit is one sync.
#[derive(Debug, Default)]
pub struct CommitCounters {
    /// Synced batches.
    pub commits: Counter,
    /// Bytes of those batches.
    pub bytes: Counter,
    /// Rows in them.
    pub rows: Counter,
    /// Events stored.
    pub events: Counter,
    /// Events found to be duplicates.
    pub duplicates: Counter,
    /// Events and whole batches refused.
    pub refused: Counter,
    /// Scheduled events released.
    pub released: Counter,
    /// Batches refused because the disk is nearly full.
    pub disk_full: Counter,
    /// Batches refused because the backlog of a subscription is over its cap.
    pub backlog_full: Counter,
    /// Microseconds inside the store's commit.
    pub commit_us: Counter,
    /// Ids looked up on disk or in the ring to judge duplicates.
    pub lookups: Counter,
    /// Rows removed because their claim or kv entry had ended.
    pub swept: Counter,
}

/// What one subscription's worker did since it started.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    /// Attempts handed to the plugin.
    pub(crate) attempts: Counter,
    /// Deliveries acked, durably.
    pub(crate) acked: Counter,
    /// Attempts that asked for another try.
    pub(crate) nacked: Counter,
    /// Deliveries rejected by the plugin.
    pub(crate) rejected: Counter,
    /// Deliveries given up, rejected ones included.
    pub(crate) dead: Counter,
    /// Attempts put off at no cost.
    pub(crate) deferred: Counter,
    /// Attempts that may have been sent.
    pub(crate) unknown: Counter,
    /// Attempts in which the plugin broke.
    pub(crate) broke: Counter,
    /// Attempts run again because two transactions met.
    pub(crate) conflicts: Counter,
    /// Attempts that never started.
    pub(crate) not_started: Counter,
    /// Events of the log that expired undelivered, because the backlog was over its cap.
    pub(crate) expired: Counter,
    /// Deliveries that ended because the `expirytime` of their event had passed.
    pub(crate) expired_deliveries: Counter,
    /// Deliveries that go on in a copy, since nothing was heard of what was sent.
    pub(crate) late_copies: Counter,
    /// Records that a person has to look at for that.
    pub(crate) late_manual: Counter,
    /// Leases that ran out.
    pub(crate) lapsed: Counter,
    /// Steps committed.
    pub(crate) steps: Counter,
    /// Events read from the store, because the ring did not hold them any more.
    pub(crate) store_reads: Counter,
    /// What breaker and degrade policy did.
    pub(crate) flow: FlowCounters,
    /// Publish to settled, by receipt time, in ms; acks only.
    pub(crate) settle_ms: Histogram,
}

/// The counts of a machine, copied where anyone can read them.
#[derive(Debug, Default)]
pub(crate) struct FlowCounters {
    opened: AtomicU64,
    deferred: AtomicU64,
    rerouted: AtomicU64,
    dropped: AtomicU64,
}

impl FlowCounters {
    /// Only the worker writes, so nothing is lost between two of these.
    pub(crate) fn set(&self, counts: FlowCounts) {
        self.opened.store(counts.opened, Ordering::Relaxed);
        self.deferred.store(counts.deferred, Ordering::Relaxed);
        self.rerouted.store(counts.rerouted, Ordering::Relaxed);
        self.dropped.store(counts.dropped, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> FlowCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FlowCounts {
            opened: read(&self.opened),
            deferred: read(&self.deferred),
            rerouted: read(&self.rerouted),
            dropped: read(&self.dropped),
        }
    }
}
