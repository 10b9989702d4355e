//! The committer: one thread that puts everything queued into one batch, syncs it once, and then tells everybody.
//!
//! It is the only writer and the only sequencer. It waits for nothing but work: the sync before is the wait in which the next
//! batch gathers. It decides nothing; admission does.
//!
//! Invariant: nobody hears of a write before the sync that made it durable returned; after a failed commit nobody hears
//! anything any more, and the process must end (guarantees G1, G11).

mod callback;
mod cancel;
mod look_up;
mod release;
mod round;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bugle_core::admission::Admission;
use bugle_core::code::Code;
use bugle_core::event::{Class, Event};
use bugle_core::origin::{LATE_ATTRIBUTE, ORIGIN_ATTRIBUTE, Origin};
use bugle_core::publish::{PublishBatch, Refusal};
use bugle_core::row::CursorRow;
use bugle_core::schedule::{REPLACED_EVENTS_MAX, ScheduledName, ScheduledQuery};
use bugle_core::step::Write;
use bugle_core::time::Millis;
use bugle_store::{CommitError, Durability};

use crate::invoke::FollowUp;
use crate::queue::{Committed, Item, ResultSink, Writes};
use crate::reads::ReadError;
use crate::ring::Chunk;
use crate::shared::Shared;
pub(crate) use callback::{Callback, RecordName, Told};
pub(crate) use cancel::{Also, Cancel, What};
use round::Round;

/// A commit takes no more than this: about 4 ms of encoding and writing, so that the first in it does not wait for the last.
const COMMIT_EVENTS_MAX: usize = 4_096;
/// See [`COMMIT_EVENTS_MAX`].
const COMMIT_BYTES_MAX: usize = 1 << 20;
/// Told to a producer that was refused for lack of disk: an operator needs longer than a retry loop.
const DISK_FULL_RETRY: Millis = Millis::from_secs(5);

/// Waiting timers of one name to look for: there is one at most, and more would be a bug that this lets end all of them.
const TIMERS_OF_NAME_MAX: usize = 16;

/// Told to a producer that was refused for a full backlog: backlogs are looked at once a second.
const BACKLOG_FULL_RETRY: Millis = Millis::from_secs(2);

/// See the module.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    admission: Admission,
    backlog: VecDeque<Item>,
}

/// Why the committer ended before it was told to. Nothing of the round it happened in was told to anybody.
#[derive(Debug, thiserror::Error)]
enum CommitterError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("could not look up a published id")]
    Read(#[from] ReadError),
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, admission: Admission) -> Committer {
        Committer { shared, admission, backlog: VecDeque::new() }
    }

    /// Runs until the queue is closed and empty, or the store fails.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let guard = FailOnPanic(&shared);
        while shared.queue.drain(&mut self.backlog) {
            if let Err(error) = self.commit() {
                shared.fail(&error.to_string());
                break;
            }
        }
        std::mem::forget(guard);
        shared.has_ended.store(true, Ordering::Release);
    }

    fn commit(&mut self) -> Result<(), CommitterError> {
        let mut round = Round::default();
        while round.events < COMMIT_EVENTS_MAX && round.bytes < COMMIT_BYTES_MAX {
            let Some(item) = self.backlog.pop_front() else {
                break;
            };
            self.add(item, &mut round)?;
        }
        self.admission.seal(self.shared.clock.now(), &mut round.writes);
        round.count();
        self.sync(&round)?;
        self.admission.committed();
        if let Some(at) = self.admission.take_scheduled() {
            self.shared.releases.added(at);
        }
        self.tell(round);
        Ok(())
    }

    fn add(&mut self, item: Item, round: &mut Round) -> Result<(), CommitterError> {
        match item {
            Item::Publish { batch, sink, credit } => {
                round.credit += credit as usize;
                self.publish(batch, sink, round)?;
            }
            Item::Writes(writes) => self.writes(writes, round)?,
            Item::Release(reply) => {
                let released = self.release(round);
                round.releases.push((reply, released));
            }
            Item::Cancel(cancel) => self.cancel(*cancel, round),
            Item::Callback(callback) => self.callback(*callback, round)?,
            Item::Open(open, reply) => round.opens.push((reply, self.open(open)?)),
            Item::Close(session) => self.admission.close(session),
            Item::Abandon(abandon) => self.admission.abandon(&abandon),
            Item::Roll { class, reply } => {
                // Whoever asked may be gone.
                let _ = reply.send(self.shared.store.begin_epoch(class)?);
            }
            Item::Trim { floor, dropped_below, until, reply } => {
                self.admission.trimmed(floor, until);
                self.admission.dropped(dropped_below, until);
                // Whoever asked may be gone; then nothing is dropped.
                let _ = reply.send(());
            }
            Item::Query { topic, source, id, reply } => {
                let state = self.query(&topic, &source, &id)?;
                round.queries.push((reply, state));
            }
        }
        Ok(())
    }

    fn publish(&mut self, batch: PublishBatch, sink: Arc<dyn ResultSink>, round: &mut Round) -> Result<(), ReadError> {
        let session = batch.session;
        if self.shared.is_disk_full.load(Ordering::Relaxed)
            && let Some(result) = self.admission.refuse(&batch, no_disk())
        {
            self.shared.counters.disk_full.add(1);
            round.result(session, sink, result);
            return Ok(());
        }
        if self.shared.backlogs.is_any()
            && let Some(full) = self.shared.backlogs.of_topic(self.shared.topics.number(&batch.topic))
            && let Some(result) = self.admission.refuse(&batch, full_backlog(&full))
        {
            self.shared.counters.backlog_full.add(1);
            round.result(session, sink, result);
            return Ok(());
        }
        let mut probe = self.admission.probe(&batch);
        for (index, query) in probe.replaces(&batch) {
            let found = self.shared.store.scheduled_of(query, REPLACED_EVENTS_MAX + 1)?;
            probe.found_replaced(index, found);
        }
        let facts = self.look_up(probe.lookups())?;
        let now = self.shared.clock.now();
        let result = self.admission.publish(now, batch, &probe, &facts, &mut round.writes);
        round.count();
        round.result(session, sink, result);
        Ok(())
    }

    fn writes(&mut self, item: Writes, round: &mut Round) -> Result<(), ReadError> {
        let committed = Committed { tail: self.admission.next() };
        if let Some(topic) = item.topic {
            self.admission.add_topic(topic);
        }
        if let Some(topic) = item.topic_gone {
            self.admission.remove_topic(&topic);
        }
        self.place(item.writes, round)?;
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
        Ok(())
    }

    /// Gives events their place and compares notes; what is left are rows.
    fn place(&mut self, writes: Vec<Write>, round: &mut Round) -> Result<(), ReadError> {
        let now = self.shared.clock.now();
        for write in writes {
            match write {
                Write::Append { topic, event } => {
                    self.admission.append(now, topic, event, &mut round.writes);
                }
                Write::Redeliver { topic, origin, is_late, event } => {
                    let copy = self.copy(origin, is_late, &event);
                    self.admission.append(now, topic, copy, &mut round.writes);
                }
                Write::Outcome { topic, subscription, hops, event } => {
                    match (self.shared.encode)(FollowUp { event: &event, hops, subscription: &subscription, now }) {
                        Ok(event) => {
                            self.admission.append(now, topic, event, &mut round.writes);
                        }
                        // Its texts are those of an event that was stored, so this is a bug of ours.
                        Err(error) => tracing::error!(%subscription, %error, "an outcome could not be told"),
                    }
                }
                Write::Timer { topic, key, event } => {
                    let query = ScheduledQuery { topic, name: ScheduledName::Key(&key) };
                    let found = self.shared.store.scheduled_of(query, TIMERS_OF_NAME_MAX)?;
                    self.admission.set_timer(now, query, found, event, &mut round.writes);
                }
                Write::Note { subscription, position, row } => self.note(subscription, position, row, round)?,
                other => round.writes.push(other),
            }
        }
        Ok(())
    }

    /// An event with what a copy of it carries.
    fn copy(&self, origin: Origin, is_late: bool, event: &Event) -> Event {
        let origin = origin.to_string();
        let attributes = [(ORIGIN_ATTRIBUTE, origin.as_str()), (LATE_ATTRIBUTE, "true")];
        let attributes = if is_late { &attributes[..] } else { &attributes[..1] };
        (self.shared.stamp)(event, attributes)
    }

    /// One batch, one sync. Nothing is written if only answers are due.
    fn sync(&self, round: &Round) -> Result<(), CommitError> {
        if round.writes.is_empty() {
            return Ok(());
        }
        let mut batch = self.shared.store.batch(round.bytes + round.bytes / 4);
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
}

/// Turns a panic of the committer (a broken invariant) into the same stop as a failed disk.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        self.0.fail("the committer found a broken invariant");
    }
}

fn no_disk() -> Refusal {
    Refusal {
        code: Code::DiskFull,
        retry_after: Some(DISK_FULL_RETRY),
        detail: "the host is short of disk space; publishing goes on when an operator has made room".to_owned(),
    }
}

fn full_backlog(subscription: &str) -> Refusal {
    Refusal {
        code: Code::Quota,
        retry_after: Some(BACKLOG_FULL_RETRY),
        detail: format!(
            "the backlog of subscription `{subscription}` is over its cap, and its policy is to refuse publishing"
        ),
    }
}
