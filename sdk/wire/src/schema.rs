//! The messages of `proto/bugle.proto` as Rust types, written by hand so that no build needs protoc.
//!
//! Knows field numbers and nothing else. `Publish` is not here: it is walked without copying, in `publish.rs`.
//!
//! The invariant: every field has the number and type of the `.proto` text; `tests/schema.rs` compares the two.

use crate::code::Code;
use crate::position::Position;

/// First frame of the control stream, client to host.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// Protocol versions spoken, best first.
    #[prost(uint32, repeated, tag = "1")]
    pub versions: Vec<u32>,
    /// Name and version of the client library, for logs.
    #[prost(string, tag = "2")]
    pub client: String,
    /// Stable name of the producer.
    #[prost(string, tag = "3")]
    pub producer: String,
    /// Producer group, may be empty.
    #[prost(string, tag = "4")]
    pub group: String,
    /// Epoch to resume; absent to begin a new one.
    #[prost(uint64, optional, tag = "5")]
    pub epoch: Option<u64>,
    /// Bearer token, empty when the host asks for none.
    #[prost(string, tag = "6")]
    pub token: String,
}

/// The host accepts the session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Welcome {
    /// Version chosen from `Hello.versions`.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Number of the session, for logs on both sides.
    #[prost(uint64, tag = "2")]
    pub session: u64,
    /// Epoch that counts sequences from now on.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// Identity of the store.
    #[prost(bytes = "bytes", tag = "4")]
    pub incarnation: bytes::Bytes,
    /// What the client must stay within.
    #[prost(message, optional, tag = "5")]
    pub limits: Option<Limits>,
    /// Last sequence decided, per publish stream of the epoch.
    #[prost(message, repeated, tag = "6")]
    pub streams: Vec<StreamPosition>,
}

/// Bounds of a session.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Limits {
    /// Longest frame.
    #[prost(uint32, tag = "1")]
    pub frame_bytes: u32,
    /// Longest event.
    #[prost(uint32, tag = "2")]
    pub event_bytes: u32,
    /// Publish bytes without receipt before the host stops reading.
    #[prost(uint32, tag = "3")]
    pub credit_bytes: u32,
    /// Most events of one batch.
    #[prost(uint32, tag = "4")]
    pub batch_events: u32,
    /// Publish streams open at once.
    #[prost(uint32, tag = "5")]
    pub streams: u32,
}

/// How far a publish stream has come.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StreamPosition {
    /// The client's number of the stream.
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    /// Its last sequence.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
}

/// The host does not accept the session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    /// Why; see [`Code`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub detail: String,
    /// Present when trying again can help.
    #[prost(uint64, optional, tag = "3")]
    pub retry_after_ms: Option<u64>,
}

/// What became of the batches that one commit decided.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Receipts {
    /// One for each batch.
    #[prost(message, repeated, tag = "1")]
    pub receipts: Vec<Receipt>,
}

/// What became of one batch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Receipt {
    /// The batch's stream.
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    /// The batch's sequence.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Slot of the new events.
    #[prost(uint32, tag = "3")]
    pub slot: u32,
    /// Offset of the first new event.
    #[prost(uint64, tag = "4")]
    pub first_offset: u64,
    /// Number of new events.
    #[prost(uint32, tag = "5")]
    pub count: u32,
    /// Events that were stored before.
    #[prost(message, repeated, tag = "6")]
    pub duplicates: Vec<Duplicate>,
    /// Events that are not stored.
    #[prost(message, repeated, tag = "7")]
    pub refusals: Vec<Refusal>,
    /// Set when the whole batch is refused and its sequence not used up.
    #[prost(message, optional, tag = "8")]
    pub refused: Option<Refusal>,
}

/// An event that was stored before.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Duplicate {
    /// Its index in the batch.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Slot of the first copy.
    #[prost(uint32, tag = "2")]
    pub slot: u32,
    /// Offset of the first copy.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
}

impl Duplicate {
    /// Position of the first copy.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { slot: self.slot, offset: self.offset }
    }
}

/// An event, a batch or a question that is refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refusal {
    /// Index in the batch.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Why; see [`Code`].
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// Present when sending it again can help.
    #[prost(uint64, optional, tag = "3")]
    pub retry_after_ms: Option<u64>,
    /// For people.
    #[prost(string, tag = "4")]
    pub detail: String,
}

impl Refusal {
    /// The code of this refusal.
    #[must_use]
    pub fn typed_code(&self) -> Code {
        Code::from_number(self.code)
    }
}

/// Was this event stored?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Query {
    /// The client's number of the question.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// Topic of the event.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// `source` of the event.
    #[prost(string, tag = "3")]
    pub source: String,
    /// `id` of the event.
    #[prost(string, tag = "4")]
    pub id: String,
}

/// Answer to [`Query`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryResult {
    /// Number of the question.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// What is known.
    #[prost(enumeration = "QueryStatus", tag = "2")]
    pub status: i32,
    /// Slot, when stored.
    #[prost(uint32, tag = "3")]
    pub slot: u32,
    /// Offset, when stored.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// Set when the question could not be answered.
    #[prost(message, optional, tag = "5")]
    pub refused: Option<Refusal>,
}

/// What is known of an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum QueryStatus {
    /// Not set.
    Unspecified = 0,
    /// Stored at the position given.
    Stored = 1,
    /// Not stored as far back as the topic's id window reaches.
    NotInWindow = 2,
}

/// The host is about to end the session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GoAway {
    /// Why; see [`Code`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub detail: String,
    /// How long pending receipts are still sent.
    #[prost(uint32, tag = "3")]
    pub grace_ms: u32,
}

/// The session ends because of this.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Error {
    /// Why; see [`Code`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub detail: String,
    /// Publish stream it is about, 0 if none.
    #[prost(uint32, tag = "3")]
    pub stream: u32,
    /// Sequence it is about, 0 if none.
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
}

/// The client gives a refused event up.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Abandon {
    /// Publish stream of its ordering key.
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    /// Topic of the event.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// `source` of the event; empty if it is not one of an acceptable event.
    #[prost(string, tag = "3")]
    pub source: String,
    /// `id` of the event; empty if it is not one of an acceptable event.
    #[prost(string, tag = "4")]
    pub id: String,
}

/// The host has taken an [`Abandon`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Abandoned {
    /// As asked.
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    /// As asked.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// As asked.
    #[prost(string, tag = "3")]
    pub source: String,
    /// As asked.
    #[prost(string, tag = "4")]
    pub id: String,
}
