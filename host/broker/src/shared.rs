//! What committer, workers, calls and the bus handle share. A bag of parts, each with its own rules; no decision here.
//!
//! Invariant: ledger writes are queued under the ledger's lock. Lock order: ledger, then queue.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bugle_core::ids::{Offset, SubscriptionId, TopicId};
use bugle_core::ledger::{Ledger, LedgerStep};
use bugle_core::step::Write;
use bugle_store::Store;
use tokio::sync::watch;

use crate::backlogs::Backlogs;
use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::counters::CommitCounters;
use crate::idempotency::IdempotencyKeys;
use crate::invoke::{EncodeEvent, StampEvent};
use crate::queue::{Done, Item, Queue, Stopped, Writes};
use crate::releaser::ReleaseAlarm;
use crate::retention::Retained;
use crate::ring::Ring;
use crate::topics::Topics;
use crate::worker::Inbox;

/// See the module.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) ring: Ring,
    pub(crate) queue: Queue,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) clock: Clock,
    /// When scheduled events are due.
    pub(crate) releases: ReleaseAlarm,
    pub(crate) keys: IdempotencyKeys,
    pub(crate) encode: EncodeEvent,
    pub(crate) stamp: StampEvent,
    pub(crate) topics: Topics,
    pub(crate) counters: CommitCounters,
    pub(crate) blocking: Blocking,
    /// Inboxes of all workers, to wake at new events.
    pub(crate) readers: RwLock<Vec<(SubscriptionId, Arc<Inbox>)>>,
    /// Why the host must stop, once it must.
    pub(crate) failed: watch::Sender<Option<String>>,
    /// The committer's thread is over.
    pub(crate) has_ended: AtomicBool,
    /// Subscriptions for whose backlog publishing is refused.
    pub(crate) backlogs: Backlogs,
    /// Erasures that are durable: after each, nobody uses what he read before it.
    pub(crate) erasures: AtomicU64,
    /// How long events are kept, and who keeps them longer.
    pub(crate) retained: Retained,
    /// Publishing is refused for lack of disk.
    pub(crate) is_disk_full: AtomicBool,
}

impl Shared {
    /// Runs one step of the ledger and queues its rows before anybody else's step.
    pub(crate) fn ledger_step<T>(
        &self,
        done: Done,
        step: impl FnOnce(&mut Ledger) -> (T, Option<(Vec<Write>, LedgerStep)>),
    ) -> Result<T, Stopped> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, rows) = step(&mut ledger);
        if let Some((writes, step)) = rows {
            self.queue.push(Item::Writes(Writes { writes, ledger: Some(step), done, ..Writes::default() }))?;
        }
        Ok(value)
    }

    /// Queues rows that the ledger decides on and has no part in afterwards.
    pub(crate) fn ledger_rows(&self, decide: impl FnOnce(&mut Ledger) -> Vec<Write>) -> Result<(), Stopped> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = decide(&mut ledger);
        if writes.is_empty() {
            return Ok(());
        }
        self.queue.push(Item::Writes(Writes { writes, ..Writes::default() }))
    }

    /// Commits a row by itself: only a seeded bug has one that belonged into an earlier batch.
    pub(crate) fn queue_late(&self, late: Option<Write>) {
        if let Some(write) = late {
            // A stopped committer ends the process; the bug is then shown.
            let _ = self.queue.push(Item::Writes(Writes { writes: vec![write], ..Writes::default() }));
        }
    }

    /// Wakes the workers that wait for these events.
    pub(crate) fn wake_readers(&self, topics: &[TopicId], end: Offset) {
        let readers = self.readers.read().unwrap_or_else(PoisonError::into_inner);
        for (_, reader) in readers.iter() {
            reader.offer(topics, end);
        }
    }

    /// The store failed: nothing is confirmed any more, and whoever waits learns that the outcome is unknown.
    pub(crate) fn fail(&self, reason: &str) {
        tracing::error!(error = reason, "the store failed; the host must stop and be started again");
        self.queue.fail();
        self.failed.send_replace(Some(reason.to_owned()));
        self.has_ended.store(true, Ordering::Release);
    }
}
