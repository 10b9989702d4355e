//! The `Publish` frame: events travel through it as they are, without being copied or re-encoded.
//!
//! Knows the frame and its bounds; what is inside an event is [`EventView`](crate::EventView)'s business. Writing is in
//! two parts, because a batch that is sent again keeps its body and changes only its head.
//!
//! The invariant: a decoded `Publish` has a topic and 1 to [`BATCH_EVENTS_MAX`] events, each a slice of the frame.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::frame::FrameError;
use crate::limits::{BATCH_EVENTS_MAX, TOPIC_BYTES_MAX};
use crate::walk::{Field, Walk};

const KIND: &str = "publish";
/// Number of `Publish` in the oneof of `Frame`.
pub(crate) const FRAME_NUMBER: u32 = 4;
/// Tags of the fields: number and wire type.
const STREAM: u8 = 0x08;
const SEQUENCE: u8 = 0x10;
const RETRY: u8 = 0x18;
const TOPIC: u8 = 0x22;
const EVENT: u8 = 0x2a;

/// A batch as it came. Its events are walked on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The client's number of the publish stream.
    pub stream: u32,
    /// Number of the batch in its stream, from 1.
    pub sequence: u64,
    /// Whether the batch was sent before.
    pub retry: bool,
    topic_start: usize,
    topic_len: usize,
    event_count: usize,
    message: Bytes,
}

impl Publish {
    pub(crate) fn decode(message: Bytes) -> Result<Self, FrameError> {
        let (mut stream, mut sequence, mut retry, mut topic, mut event_count) = (0, 0, 0, "", 0_usize);
        let mut walk = Walk::new(&message);
        while let Some(field) = walk.field().map_err(|_| FrameError::Malformed { kind: KIND })? {
            match field {
                (1, Field::Varint(number)) => stream = number,
                (2, Field::Varint(number)) => sequence = number,
                (3, Field::Varint(flag)) => retry = flag,
                (4, Field::Bytes(text)) => {
                    topic = core::str::from_utf8(text).map_err(|_| FrameError::Malformed { kind: KIND })?;
                }
                (5, Field::Bytes(_)) => event_count += 1,
                (1..=5, _) => return Err(FrameError::Malformed { kind: KIND }),
                _ => {}
            }
        }
        if !(1..=BATCH_EVENTS_MAX).contains(&event_count) {
            return Err(FrameError::EventCount { count: event_count });
        }
        if !(1..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return Err(FrameError::Text { kind: KIND, field: "topic", max: TOPIC_BYTES_MAX });
        }
        Ok(Self {
            stream: u32::try_from(stream).map_err(|_| FrameError::Malformed { kind: KIND })?,
            sequence,
            retry: retry != 0,
            topic_start: topic.as_ptr() as usize - message.as_ptr() as usize,
            topic_len: topic.len(),
            event_count,
            message,
        })
    }

    /// Name of the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        let bytes = self.message.get(self.topic_start..).and_then(|from| from.get(..self.topic_len));
        bytes.and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// How many events there are.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.event_count
    }

    /// Size of the frame, what a session's credit is counted in.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.message.len()
    }

    /// The events in batch order, each a slice of the received frame.
    #[must_use]
    pub fn events(&self) -> PublishEvents<'_> {
        PublishEvents { message: &self.message, walk: Walk::new(&self.message) }
    }
}

/// Iterator over the events of a [`Publish`].
#[derive(Clone, Debug)]
pub struct PublishEvents<'a> {
    message: &'a Bytes,
    walk: Walk<'a>,
}

impl Iterator for PublishEvents<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            if let (5, Field::Bytes(event)) = self.walk.field().ok()?? {
                return Some(self.message.slice_ref(event));
            }
        }
    }
}

/// What changes when a batch is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead {
    /// The client's number of the publish stream.
    pub stream: u32,
    /// Number of the batch in its stream, from 1.
    pub sequence: u64,
    /// Whether the batch was sent before.
    pub retry: bool,
}

impl PublishHead {
    /// Writes everything of the frame that comes before a body of `body_len` bytes.
    pub fn encode(&self, body_len: usize, out: &mut BytesMut) {
        // As every protobuf encoder does, a false flag is left out.
        let retry: &[u8] = if self.retry { &[RETRY, 1] } else { &[] };
        let numbers_len = encoded_len_varint(u64::from(self.stream)) + encoded_len_varint(self.sequence);
        let head_len = 2 + numbers_len + retry.len();
        let message_len = head_len + body_len;
        let frame_len = 1 + encoded_len_varint(message_len as u64) + message_len;
        out.put_u32(u32::try_from(frame_len).unwrap_or(u32::MAX));
        encode_varint(u64::from(FRAME_NUMBER << 3 | 2), out);
        encode_varint(message_len as u64, out);
        out.put_u8(STREAM);
        encode_varint(u64::from(self.stream), out);
        out.put_u8(SEQUENCE);
        encode_varint(self.sequence, out);
        out.put_slice(retry);
    }
}

/// Topic and events of a batch being collected, already in frame form.
#[derive(Debug)]
pub struct PublishBody {
    buffer: BytesMut,
    event_count: usize,
}

impl PublishBody {
    /// An empty batch for a topic, with room for `capacity` bytes.
    #[must_use]
    pub fn new(topic: &str, capacity: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(capacity);
        buffer.put_u8(TOPIC);
        encode_varint(topic.len() as u64, &mut buffer);
        buffer.put_slice(topic.as_bytes());
        Self { buffer, event_count: 0 }
    }

    /// Adds an encoded event and gives its index in the batch.
    pub fn push(&mut self, event: &[u8]) -> usize {
        self.buffer.put_u8(EVENT);
        encode_varint(event.len() as u64, &mut self.buffer);
        self.buffer.put_slice(event);
        self.event_count += 1;
        self.event_count - 1
    }

    /// Bytes an event of this length takes in a body.
    #[must_use]
    pub fn event_cost(event_len: usize) -> usize {
        1 + encoded_len_varint(event_len as u64) + event_len
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.buffer.len()
    }

    /// Events so far.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.event_count
    }

    /// The finished body, to be sent after a [`PublishHead`], as often as needed.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}
