//! Where the worker finds the events its machine knows by offset only: the chunk used last, those read for a laggard, those that came
//! back with their waiting delivery, the ring.
//!
//! Invariant: holds at most [`WINDOW_BYTES_MAX`] of chunks from the store, the newest one always, and [`LOADED_BYTES_MAX`] of
//! single events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::Offset;

use crate::ring::{Chunk, EVENT_OVERHEAD_BYTES, Read, Ring};

/// Chunks read from the store and kept until their events were handed out: the prefetch of one subscription.
const WINDOW_BYTES_MAX: usize = 4 << 20;
/// Events of loaded deliveries that did not start yet. Beyond, they are fetched once more.
const LOADED_BYTES_MAX: usize = 1 << 20;

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
    loaded: HashMap<Offset, StoredEvent>,
    loaded_bytes: usize,
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

    /// Keeps the event of a delivery that came back, until it is asked for. Those of deliveries that never ask go when the room
    /// is used up, with all the others.
    pub(super) fn keep_loaded(&mut self, event: StoredEvent) {
        let bytes = event.event.bytes().len() + EVENT_OVERHEAD_BYTES;
        if self.loaded_bytes + bytes > LOADED_BYTES_MAX {
            self.loaded.clear();
            self.loaded_bytes = 0;
        }
        self.loaded_bytes += bytes;
        if let Some(before) = self.loaded.insert(event.position.offset, event) {
            self.loaded_bytes -= before.event.bytes().len() + EVENT_OVERHEAD_BYTES;
        }
    }

    fn take_loaded(&mut self, offset: Offset) -> Option<StoredEvent> {
        // Nearly always there is none at all.
        if self.loaded.is_empty() {
            return None;
        }
        let event = self.loaded.remove(&offset)?;
        self.loaded_bytes -= event.event.bytes().len() + EVENT_OVERHEAD_BYTES;
        Some(event)
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
        if let Some(event) = self.take_loaded(offset) {
            return Some(event);
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
    fn events_of_loaded_deliveries_are_handed_out_once_and_are_bounded() {
        let ring = Ring::new(Offset(100), 1 << 20);
        let mut payloads = Payloads::default();
        payloads.keep_loaded(stored(7));
        payloads.keep_loaded(stored(7));
        assert_eq!(payloads.event(&ring, Offset(7)).map(|event| event.position.offset), Some(Offset(7)));
        assert_eq!((payloads.event(&ring, Offset(7)), payloads.loaded_bytes), (None, 0));
        for offset in 0..20_000 {
            payloads.keep_loaded(stored(offset));
            assert!(payloads.loaded_bytes <= LOADED_BYTES_MAX);
        }
        assert!(payloads.event(&ring, Offset(0)).is_none() && payloads.event(&ring, Offset(19_999)).is_some());
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
