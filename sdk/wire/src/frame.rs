//! Frames: one message of the oneof in `proto/bugle.proto`, decoded and encoded.
//!
//! Knows which side may send which frame and the bounds of each text. It does not know sessions, order of frames or
//! answers; those belong to host and client.
//!
//! The invariant: a frame of the other direction is refused before it is decoded, so a client can't make a host build
//! the large messages that only hosts send.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::code::Code;
use crate::limits::{
    ATTRIBUTE_BYTES_MAX, BATCH_EVENTS_MAX, NAME_BYTES_MAX, TOKEN_BYTES_MAX, TOPIC_BYTES_MAX, VERSIONS_MAX,
};
use crate::publish::{self, Publish, PublishBody, PublishHead};
use crate::schema::{Abandon, Abandoned, Error, GoAway, Hello, Query, QueryResult, Receipts, Refused, Welcome};
use crate::walk::{Field, Walk};

/// Everything that can be sent. `Hello`, `Publish`, `Query` and `Abandon` come from clients, the others from hosts.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the message of the same name")]
pub enum Frame {
    Hello(Hello),
    Welcome(Welcome),
    Refused(Refused),
    Publish(Publish),
    Receipts(Receipts),
    Query(Query),
    QueryResult(QueryResult),
    GoAway(GoAway),
    Error(Error),
    Abandon(Abandon),
    Abandoned(Abandoned),
}

/// Bytes that are not a frame, or not one this side may receive. Nothing after it on the stream can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Announced length over the limit.
    #[error("a frame of {bytes} bytes was announced and at most {max} are allowed")]
    TooLong {
        /// Announced length.
        bytes: usize,
        /// Limit at this point of the session.
        max: usize,
    },
    /// Announced length of zero, or no message inside.
    #[error("a frame without a message was sent")]
    Empty,
    /// Not the protobuf message it says it is.
    #[error("a `{kind}` frame could not be decoded")]
    Malformed {
        /// Kind of the frame.
        kind: &'static str,
    },
    /// A kind this side does not know or may not receive.
    #[error("a frame of kind {number} is unknown or not allowed in this direction")]
    Unexpected {
        /// Its number in the oneof.
        number: u32,
    },
    /// No event, or too many.
    #[error("a batch has {count} events; send 1 to {BATCH_EVENTS_MAX}")]
    EventCount {
        /// Events in the batch.
        count: usize,
    },
    /// A text that is too long, or empty where it must not be.
    #[error("field `{field}` of a `{kind}` frame is missing or over {max}")]
    Text {
        /// Kind of the frame.
        kind: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Its bound.
        max: usize,
    },
}

impl FrameError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } => Code::FRAME_TOO_LONG,
            Self::Empty | Self::Malformed { .. } => Code::MALFORMED_FRAME,
            Self::Unexpected { .. } => Code::UNEXPECTED_FRAME,
            Self::EventCount { .. } => Code::INVALID_BATCH,
            Self::Text { .. } => Code::INVALID,
        }
    }
}

impl Frame {
    /// Decodes a frame that a client sent.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn decode_from_client(frame: &Bytes) -> Result<Self, FrameError> {
        match only_message(frame)? {
            (1, message) => decode::<Hello>("hello", message).and_then(check_hello).map(Self::Hello),
            (publish::FRAME_NUMBER, message) => Publish::decode(frame.slice_ref(message)).map(Self::Publish),
            (6, message) => decode::<Query>("query", message).and_then(check_query).map(Self::Query),
            (10, message) => decode::<Abandon>("abandon", message).and_then(check_abandon).map(Self::Abandon),
            (number, _) => Err(FrameError::Unexpected { number }),
        }
    }

    /// Decodes a frame that a host sent.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn decode_from_host(frame: &Bytes) -> Result<Self, FrameError> {
        match only_message(frame)? {
            (2, message) => decode("welcome", message).map(Self::Welcome),
            (3, message) => decode("refused", message).map(Self::Refused),
            (5, message) => decode("receipts", message).map(Self::Receipts),
            (7, message) => decode("query_result", message).map(Self::QueryResult),
            (8, message) => decode("go_away", message).map(Self::GoAway),
            (9, message) => decode("error", message).map(Self::Error),
            (11, message) => decode("abandoned", message).map(Self::Abandoned),
            (number, _) => Err(FrameError::Unexpected { number }),
        }
    }

    /// Appends the frame with its length. The caller keeps it within the frame limit.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(message) => encode(1, message, out),
            Self::Welcome(message) => encode(2, message, out),
            Self::Refused(message) => encode(3, message, out),
            Self::Publish(message) => encode_publish(message, out),
            Self::Receipts(message) => encode(5, message, out),
            Self::Query(message) => encode(6, message, out),
            Self::QueryResult(message) => encode(7, message, out),
            Self::GoAway(message) => encode(8, message, out),
            Self::Error(message) => encode(9, message, out),
            Self::Abandon(message) => encode(10, message, out),
            Self::Abandoned(message) => encode(11, message, out),
        }
    }

    /// The frame as bytes of its own.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }
}

/// Number and bytes of the one message inside a frame. Unknown fields are messages too, so a second one is refused
/// rather than guessed about.
fn only_message(frame: &[u8]) -> Result<(u32, &[u8]), FrameError> {
    let mut walk = Walk::new(frame);
    let message = match walk.field() {
        Ok(Some((number, Field::Bytes(message)))) => (number, message),
        Ok(None) => return Err(FrameError::Empty),
        Ok(Some(_)) | Err(_) => return Err(FrameError::Malformed { kind: "frame" }),
    };
    if walk.remaining() > 0 {
        return Err(FrameError::Malformed { kind: "frame" });
    }
    Ok(message)
}

fn decode<M: Message + Default>(kind: &'static str, message: &[u8]) -> Result<M, FrameError> {
    M::decode(message).map_err(|_| FrameError::Malformed { kind })
}

fn encode(number: u32, message: &impl Message, out: &mut BytesMut) {
    let message_len = message.encoded_len();
    let frame_len = 1 + encoded_len_varint(message_len as u64) + message_len;
    out.reserve(4 + frame_len);
    out.put_u32(u32::try_from(frame_len).unwrap_or(u32::MAX));
    encode_varint(u64::from(number << 3 | 2), out);
    encode_varint(message_len as u64, out);
    message.encode_raw(out);
}

fn encode_publish(publish: &Publish, out: &mut BytesMut) {
    let mut body = PublishBody::new(publish.topic(), publish.bytes_len());
    for event in publish.events() {
        body.push(&event);
    }
    let head = PublishHead { stream: publish.stream, sequence: publish.sequence, retry: publish.retry };
    head.encode(body.bytes_len(), out);
    out.put_slice(&body.finish());
}

fn bounded(kind: &'static str, field: &'static str, text: &str, max: usize) -> Result<(), FrameError> {
    if text.len() > max {
        return Err(FrameError::Text { kind, field, max });
    }
    Ok(())
}

fn needed(kind: &'static str, field: &'static str, text: &str, max: usize) -> Result<(), FrameError> {
    if text.is_empty() {
        return Err(FrameError::Text { kind, field, max });
    }
    bounded(kind, field, text, max)
}

fn check_hello(hello: Hello) -> Result<Hello, FrameError> {
    if hello.versions.len() > VERSIONS_MAX {
        return Err(FrameError::Text { kind: "hello", field: "versions", max: VERSIONS_MAX });
    }
    needed("hello", "producer", &hello.producer, NAME_BYTES_MAX)?;
    bounded("hello", "client", &hello.client, NAME_BYTES_MAX)?;
    bounded("hello", "group", &hello.group, NAME_BYTES_MAX)?;
    bounded("hello", "token", &hello.token, TOKEN_BYTES_MAX)?;
    Ok(hello)
}

fn check_query(query: Query) -> Result<Query, FrameError> {
    needed("query", "topic", &query.topic, TOPIC_BYTES_MAX)?;
    needed("query", "source", &query.source, ATTRIBUTE_BYTES_MAX)?;
    needed("query", "id", &query.id, ATTRIBUTE_BYTES_MAX)?;
    Ok(query)
}

fn check_abandon(abandon: Abandon) -> Result<Abandon, FrameError> {
    needed("abandon", "topic", &abandon.topic, TOPIC_BYTES_MAX)?;
    // Either is empty where the host could not read it in the refused event.
    bounded("abandon", "source", &abandon.source, ATTRIBUTE_BYTES_MAX)?;
    bounded("abandon", "id", &abandon.id, ATTRIBUTE_BYTES_MAX)?;
    Ok(abandon)
}
