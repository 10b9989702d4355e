//! Writes one event in CloudEvents protobuf format.
//!
//! Knows the encoding and nothing of the checks: what it wrote is checked by the same [`EventView`](crate::EventView)
//! that the host uses. Fields are written in the order they are given.
//!
//! The invariant: whatever is given, the bytes are one well-formed `CloudEvent` message.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::attribute::AttributeValue;
use crate::timestamp::Timestamp;

/// Wire type of everything that has a length.
const LENGTH_DELIMITED: u32 = 2;

/// An event being written. Give the required attributes once each, then attributes, then at most one payload.
#[derive(Debug)]
pub struct EventWriter {
    buffer: BytesMut,
}

impl EventWriter {
    /// Starts an event with its required attributes.
    #[must_use]
    pub fn new(id: &str, source: &str, kind: &str) -> Self {
        let mut writer = Self { buffer: BytesMut::with_capacity(256) };
        writer.bytes(1, id.as_bytes());
        writer.bytes(2, source.as_bytes());
        writer.bytes(3, b"1.0");
        writer.bytes(4, kind.as_bytes());
        writer
    }

    /// Goes on with an event that is encoded already: what is written is to be put behind its bytes.
    #[must_use]
    pub fn continued() -> Self {
        Self { buffer: BytesMut::new() }
    }

    /// Adds a text attribute and says where its name and its value are in the bytes written so far.
    pub fn text_attribute(&mut self, name: &str, value: &str) -> [Range<usize>; 2] {
        self.attribute(name, AttributeValue::String(value));
        let end = self.buffer.len();
        let name_end = end - delimited_len(delimited_len(value.len()));
        [name_end - name.len()..name_end, end - value.len()..end]
    }

    /// Adds an optional or extension attribute.
    pub fn attribute(&mut self, name: &str, value: AttributeValue<'_>) {
        let value_len = value_len(value);
        let entry_len = delimited_len(name.len()) + delimited_len(value_len);
        self.head(5, entry_len);
        self.bytes(1, name.as_bytes());
        self.head(2, value_len);
        match value {
            AttributeValue::Boolean(flag) => self.varint(1, u64::from(flag)),
            AttributeValue::Integer(number) => self.varint(2, i64::from(number).cast_unsigned()),
            AttributeValue::String(text) => self.bytes(3, text.as_bytes()),
            AttributeValue::Bytes(bytes) => self.bytes(4, bytes),
            AttributeValue::Uri(text) => self.bytes(5, text.as_bytes()),
            AttributeValue::UriRef(text) => self.bytes(6, text.as_bytes()),
            AttributeValue::Timestamp(instant) => {
                self.head(7, timestamp_len(instant));
                self.varint(1, instant.seconds().cast_unsigned());
                self.varint(2, u64::from(instant.nanos()));
            }
        }
    }

    /// Sets a binary payload.
    pub fn binary_data(&mut self, data: &[u8]) {
        self.bytes(6, data);
    }

    /// Sets a text payload.
    pub fn text_data(&mut self, data: &str) {
        self.bytes(7, data.as_bytes());
    }

    /// Sets a protobuf payload.
    pub fn proto_data(&mut self, type_url: &str, value: &[u8]) {
        self.head(8, delimited_len(type_url.len()) + delimited_len(value.len()));
        self.bytes(1, type_url.as_bytes());
        self.bytes(2, value);
    }

    /// The encoded event.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }

    fn head(&mut self, field: u32, len: usize) {
        encode_varint(u64::from(field << 3 | LENGTH_DELIMITED), &mut self.buffer);
        encode_varint(len as u64, &mut self.buffer);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.head(field, bytes.len());
        self.buffer.put_slice(bytes);
    }

    fn varint(&mut self, field: u32, value: u64) {
        encode_varint(u64::from(field << 3), &mut self.buffer);
        encode_varint(value, &mut self.buffer);
    }
}

/// Length of a field with a one-byte tag, its length and its bytes.
fn delimited_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn varint_len(value: u64) -> usize {
    1 + encoded_len_varint(value)
}

fn timestamp_len(instant: Timestamp) -> usize {
    varint_len(instant.seconds().cast_unsigned()) + varint_len(u64::from(instant.nanos()))
}

fn value_len(value: AttributeValue<'_>) -> usize {
    match value {
        AttributeValue::Boolean(flag) => varint_len(u64::from(flag)),
        AttributeValue::Integer(number) => varint_len(i64::from(number).cast_unsigned()),
        AttributeValue::String(text) | AttributeValue::Uri(text) | AttributeValue::UriRef(text) => {
            delimited_len(text.len())
        }
        AttributeValue::Bytes(bytes) => delimited_len(bytes.len()),
        AttributeValue::Timestamp(instant) => delimited_len(timestamp_len(instant)),
    }
}
