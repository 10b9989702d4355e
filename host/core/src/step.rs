//! What a machine wants done: rows to write and, after they are durable, actions to run.
//!
//! Invariant: a driver commits the writes first and runs the actions only after the commit was synced. `immediate` holds the
//! actions that no write of the step explains (the first attempt on a fresh event); they need not wait for the disk.

mod catalog;

use alloc::string::String;
use alloc::vec::Vec;

use crate::event::{Class, Event, StoredEvent};
use crate::ids::{
    Attempt, KeyGeneration, Name, Offset, Position, ProducerEpoch, Sequence, StreamId, SubscriptionId, Ticket, TopicId,
};
use crate::import::NewEvent;
use crate::origin::Origin;
use crate::row::{
    ChannelRow, ClaimRow, CursorChunk, CursorRow, DeadRow, DeadTotals, FateRow, Forgotten, HoldRow, IdBlockRow,
    IdEntry, KvRow, LetGoRow, PausedRow, RecordRow, RunRow, ScheduledTotals, UnknownRow, UnknownTotals, WaitingRow,
};
use crate::time::{Millis, Timestamp};
pub use catalog::CatalogKind;

/// One row to write or delete. All writes of a step land in one atomic, synced batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An event with its place.
    Event(StoredEvent),
    /// A follow-up event; admission gives it its place when the batch is built.
    Append {
        /// Topic.
        topic: TopicId,
        /// Event.
        event: Event,
    },
    /// An event that says how a delivery ended. The driver encodes it as it does follow-ups; admission gives it its place when the
    /// batch is built.
    Outcome {
        /// The topic of outcomes.
        topic: TopicId,
        /// Whose delivery it was.
        subscription: Name,
        /// Events in a row that came of each other, this one included.
        hops: u32,
        /// The event; its `id` is set.
        event: NewEvent,
    },
    /// A copy of an event into a private topic. The driver gives it the attributes that say where it comes from; admission gives
    /// it its place when the batch is built.
    Redeliver {
        /// The private topic of the subscription that gets it.
        topic: TopicId,
        /// The delivery it continues.
        origin: Origin,
        /// Whether it is a replay: it comes out of order.
        is_late: bool,
        /// The event as it was.
        event: Event,
    },
    /// Last stored sequence of a producer's stream.
    ProducerSequence {
        /// Producer.
        producer: Name,
        /// Its life.
        epoch: ProducerEpoch,
        /// Its stream.
        stream: StreamId,
        /// Last stored batch.
        sequence: Sequence,
    },
    /// A timer of a plugin is set, or ended: the driver of the committer reads what waits of it and asks
    /// [`crate::admission::Admission::set_timer`].
    Timer {
        /// The private topic of its subscription.
        topic: TopicId,
        /// Its ordering key.
        key: String,
        /// What it becomes; `None` ends it.
        event: Option<Event>,
    },
    /// The cursor's floor.
    Cursor {
        /// Subscription.
        subscription: SubscriptionId,
        /// Class whose cursor it is.
        class: Class,
        /// Floor.
        row: CursorRow,
    },
    /// Settled offsets above the floor; `None` deletes a chunk that lies wholly below it.
    Chunk {
        /// Subscription.
        subscription: SubscriptionId,
        /// Class whose cursor it is.
        class: Class,
        /// Chunk number: offset / [`crate::row::CHUNK_OFFSETS`].
        chunk: u64,
        /// Bits, or delete.
        row: Option<CursorChunk>,
    },
    /// A delivery that waits; `None` deletes the row (it was settled).
    Waiting {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        offset: Offset,
        /// Row, or delete.
        row: Option<WaitingRow>,
    },
    /// A lane kept closed; `None` opens it.
    Hold {
        /// Subscription.
        subscription: SubscriptionId,
        /// Ordering key.
        key: String,
        /// Class.
        class: Class,
        /// Row, or delete.
        row: Option<HoldRow>,
    },
    /// A dead letter.
    Dead {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
        /// Row.
        row: DeadRow,
    },
    /// A dead letter that is removed.
    DeadGone {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
    },
    /// The dead letters of a subscription in numbers.
    DeadTotals {
        /// Subscription.
        subscription: SubscriptionId,
        /// Row.
        row: DeadTotals,
    },
    /// A delivery parked for a decision, or decided about.
    Unknown {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
        /// Row.
        row: UnknownRow,
    },
    /// An unknown result that is removed.
    UnknownGone {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
    },
    /// The unknown results of a subscription in numbers.
    UnknownTotals {
        /// Subscription.
        subscription: SubscriptionId,
        /// Row.
        row: UnknownTotals,
    },
    /// A dedup claim; `None` frees it.
    Claim {
        /// Scope: a subscription or a named channel.
        scope: Name,
        /// Business key.
        key: String,
        /// Row, or delete.
        row: Option<ClaimRow>,
    },
    /// A kv entry.
    Kv {
        /// Store name (the subscription's name, unless a shared store is granted).
        store: Name,
        /// Key.
        key: String,
        /// Row with its version, or delete.
        row: Option<KvRow>,
    },
    /// A send record.
    Record {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
        /// Row.
        row: RecordRow,
    },
    /// What a plugin noted of a send where providers call back. The driver of the committer compares it with the record as it is, with
    /// [`crate::callback::noted`], and writes a [`Write::Record`] or nothing.
    Note {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
        /// Row.
        row: RecordRow,
    },
    /// A state of a send record that is old enough to be removed.
    RecordGone {
        /// Subscription.
        subscription: SubscriptionId,
        /// Event.
        position: Position,
        /// The state, as it was written.
        row: RecordRow,
        /// What goes with it.
        forgotten: Forgotten,
    },
    /// A definition (topic, subscription, plugin revision, ...): opaque bytes of the server, which owns their form.
    Catalog {
        /// What kind of definition.
        kind: CatalogKind,
        /// Its name or number.
        key: String,
        /// Definition, or delete.
        value: Option<Vec<u8>>,
    },
    /// A part of a block of the publish-id window that is being sealed; counts only once the block's row is there.
    IdChunk {
        /// The block.
        block: u64,
        /// Which part: the ids are divided evenly by hash.
        chunk: u32,
        /// First event of the block.
        first: Offset,
        /// Sorted by hash.
        ids: Vec<IdEntry>,
    },
    /// The last row of a sealed block; `None` drops the block with its chunks.
    IdBlock {
        /// The block.
        block: u64,
        /// Row, or delete.
        row: Option<IdBlockRow>,
    },
    /// Deletes the waiting rows of a run of offsets.
    WaitingRange {
        /// Subscription.
        subscription: SubscriptionId,
        /// First offset.
        from: Offset,
        /// The offset after the last one.
        to: Offset,
    },
    /// How an operator has a subscription run; `None`: as usual.
    Run {
        /// Subscription.
        subscription: SubscriptionId,
        /// Row, or delete.
        row: Option<RunRow>,
    },
    /// A run of the log that a subscription let go of.
    LetGo {
        /// Subscription.
        subscription: SubscriptionId,
        /// Row.
        row: LetGoRow,
    },
    /// Everything of a subscription that ends with it: cursor, waiting rows, holds, marks, dead letters, parked deliveries, and
    /// the claims and kv entries under its name. Send records stay.
    Forget {
        /// Subscription.
        subscription: SubscriptionId,
        /// Its name.
        name: Name,
    },
    /// A scheduled event that waits for its time from here on, with the rows by which it is found.
    Scheduled(StoredEvent),
    /// A scheduled event waits no more: its rows go, and what became of it is kept.
    ScheduleEnded {
        /// The event.
        event: StoredEvent,
        /// What became of it.
        row: FateRow,
    },
    /// The scheduled events of a topic in numbers.
    ScheduledTotals {
        /// Topic.
        topic: TopicId,
        /// Row.
        row: ScheduledTotals,
    },
    /// Forgets what became of scheduled events whose places left the log.
    FatesBelow {
        /// The log's floor.
        floor: Offset,
    },
    /// State of a subscription's channel; `None` forgets it.
    Channel {
        /// Subscription.
        subscription: SubscriptionId,
        /// Row, or delete.
        row: Option<ChannelRow>,
    },
    /// Pause mark of a subscription; `None` resumes it.
    Paused {
        /// Subscription.
        subscription: SubscriptionId,
        /// Row, or delete.
        row: Option<PausedRow>,
    },
}

impl Write {
    /// The subscription whose row it is; `None` for the log, what producers and guests keep, and definitions.
    #[must_use]
    pub fn subscription(&self) -> Option<SubscriptionId> {
        match self {
            Write::Cursor { subscription, .. }
            | Write::Chunk { subscription, .. }
            | Write::Waiting { subscription, .. }
            | Write::Hold { subscription, .. }
            | Write::Paused { subscription, .. }
            | Write::WaitingRange { subscription, .. }
            | Write::Run { subscription, .. }
            | Write::LetGo { subscription, .. }
            | Write::Forget { subscription, .. }
            | Write::Channel { subscription, .. }
            | Write::Dead { subscription, .. }
            | Write::DeadGone { subscription, .. }
            | Write::DeadTotals { subscription, .. }
            | Write::Unknown { subscription, .. }
            | Write::UnknownGone { subscription, .. }
            | Write::UnknownTotals { subscription, .. }
            | Write::Record { subscription, .. }
            | Write::Note { subscription, .. }
            | Write::RecordGone { subscription, .. } => Some(*subscription),
            Write::Event(_)
            | Write::Append { .. }
            | Write::Outcome { .. }
            | Write::Redeliver { .. }
            | Write::Timer { .. }
            | Write::ProducerSequence { .. }
            | Write::Claim { .. }
            | Write::Kv { .. }
            | Write::Catalog { .. }
            | Write::Scheduled(_)
            | Write::ScheduleEnded { .. }
            | Write::ScheduledTotals { .. }
            | Write::FatesBelow { .. }
            | Write::IdChunk { .. }
            | Write::IdBlock { .. } => None,
        }
    }
}

/// What the driver of a subscription does for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read events of the log from here on and hand them in as `Input::Events`, with this `from`, as soon as there is at least one
    /// offset to tell of. It replaces an earlier read that was not answered yet.
    Read {
        /// First wanted offset.
        from: Offset,
        /// At most this many events.
        events_max: u32,
    },
    /// Call the plugin for this delivery. If its event cannot be had, say so with `Input::Fetched` and no event.
    Invoke(Invocation),
    /// Read the row of this waiting delivery and its event, and hand both in as `Input::Loaded`.
    Load(Load),
    /// Get the event of this delivery and hand it in as `Input::Fetched`; call no plugin. The machine then disposes of the
    /// delivery with the event in hand.
    Fetch(Invocation),
    /// The lease ran out: stop the call if it still runs; its end will be ignored.
    Cancel {
        /// The lapsed lease.
        ticket: Ticket,
    },
    /// Say to operators that a key waits, and until when.
    Stuck {
        /// Its event.
        position: Position,
        /// How it is stuck.
        how: Stuck,
    },
    /// Show these rows to the machine, oldest place first, until it says that it is enough.
    Trim(Kept),
    /// Say to operators that the subscription paused.
    Paused {
        /// Why.
        reason: String,
    },
    /// The backlog is over its cap, or no more: publishing to the subscription's topics is refused meanwhile.
    BacklogFull {
        /// Over it.
        is_full: bool,
    },
    /// Say to operators that the oldest of the backlog expired.
    Expired {
        /// How many offsets.
        events: u64,
        /// All of them below this one.
        below: Offset,
    },
}

/// Rows that are kept for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Dead letters.
    Dead,
    /// Unknown results.
    Unknown,
}

/// How a key is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Its head used up its attempts and goes on being tried.
    Blocked,
    /// Its head waits for a person.
    Parked,
}

/// One attempt to start, or one delivery whose event is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The lease.
    pub ticket: Ticket,
    /// Which event; the driver has it from the read that brought it, or reads it again.
    pub position: Position,
    /// Which try.
    pub attempt: Attempt,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// How much lease it has.
    pub lease: Millis,
    /// The plugin broke in the attempt before: run this one on an instance that has run nothing else.
    pub wants_fresh: bool,
    /// The call of the plugin that it may share with others.
    pub batch: Option<Batch>,
    /// Set for a delivery that a person had tried again in its place: its event is that of its dead letter, and its idempotency
    /// key has this generation.
    pub letter: Option<KeyGeneration>,
    /// Set if the plugin is to be asked about a claim that was left uncertain, before it is given: how the attempt before ended, as
    /// far as that is known.
    pub asks: Option<String>,
}

/// A place in a call that several deliveries share. A driver hands those with the same `first` that it has at the same time to the
/// plugin together; it need not wait for the others, and may make several calls of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Ticket of the first of them.
    pub first: Ticket,
    /// How many came before this one.
    pub place: u32,
}

/// Number of a load, for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadNumber(pub u64);

/// One waiting delivery to bring back from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// To be told with the answer.
    pub number: LoadNumber,
    /// Which event.
    pub position: Position,
}

/// The result of one or several inputs to a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Rows of one atomic batch.
    pub writes: Vec<Write>,
    /// Run after the writes are durable.
    pub actions: Vec<Action>,
    /// Run at once: no write of this step explains them.
    pub immediate: Vec<Action>,
}

impl Step {
    /// Nothing to write and nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.actions.is_empty() && self.immediate.is_empty()
    }
}
