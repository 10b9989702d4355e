//! What everything in the simulated bus shares: disk, ledger, the committer's queue, the clock, and what is known from outside.
//!
//! Invariant: rows reach the disk only through the queue, in its order.

use std::collections::VecDeque;

use bugle_core::callback::StatusChange;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, SessionId, SubscriptionId, Ticket};
use bugle_core::ledger::{Ledger, LedgerStep};
use bugle_core::publish::{OpenSession, PublishBatch};
use bugle_core::spec::Subscription;
use bugle_core::step::{Action, Write};
use bugle_core::time::{Millis, Timestamp};
use bugle_random::Random;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::evidence::{Evidence, Place};
use crate::rule::Checked;

/// Lines of the journal that are kept for a failure.
const JOURNAL_LINES_MAX: usize = 160;

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
    /// This producer's connection ended, and a new one says hello.
    Hello { producer: usize, before: SessionId, open: OpenSession },
    /// A batch of this producer.
    Publish { producer: usize, batch: PublishBatch },
    /// Scheduled events are due.
    Release,
    /// Scheduled events of this topic are cancelled: those of the key of this event, or it alone.
    Cancel { event: StoredEvent, by_key: bool },
    /// A provider says what became of the send of this delivery.
    Callback { place: Place, change: StatusChange },
    /// Rows.
    Writes { writes: Vec<Write>, ledger: Option<LedgerStep>, done: Done },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bus {
    /// The dice of the action that happens now.
    pub(crate) random: Random,
    pub(crate) disk: Disk,
    pub(crate) ledger: Ledger,
    pub(crate) queue: VecDeque<Item>,
    pub(crate) clock: Clock,
    pub(crate) now: Timestamp,
    /// Everything below is told to readers of the log.
    pub(crate) tail: Offset,
    /// No more faults: every call succeeds.
    pub(crate) is_calm: bool,
    pub(crate) evidence: Evidence,
    /// Every definition that a subscription ever had; rows name them by number.
    pub(crate) definitions: Vec<Subscription>,
    /// The subscription whose provider answers nobody.
    pub(crate) sick: Option<SubscriptionId>,
    /// Kept only when a failure is run again.
    journal: Option<VecDeque<String>>,
}

impl Bus {
    pub(crate) fn new(random: Random, ledger: Ledger, has_journal: bool) -> Bus {
        let mut clock = Clock::new();
        Bus {
            random,
            disk: Disk::default(),
            ledger,
            queue: VecDeque::new(),
            now: clock.now(),
            clock,
            tail: Offset(0),
            is_calm: false,
            evidence: Evidence::default(),
            definitions: Vec::new(),
            sick: None,
            journal: has_journal.then(VecDeque::new),
        }
    }

    pub(crate) fn push(&mut self, writes: Vec<Write>, ledger: Option<LedgerStep>, done: Done) {
        self.queue.push_back(Item::Writes { writes, ledger, done });
    }

    /// Time goes by.
    pub(crate) fn pass(&mut self, by: Millis) -> Checked {
        let passed = self.clock.pass(by);
        self.now = self.clock.now();
        passed
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(journal) = &mut self.journal {
            if journal.len() >= JOURNAL_LINES_MAX {
                journal.pop_front();
            }
            journal.push_back(line());
        }
    }

    /// The latest lines of the journal.
    pub(crate) fn journal(&self) -> String {
        self.journal.iter().flatten().map(|line| format!("{line}\n")).collect()
    }

    /// True `percent` times of a hundred, but never once faults have stopped.
    pub(crate) fn fault(&mut self, percent: u64) -> bool {
        !self.is_calm && self.random.chance(percent)
    }
}
