//! What everything in the simulated bus shares: disk, ledger, the committer's queue, the clock, and the log of the receiver.
//!
//! Invariant: rows reach the disk only through the queue, in its order.

use std::collections::{BTreeMap, VecDeque};

use bugle_core::ids::{Offset, SubscriptionId, Ticket};
use bugle_core::ledger::{Ledger, LedgerStep};
use bugle_core::publish::PublishBatch;
use bugle_core::step::{Action, Write};
use bugle_core::time::Timestamp;

use crate::random::Random;
use crate::store::Store;

/// Lines of the journal that are kept for a failure.
const JOURNAL_LINES_MAX: usize = 200;

/// Who is told that an item is durable.
#[derive(Debug)]
pub(crate) enum Done {
    /// Nobody.
    Nobody,
    /// This worker, which then does this.
    Worker(usize, Vec<Action>),
    /// A call of this worker.
    Call(usize, Ticket),
}

/// Something for the committer.
#[derive(Debug)]
pub(crate) enum Item {
    /// A batch of this producer.
    Publish { producer: usize, batch: PublishBatch },
    /// Rows.
    Writes { writes: Vec<Write>, ledger: Option<LedgerStep>, done: Done },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) queue: VecDeque<Item>,
    pub(crate) now: Timestamp,
    /// No more faults: every call succeeds.
    pub(crate) is_calm: bool,
    /// Effects that the receiver saw, per subscription and event.
    pub(crate) received: BTreeMap<(SubscriptionId, Offset), u32>,
    pub(crate) attempts: u64,
    journal: VecDeque<String>,
}

impl Bus {
    pub(crate) fn new(random: Random, ledger: Ledger) -> Bus {
        Bus {
            random,
            store: Store::default(),
            ledger,
            queue: VecDeque::new(),
            now: Timestamp(1_000),
            is_calm: false,
            received: BTreeMap::new(),
            attempts: 0,
            journal: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, writes: Vec<Write>, ledger: Option<LedgerStep>, done: Done) {
        self.queue.push_back(Item::Writes { writes, ledger, done });
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.journal.len() >= JOURNAL_LINES_MAX {
            self.journal.pop_front();
        }
        self.journal.push_back(line());
    }

    /// The latest lines of the journal.
    pub(crate) fn journal(&self) -> String {
        self.journal.iter().map(|line| format!("{line}\n")).collect()
    }

    /// True `percent` times of a hundred, but never once faults have stopped.
    pub(crate) fn fault(&mut self, percent: u64) -> bool {
        !self.is_calm && self.random.chance(percent)
    }
}
