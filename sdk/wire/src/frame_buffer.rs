//! Cuts a byte stream into frames: four bytes of length, big-endian, then that many bytes.
//!
//! Does no reading itself and knows nothing of what is in a frame. Feed it with [`FrameBuffer::extend`], then take frames
//! until there is none.
//!
//! The invariant: memory follows the bytes received, not the length announced, and a frame handed out is a slice of
//! the buffer, not a copy.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::FrameError;

/// Smallest block: a few small frames.
const BLOCK_BYTES_MIN: usize = 4 * 1024;
/// Largest block made ahead: two frames of the size clients aim at.
const BLOCK_BYTES_MAX: usize = 128 * 1024;

const LENGTH_BYTES: usize = 4;

/// Received bytes that are not yet a whole frame.
#[derive(Debug)]
pub struct FrameBuffer {
    received: BytesMut,
    frame_bytes_max: usize,
    last_frame_bytes: usize,
}

impl FrameBuffer {
    /// A buffer that refuses frames over `frame_bytes_max`.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { received: BytesMut::new(), frame_bytes_max, last_frame_bytes: 0 }
    }

    /// Changes the limit, for instance once a session is authenticated.
    pub fn set_limit(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Appends received bytes. New blocks have room for two frames like the last one, so that a busy stream copies
    /// little and an idle one holds little.
    pub fn extend(&mut self, bytes: &[u8]) {
        let spare = self.received.capacity() - self.received.len();
        if spare < bytes.len() {
            let block = (2 * self.last_frame_bytes).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
            self.received.reserve(bytes.len().max(block));
        }
        self.received.extend_from_slice(bytes);
    }

    /// The next whole frame without its length, or `None` until more bytes come.
    ///
    /// # Errors
    /// A length of zero or over the limit; nothing after it can be understood.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.received.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize;
        if len == 0 {
            return Err(FrameError::Empty);
        }
        if len > self.frame_bytes_max {
            return Err(FrameError::TooLong { bytes: len, max: self.frame_bytes_max });
        }
        if self.received.len() - LENGTH_BYTES < len {
            return Ok(None);
        }
        self.last_frame_bytes = len;
        self.received.advance(LENGTH_BYTES);
        Ok(Some(self.received.split_to(len).freeze()))
    }

    /// Whether a frame has begun and is not whole; an end of stream now cuts it.
    #[must_use]
    pub fn is_inside_frame(&self) -> bool {
        !self.received.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES_MIN, FrameBuffer};
    use crate::frame::FrameError;

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let stream = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 1, 9];
        for cut in 0..stream.len() {
            let mut buffer = FrameBuffer::new(16);
            let mut frames = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                buffer.extend(part);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, [vec![1, 2, 3], vec![9]]);
            assert!(!buffer.is_inside_frame());
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut buffer = FrameBuffer::new(16);
        buffer.extend(&[0, 0, 0, 17]);
        assert_eq!(buffer.next_frame(), Err(FrameError::TooLong { bytes: 17, max: 16 }));
        let mut buffer = FrameBuffer::new(16);
        buffer.extend(&[0, 0, 0, 0]);
        assert_eq!(buffer.next_frame(), Err(FrameError::Empty));
    }

    #[test]
    fn memory_follows_received_bytes_not_the_announced_length() {
        let mut buffer = FrameBuffer::new(1024 * 1024);
        buffer.extend(&[0, 0x10, 0, 0, 1]);
        assert_eq!(buffer.next_frame(), Ok(None));
        assert!(buffer.is_inside_frame());
        assert!(buffer.received.capacity() <= BLOCK_BYTES_MIN);
    }

    #[test]
    fn a_frame_is_a_slice_of_what_was_received() {
        let mut buffer = FrameBuffer::new(16);
        buffer.extend(&[0, 0, 0, 2, 7, 8]);
        let place = buffer.received[4..].as_ptr();
        let frame = buffer.next_frame().unwrap().unwrap();
        assert_eq!(frame.as_ptr(), place);
    }
}
