//! The queue in front of the committer: everything that wants to be in a commit, in the order in which it must be there.
//!
//! Publishing waits for byte credit, which is the host's back-pressure; steps, confirms and admin writes do not wait, since each
//! worker has at most a few steps outstanding and each call one. Knows nothing of what the committer does with an item.
//!
//! Invariant: items leave in the order of their pushes; after `close` nothing enters and what is inside is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bugle_core::admission::Released;
use bugle_core::ids::{Name, Offset, SessionId, SubscriptionId};
use bugle_core::ledger::LedgerStep;
use bugle_core::publish::{Abandon, BatchResult, IdState, OpenSession, Opened, PublishBatch};
use bugle_core::retention::KeepClass;
use bugle_core::spec::Topic;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;
use tokio::sync::{Semaphore, oneshot};

use crate::committer::{Callback, Cancel};
use crate::worker::Inbox;

/// Bytes of published events that may wait for the committer: about a tenth of a second of the fastest ingest measured, and
/// far more than one commit takes.
pub const PUBLISH_BYTES_MAX: usize = 16 << 20;
/// What an event counts beside its bytes.
const EVENT_OVERHEAD_BYTES: usize = 192;

/// Gets the results of a session's batches.
pub trait ResultSink: Send + Sync + 'static {
    /// The results of one commit, in the order of the batches. Called on the committer's thread: it must not block.
    fn deliver(&self, results: Vec<BatchResult>);
}

/// Something for the next commit.
pub(crate) enum Item {
    /// A producer's batch.
    Publish { batch: PublishBatch, sink: Arc<dyn ResultSink>, credit: u32 },
    /// Rows of a machine's step, of a call or of an operator, in one atomic batch.
    Writes(Writes),
    /// A producer presents itself.
    Open(OpenSession, oneshot::Sender<Opened>),
    /// Scheduled events are due.
    Release(oneshot::Sender<Released>),
    /// An operator cancels scheduled events.
    Cancel(Box<Cancel>),
    /// A provider tells what became of what was sent.
    Callback(Box<Callback>),
    /// A connection ended.
    Close(SessionId),
    /// A producer gives up a refused event.
    Abandon(Abandon),
    /// Was this id stored?
    Query { topic: Name, source: String, id: String, reply: oneshot::Sender<Option<IdState>> },
    /// Some events below `dropped_below`, none accepted after `until`, are about to leave the log, and all below `floor`: their ids
    /// are forgotten.
    Trim { floor: Offset, dropped_below: Offset, until: Timestamp, reply: oneshot::Sender<()> },
    /// The next event of this retention begins a new epoch.
    Roll { class: KeepClass, reply: oneshot::Sender<bool> },
}

/// See [`Item::Writes`].
#[derive(Default)]
pub(crate) struct Writes {
    pub(crate) writes: Vec<Write>,
    /// The ledger step they belong to.
    pub(crate) ledger: Option<LedgerStep>,
    /// A topic that exists from this commit on.
    pub(crate) topic: Option<Topic>,
    /// A topic that is gone from this commit on.
    pub(crate) topic_gone: Option<Name>,
    /// A subscription whose cursor starts behind the last event before this item.
    pub(crate) cursor_at_tail: Option<SubscriptionId>,
    pub(crate) done: Done,
}

/// Who is told that an item is durable.
#[derive(Default)]
pub(crate) enum Done {
    #[default]
    Nobody,
    /// A worker's step: it counts them.
    Worker(Arc<Inbox>),
    /// A caller that waits.
    Caller(oneshot::Sender<Committed>),
}

/// Told to a caller whose writes are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The offset after the last event before the item.
    pub(crate) tail: Offset,
}

/// The host's store failed or the host stopped; what was on the way is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the committer has stopped; what was on the way is unknown, ask again after a restart")]
pub struct Stopped;

/// See the module.
pub(crate) struct Queue {
    inside: Mutex<Inside>,
    filled: Condvar,
    credit: Semaphore,
}

#[derive(Default)]
struct Inside {
    items: VecDeque<Item>,
    is_waiting: bool,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue { inside: Mutex::default(), filled: Condvar::new(), credit: Semaphore::new(PUBLISH_BYTES_MAX) }
    }

    /// Waits for credit, then queues the batch. Dropped while it waits, nothing was queued.
    pub(crate) async fn publish(&self, batch: PublishBatch, sink: Arc<dyn ResultSink>) -> Result<(), Stopped> {
        let credit = cost(&batch);
        let permit = match self.credit.try_acquire_many(credit) {
            Ok(permit) => permit,
            Err(_) => self.credit.acquire_many(credit).await.map_err(|_| Stopped)?,
        };
        self.push(Item::Publish { batch, sink, credit })?;
        permit.forget();
        Ok(())
    }

    /// Queues an item that does not wait for credit.
    pub(crate) fn push(&self, item: Item) -> Result<(), Stopped> {
        let mut inside = self.lock();
        if inside.is_closed {
            return Err(Stopped);
        }
        inside.items.push_back(item);
        let wake = inside.is_waiting;
        drop(inside);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves everything queued to the end of `into`; waits for something if both are empty. False once closed and empty.
    pub(crate) fn drain(&self, into: &mut VecDeque<Item>) -> bool {
        let mut inside = self.lock();
        if into.is_empty() && inside.items.is_empty() && !inside.is_closed {
            inside.is_waiting = true;
            inside = self
                .filled
                .wait_while(inside, |inside| inside.items.is_empty() && !inside.is_closed)
                .unwrap_or_else(PoisonError::into_inner);
            inside.is_waiting = false;
        }
        if into.is_empty() {
            std::mem::swap(into, &mut inside.items);
        } else {
            into.append(&mut inside.items);
        }
        !(inside.is_closed && into.is_empty())
    }

    /// Gives back the credit of batches that were committed.
    pub(crate) fn give_back(&self, credit: usize) {
        self.credit.add_permits(credit);
    }

    /// Nothing enters any more; what is inside is still drained.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.credit.close();
        self.filled.notify_one();
    }

    /// Drops everything inside: whoever waits learns that the outcome is unknown.
    pub(crate) fn fail(&self) {
        self.close();
        let dropped = std::mem::take(&mut self.lock().items);
        drop(dropped);
    }

    /// Items inside and bytes of credit in use.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let used = PUBLISH_BYTES_MAX.saturating_sub(self.credit.available_permits());
        (self.lock().items.len(), used)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a batch counts: its events' bytes and an overhead each. A batch over the whole bound waits until the queue is empty.
fn cost(batch: &PublishBatch) -> u32 {
    let bytes: usize = batch
        .events
        .iter()
        .map(|event| match event {
            Ok(event) => event.bytes().len(),
            Err(unreadable) => unreadable.source.len() + unreadable.id.len() + unreadable.refusal.detail.len(),
        })
        .map(|bytes| bytes + EVENT_OVERHEAD_BYTES)
        .sum();
    u32::try_from(bytes.min(PUBLISH_BYTES_MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use bugle_core::ids::{Sequence, StreamId};
    use bugle_core::publish::Try;

    struct NoSink;
    impl ResultSink for NoSink {
        fn deliver(&self, _results: Vec<BatchResult>) {}
    }

    fn batch(bytes: usize) -> PublishBatch {
        PublishBatch {
            session: SessionId(1),
            stream: StreamId(1),
            sequence: Sequence(1),
            attempt: Try::First,
            topic: Name::from("t"),
            events: vec![Ok(event("1", None, &"x".repeat(bytes)))],
        }
    }

    #[tokio::test]
    async fn publishing_waits_for_credit_and_steps_do_not() {
        let queue = Queue::new();
        let sink: Arc<dyn ResultSink> = Arc::new(NoSink);
        queue.publish(batch(PUBLISH_BYTES_MAX), Arc::clone(&sink)).await.unwrap();
        let second = queue.publish(batch(10), Arc::clone(&sink));
        tokio::pin!(second);
        assert!(futures_pending(&mut second).await);
        queue.push(Item::Close(SessionId(1))).unwrap();
        let mut drained = VecDeque::new();
        assert!(queue.drain(&mut drained));
        assert_eq!(drained.len(), 2);
        queue.give_back(PUBLISH_BYTES_MAX);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_queue_turns_everybody_away() {
        let queue = Queue::new();
        let (reply, answer) = oneshot::channel();
        queue.push(Item::Writes(Writes { done: Done::Caller(reply), ..Writes::default() })).unwrap();
        queue.fail();
        assert!(answer.await.is_err());
        assert_eq!(queue.publish(batch(1), Arc::new(NoSink)).await, Err(Stopped));
        assert_eq!(queue.push(Item::Close(SessionId(1))), Err(Stopped));
        assert!(!queue.drain(&mut VecDeque::new()));
    }

    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
