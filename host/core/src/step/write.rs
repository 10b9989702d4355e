//! The rows that a step writes, of every kind there is.
//!
//! Holds no decision. Invariant: a row is a result, so writing it again changes nothing.

use alloc::string::String;
use alloc::vec::Vec;

use super::CatalogKind;
use crate::event::{Class, Event, StoredEvent};
use crate::ids::{Name, Offset, Position, ProducerEpoch, Sequence, StreamId, SubscriptionId, TopicId};
use crate::import::NewEvent;
use crate::origin::Origin;
use crate::row::{
    ChannelRow, ClaimRow, CursorChunk, CursorRow, DeadRow, DeadTotals, Expiring, ExpiryEntry, FateRow, Forgotten,
    HoldRow, IdBlockRow, IdEntry, KvRow, LateEntry, LetGoRow, PausedRow, RecordRow, RunRow, ScheduledTotals, Second,
    UnknownRow, UnknownTotals, WaitingRow, WindowMark,
};
use crate::time::Timestamp;

/// One row to write or delete. All writes of a step land in one atomic, synced batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An event with its place.
    Event(StoredEvent),
    /// What is left of an event, in its old place ([`Event::is_erased`]).
    Erased(StoredEvent),
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
    /// An entry of the index of records that nothing followed was looked at, and its record has moved on.
    LateGone(LateEntry),
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
    /// A weak claim is done and remembered in the window of its scope.
    Window {
        /// Scope.
        scope: Name,
        /// Row.
        mark: WindowMark,
    },
    /// The beginning of a scope's window has ended, this mark and all that end before it.
    WindowEnded {
        /// Scope.
        scope: Name,
        /// End of the last mark that goes.
        expires: Timestamp,
        /// Its number.
        number: u64,
    },
    /// An entry of the index of rows that end by time was looked at.
    ExpiryGone(ExpiryEntry),
    /// All entries of a kind below this second were.
    ExpiriesBelow {
        /// Of which rows.
        of: Expiring,
        /// The first second that stays.
        below: Second,
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
            | Write::RecordGone { subscription, .. }
            | Write::LateGone(LateEntry { subscription, .. }) => Some(*subscription),
            Write::Event(_)
            | Write::Erased(_)
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
            | Write::Window { .. }
            | Write::WindowEnded { .. }
            | Write::ExpiryGone(_)
            | Write::ExpiriesBelow { .. }
            | Write::IdChunk { .. }
            | Write::IdBlock { .. } => None,
        }
    }
}
