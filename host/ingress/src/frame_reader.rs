//! Frames of one QUIC stream, read as they come.
//!
//! Knows lengths and time-outs, not what is in a frame. A reader that is not polled takes nothing from the connection.
//!
//! The invariant: at most one frame and one read are in memory, and a frame once begun is whole within 10 s of waiting.

use std::time::Duration;

use bugle_wire::{Code, FrameBuffer};
use bytes::Bytes;
use quinn::{ReadError, RecvStream};

use crate::session_error::SessionError;

/// A frame that has begun must be whole within this, while the host waits for its bytes: slow senders hold memory.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Packets taken from the connection at once: about one frame of the size clients aim at.
const CHUNKS: usize = 32;

/// Frames of a stream, read from QUIC.
pub(crate) struct FrameReader {
    recv: RecvStream,
    buffer: FrameBuffer,
}

impl FrameReader {
    pub(crate) fn new(recv: RecvStream, frame_bytes_max: usize) -> Self {
        Self { recv, buffer: FrameBuffer::new(frame_bytes_max) }
    }

    pub(crate) fn set_limit(&mut self, frame_bytes_max: usize) {
        self.buffer.set_limit(frame_bytes_max);
    }

    /// The next frame, or `None` where the client finished the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        if let Some(frame) = self.buffer.next_frame()? {
            return Ok(Some(frame));
        }
        if !self.buffer.is_inside_frame() && !self.read().await? {
            return Ok(None);
        }
        let whole = async {
            loop {
                if let Some(frame) = self.buffer.next_frame()? {
                    return Ok(frame);
                }
                if !self.read().await? {
                    return Err(SessionError::client(Code::MALFORMED_FRAME, "the stream ended inside a frame"));
                }
            }
        };
        match tokio::time::timeout(FRAME_TIMEOUT, whole).await {
            Ok(frame) => frame.map(Some),
            Err(_) => Err(SessionError::client(Code::TIMEOUT, "a frame was begun and not finished within 10 s")),
        }
    }

    /// Reads what there is; false at the end of the stream.
    async fn read(&mut self) -> Result<bool, ReadError> {
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let Some(count) = self.recv.read_chunks(&mut chunks).await? else {
            return Ok(false);
        };
        chunks.iter().take(count).for_each(|chunk| self.buffer.extend(chunk));
        Ok(true)
    }
}
