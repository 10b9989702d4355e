//! Where the worker finds the events its machine knows by offset only: the chunk used last, those read for a laggard, the ring.
//!
//! Invariant: holds at most [`WINDOW_BYTES_MAX`] of chunks from the store, the newest one always.

use std::collections::VecDeque;
use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::Offset;

use crate::ring::{Chunk, Read, Ring};

/// Chunks read from the store and kept until their events were handed out: the prefetch of one subscription.
const WINDOW_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Payloads {
    last: Option<Arc<Chunk>>,
    window: VecDeque<Arc<Chunk>>,
    window_bytes: usize,
}

impl Payloads {
    /// Keeps a chunk that was read from the store; forgets those below the floor, then the oldest.
    pub(super) fn keep(&mut self, chunk: Arc<Chunk>, floor: Offset) {
        self.window_bytes += chunk.bytes();
        self.window.push_back(chunk);
        while self.window.len() > 1 {
            let is_done = self.window.front().is_some_and(|chunk| chunk.end().is_none_or(|end| end <= floor));
            if !is_done && self.window_bytes <= WINDOW_BYTES_MAX {
                break;
            }
            if let Some(old) = self.window.pop_front() {
                self.window_bytes -= old.bytes();
            }
        }
    }

    /// The worker reads from the ring again: nothing new will come into the window.
    pub(super) fn caught_up(&mut self, floor: Offset) {
        if self.window.back().is_some_and(|chunk| chunk.end().is_none_or(|end| end <= floor)) {
            self.window.clear();
            self.window_bytes = 0;
        }
    }

    /// The event at an offset, if it is in memory.
    pub(super) fn event(&mut self, ring: &Ring, offset: Offset) -> Option<StoredEvent> {
        if let Some(event) = self.last.as_ref().and_then(|chunk| chunk.event(offset)) {
            return Some(event.clone());
        }
        let kept = self.window.iter().find(|chunk| chunk.event(offset).is_some()).cloned();
        let chunk = match kept {
            Some(chunk) => chunk,
            None => match ring.read(offset, 1) {
                Read::Hit(chunks) => chunks.into_iter().next()?,
                Read::Behind { .. } | Read::AtTail => return None,
            },
        };
        let event = chunk.event(offset).cloned();
        self.last = Some(chunk);
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stored;

    fn chunk(range: std::ops::Range<u64>) -> Arc<Chunk> {
        Arc::new(Chunk::new(range.map(stored).collect()))
    }

    #[test]
    fn finds_events_in_window_and_ring_and_nowhere_else() {
        let ring = Ring::new(Offset(10), 1 << 20);
        ring.append(chunk(10..12));
        let mut payloads = Payloads::default();
        payloads.keep(chunk(2..4), Offset(0));
        for offset in [2, 3, 10, 11, 2] {
            let event = payloads.event(&ring, Offset(offset)).unwrap();
            assert_eq!(event.position.offset, Offset(offset));
        }
        for offset in [1, 4, 9, 12] {
            assert_eq!(payloads.event(&ring, Offset(offset)), None);
        }
    }

    #[test]
    fn forgets_what_is_below_the_floor() {
        let ring = Ring::new(Offset(100), 1 << 20);
        let mut payloads = Payloads::default();
        payloads.keep(chunk(0..4), Offset(0));
        payloads.keep(chunk(4..8), Offset(4));
        assert_eq!(payloads.event(&ring, Offset(3)), None);
        assert!(payloads.event(&ring, Offset(4)).is_some());
        payloads.caught_up(Offset(7));
        assert!(payloads.event(&ring, Offset(6)).is_some());
    }
}
