//! What a subscription's worker is told, and how it is woken: one inbox, one wake-up for any number of messages.
//!
//! Bounded without a limit of its own: each live call sends at most one end and has at most one request open, each outstanding
//! read one answer, and operators wait for theirs. Knows nothing of what the worker does with a message.
//!
//! Invariant: a message pushed before `wake` is seen by the worker's next `take`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_core::attempt::{ClaimEnd, Settlement, Transaction};
use bugle_core::delivery::Verdict;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{ClaimId, Offset, Revision, Ticket, TopicId};
use bugle_core::row::{DeadRow, UnknownRow, WaitingRow};
use bugle_core::spec;
use bugle_core::step::{Kept, LoadNumber, Write};
use bugle_core::subscription::{
    Answer, DecideError, Decision, KeptFacts, LateSends, Question, Resolution, ResolveError, Resolved, Status, Trimmed,
};
use bugle_core::time::Millis;
use tokio::sync::{Notify, oneshot};

use super::pace::Pace;
use super::payloads::Page;

/// A worker that waits at the tail is woken for events of topics it does not cover only when this many have passed: its cursor
/// must move on, or it would hold the log and fall out of the ring.
const FOREIGN_OFFSETS_MAX: u64 = 16_384;

/// The end of a call.
pub(crate) struct Ended {
    pub(crate) ticket: Ticket,
    pub(crate) event: StoredEvent,
    pub(crate) verdict: Verdict,
    pub(crate) hold: Option<Millis>,
    pub(crate) pause: Option<String>,
    /// `None` for a call that left nothing to commit but its verdict, which is most of them.
    pub(crate) effects: Option<Box<Effects>>,
}

/// What a call leaves to commit with its settlement.
pub(crate) struct Effects {
    /// kv changes and reads; its follow-ups and records are in `writes` already.
    pub(crate) kv: Transaction,
    /// Rows that need no ledger, kept on an ack only.
    pub(crate) writes: Vec<Write>,
    /// Send records, kept on every verdict.
    pub(crate) records: Vec<Write>,
    pub(crate) confirms: Vec<ClaimId>,
    pub(crate) releases: Vec<ClaimEnd>,
    /// The plugin revision of a call that did not succeed, for the history of its delivery.
    pub(crate) revision: Option<Revision>,
    /// The call was stopped while it opened a claim: give back whatever the ledger still holds for the ticket.
    pub(crate) has_stray_claim: bool,
    /// The guest waits to hear what became of its verdict, once that is durable.
    pub(crate) reply: Option<oneshot::Sender<Settlement>>,
}

impl Effects {
    /// Whether the ledger has a part in it, so that it must be committed in the ledger's order.
    pub(crate) fn need_ledger(&self) -> bool {
        !self.kv.kv.is_empty()
            || !self.kv.reads.is_empty()
            || !self.confirms.is_empty()
            || !self.releases.is_empty()
            || self.has_stray_claim
    }
}

/// A waiting delivery that was read from the store: its row and its event.
pub(crate) type Loaded = (LoadNumber, Option<(WaitingRow, StoredEvent)>);

/// Something for the worker.
#[expect(
    clippy::large_enum_variant,
    reason = "the largest is the one of every call, and a box would be an allocation each"
)]
pub(crate) enum Message {
    Ended(Ended),
    Extend {
        ticket: Ticket,
        by: Millis,
        reply: oneshot::Sender<Option<Millis>>,
    },
    Waiting {
        ticket: Ticket,
        reply: oneshot::Sender<Option<u32>>,
    },
    /// A read of the store came back.
    Read(Page),
    /// Single events came back, as after so many erasures; one that the store has no more is left out.
    Fetched(Vec<Ticket>, Vec<StoredEvent>, u64),
    /// Single events could not be read.
    FetchFailed(Vec<Ticket>, String),
    /// Waiting deliveries came back; of one that the store has not all of, there is none.
    Loaded(Vec<Loaded>),
    /// A read of the store failed; say it and stop.
    ReadFailed(String),
    /// Decisions of a person about dead letters, as they are on disk.
    Decide(Box<Decide>),
    /// What a person says of unknown results, as they are on disk.
    Resolve(Box<Resolve>),
    /// Records that nothing followed in time, as they are on disk.
    Late(Box<Late>),
    /// Unknown results to remove for good, as they are on disk; answered when that is durable.
    EraseUnknown(Vec<UnknownRow>, oneshot::Sender<()>),
    /// A page of rows to trim, oldest place first; what was removed, and the answer when that is durable.
    Trim {
        kept: Kept,
        page: Vec<KeptFacts>,
        is_last: bool,
        trimmed: oneshot::Sender<Trimmed>,
        done: oneshot::Sender<()>,
    },
    /// With rows of the same batch, such as the audit row.
    Operator(Operator, Vec<Write>, oneshot::Sender<()>),
    Status(oneshot::Sender<(Status, Pace)>),
    /// Why something does not move.
    Explain(Box<Question>, oneshot::Sender<Box<Answer>>),
    /// Start no more calls; answer when none is in flight and everything is committed.
    Drain(oneshot::Sender<()>),
    /// End now.
    Stop,
}

/// See [`Message::Decide`].
pub(crate) struct Decide {
    pub(crate) letters: Vec<(DeadRow, Decision)>,
    /// Rows of the same batch, if at least one decision is carried out.
    pub(crate) also: Vec<Write>,
    /// One answer for each, before they are durable.
    pub(crate) decided: oneshot::Sender<Vec<Result<(), DecideError>>>,
    /// They are durable.
    pub(crate) done: oneshot::Sender<()>,
}

/// See [`Message::Late`].
pub(crate) struct Late {
    pub(crate) sends: Vec<LateSends>,
    /// What was decided is durable.
    pub(crate) done: oneshot::Sender<()>,
}

/// See [`Message::Resolve`].
pub(crate) struct Resolve {
    pub(crate) rows: Vec<UnknownRow>,
    pub(crate) resolution: Resolution,
    /// What the person says of it.
    pub(crate) remark: String,
    /// Rows of the same batch, if at least one row changes.
    pub(crate) also: Vec<Write>,
    /// One answer for each, before they are durable.
    pub(crate) resolved: oneshot::Sender<Vec<Result<Resolved, ResolveError>>>,
    /// They are durable.
    pub(crate) done: oneshot::Sender<()>,
}

/// What an operator asks of a subscription; answered when it is durable.
pub(crate) enum Operator {
    Pause {
        by: String,
        reason: String,
    },
    Resume,
    /// The cause of an open breaker may be gone.
    Probe,
    Reconfigure(Box<spec::Subscription>),
    Drain,
    Boost {
        factor: u32,
    },
    Seek {
        to: Offset,
    },
    Cover(TopicId),
}

/// See the module.
pub(crate) struct Inbox {
    /// [`spec::Subscription::late_after`] in ms; 0 for none.
    late_after: AtomicU64,
    messages: Mutex<Vec<Message>>,
    wake: Notify,
    /// Steps of this worker that are durable.
    committed: AtomicU64,
    tail: Mutex<Tail>,
    is_at_tail: AtomicBool,
    /// The worker shall look at its backlog.
    shall_look: AtomicBool,
    /// The worker is gone: messages are dropped, so that whoever waits for an answer learns it.
    is_closed: AtomicBool,
}

/// Where the worker waits for new events, and which.
struct Tail {
    from: Offset,
    topics: Vec<TopicId>,
}

impl Inbox {
    pub(crate) fn new(topics: Vec<TopicId>) -> Inbox {
        Inbox {
            late_after: AtomicU64::new(0),
            messages: Mutex::default(),
            wake: Notify::new(),
            committed: AtomicU64::new(0),
            tail: Mutex::new(Tail { from: Offset(0), topics }),
            is_at_tail: AtomicBool::new(false),
            shall_look: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// How long what was sent may stay without a word of its provider, by the definition that is in force.
    pub(crate) fn late_after(&self) -> Option<Millis> {
        Some(Millis(self.late_after.load(Ordering::Relaxed))).filter(|after| after.0 > 0)
    }

    pub(crate) fn set_late_after(&self, late_after: Option<Millis>) {
        self.late_after.store(late_after.map_or(0, |after| after.0), Ordering::Relaxed);
    }

    /// Adds a message and wakes the worker.
    pub(crate) fn push(&self, message: Message) {
        self.push_all(std::iter::once(message));
    }

    /// Adds messages, so that the worker takes them together, and wakes it.
    pub(crate) fn push_all(&self, added: impl IntoIterator<Item = Message>) {
        let mut messages = self.lock();
        if self.is_closed.load(Ordering::Relaxed) {
            drop(messages);
            drop(added);
            return;
        }
        let is_first = messages.is_empty();
        messages.extend(added);
        drop(messages);
        // The others ride on the wake-up of the first: the worker takes all of them.
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Moves all messages to the end of `into`.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        into.append(&mut self.lock());
    }

    /// The worker ends: drops what is inside and whatever comes.
    pub(crate) fn close(&self) {
        let mut messages = self.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        let dropped = std::mem::take(&mut *messages);
        drop(messages);
        drop(dropped);
    }

    /// Waits for a reason to look again. Cancel safe: a wake-up is kept for the next call.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A step of this worker is durable.
    pub(crate) fn step_done(&self) {
        self.committed.fetch_add(1, Ordering::Release);
        self.wake.notify_one();
    }

    /// Steps durable so far.
    pub(crate) fn steps_done(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// The worker has read up to `from` and wants to be woken by events of its topics. It must look at the ring once more
    /// after this call.
    pub(crate) fn wait_at(&self, from: Offset) {
        self.tail().from = from;
        self.is_at_tail.store(true, Ordering::SeqCst);
    }

    /// Has the worker look at its backlog.
    pub(crate) fn look(&self) {
        self.shall_look.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether it shall, once.
    pub(crate) fn take_look(&self) -> bool {
        self.shall_look.swap(false, Ordering::AcqRel)
    }

    /// The topics it covers.
    pub(crate) fn covered(&self) -> Vec<TopicId> {
        self.tail().topics.clone()
    }

    /// The topics changed.
    pub(crate) fn cover(&self, topics: Vec<TopicId>) {
        self.tail().topics = topics;
    }

    /// Events were committed, up to `end`, of these topics.
    pub(crate) fn offer(&self, topics: &[TopicId], end: Offset) {
        if !self.is_at_tail.load(Ordering::SeqCst) {
            return;
        }
        let tail = self.tail();
        let wanted = topics.iter().any(|topic| tail.topics.contains(topic))
            || end.0.saturating_sub(tail.from.0) > FOREIGN_OFFSETS_MAX;
        if wanted && end > tail.from {
            self.is_at_tail.store(false, Ordering::SeqCst);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_inbox_leaves_nobody_waiting() {
        let inbox = Inbox::new(Vec::new());
        let (before, answer_before) = oneshot::channel();
        inbox.push(Message::Status(before));
        inbox.close();
        let (after, answer_after) = oneshot::channel();
        inbox.push(Message::Status(after));
        assert!(answer_before.await.is_err());
        assert!(answer_after.await.is_err());
    }

    async fn is_woken(inbox: &Inbox) -> bool {
        let woken = inbox.woken();
        tokio::pin!(woken);
        std::future::poll_fn(|context| std::task::Poll::Ready(woken.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn wakes_at_the_tail_only_for_its_topics() {
        let inbox = Inbox::new(vec![TopicId(1)]);
        inbox.offer(&[TopicId(1)], Offset(5));
        assert!(!is_woken(&inbox).await, "it does not wait at the tail");
        inbox.wait_at(Offset(5));
        inbox.offer(&[TopicId(2)], Offset(9));
        assert!(!is_woken(&inbox).await);
        inbox.offer(&[TopicId(2), TopicId(1)], Offset(9));
        assert!(is_woken(&inbox).await);
        inbox.offer(&[TopicId(1)], Offset(10));
        assert!(!is_woken(&inbox).await, "one wake-up until it waits again");
    }

    #[tokio::test]
    async fn foreign_events_wake_it_at_last_so_that_the_cursor_moves() {
        let inbox = Inbox::new(vec![TopicId(1)]);
        inbox.wait_at(Offset(0));
        inbox.offer(&[TopicId(2)], Offset(FOREIGN_OFFSETS_MAX));
        assert!(!is_woken(&inbox).await);
        inbox.offer(&[TopicId(2)], Offset(FOREIGN_OFFSETS_MAX + 1));
        assert!(is_woken(&inbox).await);
    }

    #[tokio::test]
    async fn many_messages_are_one_wake_up() {
        let inbox = Inbox::new(Vec::new());
        inbox.push(Message::Stop);
        inbox.push(Message::Stop);
        assert!(is_woken(&inbox).await);
        let mut messages = Vec::new();
        inbox.take(&mut messages);
        assert_eq!(messages.len(), 2);
        assert!(!is_woken(&inbox).await);
    }
}
