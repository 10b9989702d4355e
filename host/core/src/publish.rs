//! What a producer's batch is and what becomes of it: the types between the door (ingress) and admission.
//!
//! Knows nothing of frames, connections or storage.

use alloc::string::String;
use alloc::vec::Vec;

use crate::code::Code;
use crate::event::Event;
use crate::ids::{Name, Position, ProducerEpoch, Sequence, SessionId, StreamId};
use crate::time::Millis;

/// Why an event or a batch was not stored. A refusal is final for this attempt: nothing of it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: Code,
    /// When another try makes sense; `None` if it never does without a change.
    pub retry_after: Option<Millis>,
    /// What was wrong and what to do, for people.
    pub detail: String,
}

/// Whether the client sends the batch for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// Never sent before: accepted whatever the age of its ids.
    First,
    /// Sent before and left in doubt: can be answered `too-old`.
    Retry,
}

/// A producer presents itself: a new session, perhaps of a producer life that began on an earlier connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The connection.
    pub session: SessionId,
    /// The producer's name.
    pub producer: Name,
    /// The life it resumes; `None` asks for a new one.
    pub epoch: Option<ProducerEpoch>,
}

/// The answer to [`OpenSession`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The life that counts sequences from now on.
    pub epoch: ProducerEpoch,
    /// Last stored sequence of each stream of that life.
    pub streams: Vec<(StreamId, Sequence)>,
}

/// One publish frame: events of one topic, in the client's call order.
#[derive(Clone, Debug)]
pub struct PublishBatch {
    /// The session it came in on (tells producer and epoch).
    pub session: SessionId,
    /// The client's stream.
    pub stream: StreamId,
    /// Its number in that stream.
    pub sequence: Sequence,
    /// First attempt or retry.
    pub attempt: Try,
    /// Topic by name.
    pub topic: Name,
    /// The events; one that the door could not accept keeps its place as a refusal.
    pub events: Vec<Result<Event, Unreadable>>,
}

/// An event that the door could not accept, with what its bytes still tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Why.
    pub refusal: Refusal,
    /// Its source; empty if it is not one of an acceptable event.
    pub source: String,
    /// Its id; empty if it is not one of an acceptable event.
    pub id: String,
    /// Its ordering key.
    pub key: TracedKey,
}

/// The ordering key of an event that could not be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TracedKey {
    /// It has none.
    None,
    /// This one.
    Known(String),
    /// The bytes do not tell; it may be any.
    Unknown,
}

/// A producer gives up a refused event, so that later events of its key may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandon {
    /// The session it comes in on, and in which the event was refused.
    pub session: SessionId,
    /// The publish stream it comes in on.
    pub stream: StreamId,
    /// Topic of the event.
    pub topic: Name,
    /// Its source, and empty where that is empty in [`Unreadable`].
    pub source: String,
    /// Its id, likewise. An event that has no whole name is found only on its own stream, together with all like it.
    pub id: String,
}

/// What became of one batch. Sent only after the commit that makes it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchResult {
    /// The client's stream.
    pub stream: StreamId,
    /// The batch's number in it.
    pub sequence: Sequence,
    /// The outcome.
    pub outcome: BatchOutcome,
}

/// See [`BatchResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// Each event is stored, a duplicate, or refused. Stored ones have consecutive offsets from `first`, in batch order,
    /// duplicates and refused ones skipped.
    Stored {
        /// Position of the first stored event; `None` if none was stored.
        first: Option<Position>,
        /// How many were stored.
        stored: u32,
        /// Index in the batch and position of the first copy.
        duplicates: Vec<(u32, Position)>,
        /// Index in the batch and why.
        refused: Vec<(u32, Refusal)>,
    },
    /// The whole batch was refused; nothing of it was stored and its sequence was not used up. Later events of its keys wait.
    Refused(Refusal),
}

/// What is known of an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdState {
    /// Stored at this position.
    Stored(Position),
    /// Not stored as far back as the window reaches.
    NotInWindow,
}
