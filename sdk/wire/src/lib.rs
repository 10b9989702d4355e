//! Producer protocol `bugle/1`: schema, frames, codes, limits and a sans-IO codec.
//!
//! Knows bytes and nothing else: no socket, no clock, no runtime, no storage. The same code decodes in the host
//! and in every Rust client, and the files under `proto/` and `golden/` say the same to other languages.
//!
//! The invariant: any bytes give a value or a typed error with a stable code, never a panic, and never an
//! allocation larger than a small multiple of the bytes that were really received.
//!
//! Reading: [`FrameBuffer`] cuts a byte stream into frames, [`Frame::decode_from_client`] and
//! [`Frame::decode_from_host`] turn one into a value, [`EventView::parse`] walks one event without copying,
//! and [`EventTraces::read`] says what is left of one that it refused.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod attribute;
mod code;
mod event;
mod event_error;
mod event_writer;
mod frame;
mod frame_buffer;
pub mod limits;
mod position;
mod publish;
pub mod schema;
mod timestamp;
mod traces;
mod walk;

pub use attribute::{Attribute, AttributeValue, Attributes};
pub use code::Code;
pub use event::{Data, EventView, Priority, Replaces};
pub use event_error::EventError;
pub use event_writer::EventWriter;
pub use frame::{Frame, FrameError};
pub use frame_buffer::FrameBuffer;
pub use position::{ParsePositionError, Position};
pub use publish::{Publish, PublishBody, PublishEvents, PublishHead};
pub use timestamp::{ParseTimestampError, Timestamp};
pub use traces::{EventTraces, KeyTrace};

/// ALPN name of this protocol.
pub const ALPN: &[u8] = b"bugle/1";

/// Protocol version spoken here, as listed in `Hello.versions`.
pub const VERSION: u32 = 1;
