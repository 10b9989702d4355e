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

/// A run of the log that was read from the store: every event from `from` up to `next`.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) from: Offset,
    pub(super) next: Offset,
    pub(super) chunk: Arc<Chunk>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Payloads {
    last: Option<Arc<Chunk>>,
    window: VecDeque<Page>,
    window_bytes: usize,
}

impl Payloads {
    /// Keeps a page that was read from the store; forgets those below the floor, then the oldest.
    pub(super) fn keep(&mut self, page: Page, floor: Offset) {
        self.window_bytes += page.chunk.bytes();
        self.window.push_back(page);
        while self.window.len() > 1 {
            let is_done = self.window.front().is_some_and(|page| page.next <= floor);
            if !is_done && self.window_bytes <= WINDOW_BYTES_MAX {
                break;
            }
            if let Some(old) = self.window.pop_front() {
                self.window_bytes -= old.chunk.bytes();
            }
        }
    }

    /// The page that covers an offset, if there is one.
    pub(super) fn page(&self, offset: Offset) -> Option<&Page> {
        self.window.iter().rev().find(|page| page.from <= offset && offset < page.next)
    }

    /// The worker reads from the ring again: nothing new will come into the window.
    pub(super) fn caught_up(&mut self, floor: Offset) {
        if self.window.back().is_some_and(|page| page.next <= floor) {
            self.window.clear();
            self.window_bytes = 0;
        }
    }

    /// The event at an offset, if it is in memory.
    pub(super) fn event(&mut self, ring: &Ring, offset: Offset) -> Option<StoredEvent> {
        if let Some(event) = self.last.as_ref().and_then(|chunk| chunk.event(offset)) {
            return Some(event.clone());
        }
        let kept = self.window.iter().map(|page| &page.chunk).find(|chunk| chunk.event(offset).is_some()).cloned();
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

    fn page(range: std::ops::Range<u64>) -> Page {
        Page { from: Offset(range.start), next: Offset(range.end), chunk: chunk(range) }
    }

    #[test]
    fn finds_events_in_window_and_ring_and_nowhere_else() {
        let ring = Ring::new(Offset(10), 1 << 20);
        ring.append(chunk(10..12));
        let mut payloads = Payloads::default();
        payloads.keep(page(2..4), Offset(0));
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
        payloads.keep(page(0..4), Offset(0));
        payloads.keep(page(4..8), Offset(4));
        assert_eq!(payloads.event(&ring, Offset(3)), None);
        assert!(payloads.event(&ring, Offset(4)).is_some());
        assert!(payloads.page(Offset(3)).is_none());
        assert_eq!(payloads.page(Offset(7)).map(|page| page.from), Some(Offset(4)));
        assert!(payloads.page(Offset(8)).is_none());
        payloads.caught_up(Offset(7));
        assert!(payloads.event(&ring, Offset(6)).is_some());
    }
}
