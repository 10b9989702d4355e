//! The committer: one thread that puts everything queued into one batch, syncs it once, and then tells everybody.
//!
//! It is the only writer and the only sequencer. It waits for nothing but work: the sync before is the wait in which the next
//! batch gathers. It decides nothing; admission does.
//!
//! Invariant: nobody hears of a write before the sync that made it durable returned; after a failed commit nobody hears
//! anything any more, and the process must end (guarantees G1, G11).

mod round;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bugle_core::admission::Admission;
use bugle_core::code::Code;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Name, Offset, Position};
use bugle_core::publish::{BatchOutcome, BatchResult, IdState, PublishBatch, Refusal};
use bugle_core::row::CursorRow;
use bugle_core::step::Write;
use bugle_core::time::Millis;
use bugle_store::{Batch, Durability};

use crate::disk::DiskWatch;
use crate::queue::{Committed, Done, Item, ResultSink, Writes};
use crate::shared::Shared;
use round::Round;

/// A commit takes no more than this: about 4 ms of encoding and writing, so that the first in it does not wait for the last.
const COMMIT_EVENTS_MAX: usize = 4_096;
/// See [`COMMIT_EVENTS_MAX`].
const COMMIT_BYTES_MAX: usize = 1 << 20;
/// The free disk, the clock and the mark of the confirmed end are looked after this often.
const TICK: Duration = Duration::from_secs(1);
/// Told to a producer that was refused for lack of disk: an operator needs longer than a retry loop.
const DISK_FULL_RETRY: Millis = Millis::from_secs(5);

/// See the module.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    admission: Admission,
    disk: DiskWatch,
    is_disk_full: bool,
    backlog: VecDeque<Item>,
    ticked: Instant,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, admission: Admission, mut disk: DiskWatch) -> Committer {
        let is_disk_full = disk.check();
        Committer { shared, admission, disk, is_disk_full, backlog: VecDeque::new(), ticked: Instant::now() }
    }

    /// Runs until the queue is closed and empty, or the store fails.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let guard = FailOnPanic(&shared);
        loop {
            let wait = TICK.saturating_sub(self.ticked.elapsed());
            if !shared.queue.drain(&mut self.backlog, wait) {
                break;
            }
            if let Err(error) = self.commit() {
                shared.fail(&error.to_string());
                break;
            }
            if self.ticked.elapsed() >= TICK {
                self.tick();
            }
        }
        std::mem::forget(guard);
        shared.has_ended.store(true, Ordering::Release);
    }

    fn commit(&mut self) -> Result<(), bugle_store::CommitError> {
        let mut round = Round::default();
        while round.events < COMMIT_EVENTS_MAX && round.bytes < COMMIT_BYTES_MAX {
            let Some(item) = self.backlog.pop_front() else {
                break;
            };
            self.add(item, &mut round);
        }
        self.sync(&mut round)?;
        self.tell(round);
        Ok(())
    }

    fn add(&mut self, item: Item, round: &mut Round) {
        match item {
            Item::Publish { batch, sink, credit } => {
                round.credit += credit as usize;
                self.publish(batch, sink, round);
            }
            Item::Writes(writes) => self.writes(writes, round),
            Item::Open(open, reply) => {
                let opened = self.open(open);
                // A producer that went away in the meantime needs no answer.
                let _ = reply.send(opened);
            }
            Item::Close(session) => self.admission.close(session),
            Item::Abandon { session, source, id } => self.admission.abandon(session, &source, &id),
            Item::Query { topic, source, id, reply } => {
                let state = self.query(&topic, &source, &id, round);
                round.queries.push((reply, state));
            }
        }
    }

    fn publish(&mut self, batch: PublishBatch, sink: Arc<dyn ResultSink>, round: &mut Round) {
        let session = batch.session;
        if self.is_disk_full {
            self.shared.counters.disk_full.add(1);
            round.result(session, sink, refuse_for_disk(&batch));
            return;
        }
        let lookups = self.admission.lookups(&batch);
        let facts: Vec<IdFact> = lookups.into_iter().map(|lookup| self.look_up(lookup, round)).collect();
        let now = self.shared.clock.now();
        let result = self.admission.publish(now, batch, &facts, &mut round.writes);
        round.count();
        round.result(session, sink, result);
    }

    fn writes(&mut self, item: Writes, round: &mut Round) {
        let now = self.shared.clock.now();
        let committed = Committed { tail: self.admission.next_offset() };
        if let Some(topic) = item.topic {
            self.admission.add_topic(topic);
        }
        for write in item.writes {
            match write {
                Write::Append { topic, event } => {
                    self.admission.append(now, topic, event, &mut round.writes);
                }
                other => round.writes.push(other),
            }
        }
        if let Some(subscription) = item.cursor_at_tail {
            round.writes.push(Write::Cursor {
                subscription,
                class: Class::Normal,
                row: CursorRow { floor: committed.tail },
            });
        }
        round.ledger = round.ledger.max(item.ledger);
        round.count();
        round.done(item.done, committed);
    }

    /// One batch, one sync. Nothing is written if only answers are due.
    fn sync(&self, round: &mut Round) -> Result<(), bugle_store::CommitError> {
        if round.writes.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for write in &round.writes {
            batch.push(write);
        }
        let counters = &self.shared.counters;
        counters.rows.add(round.writes.len() as u64);
        counters.bytes.add(batch.len_bytes() as u64);
        let start = Instant::now();
        self.shared.store.commit(batch, Durability::Synced)?;
        let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.commit_us.add(took);
        counters.commits.add(1);
        Ok(())
    }

    /// Everything in the round is durable: memory first, so that whoever hears of it finds it there.
    fn tell(&self, mut round: Round) {
        let shared = &self.shared;
        let chunk = Arc::new(Chunk::new(round.take_events()));
        if let Some(end) = chunk.end() {
            shared.counters.events.add(chunk.events().len() as u64);
            shared.ring.append(Arc::clone(&chunk));
            shared.wake_readers(chunk.topics(), end);
        }
        if let Some(step) = round.ledger {
            let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.durable(step);
        }
        shared.queue.give_back(round.credit);
        round.tell(&shared.counters);
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        self.shared.clock.adjust();
        self.is_disk_full = self.disk.check();
        self.shared.is_disk_full.store(self.is_disk_full, Ordering::Relaxed);
        if let Err(error) = self.shared.store.mark() {
            tracing::warn!(%error, "could not write the mark of the confirmed end; older loss would be noticed later");
        }
    }
}

/// Turns a panic of the committer (a broken invariant) into the same stop as a failed disk.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        self.0.fail("the committer found a broken invariant");
    }
}

fn refuse_for_disk(batch: &PublishBatch) -> BatchResult {
    BatchResult {
        stream: batch.stream,
        sequence: batch.sequence,
        outcome: BatchOutcome::Refused(Refusal {
            code: Code::DiskFull,
            retry_after: Some(DISK_FULL_RETRY),
            detail: "the host is short of disk space; publishing goes on when an operator has made room".to_owned(),
        }),
    }
}
