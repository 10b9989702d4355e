//! Where the worker finds the events its machine knows by offset only: the chunk used last, those read for a laggard, those that came
//! back with their waiting delivery, the ring.
//!
//! Invariant: holds at most the prefetch of its subscription in chunks from the store, the newest one always, and
//! [`LOADED_BYTES_MAX`] of single events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::Offset;

use crate::ring::{Chunk, EVENT_OVERHEAD_BYTES, Read, Ring};

/// Bounds of one read of the store.
const PAGE_BYTES_MIN: usize = 16 << 10;
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Events of loaded deliveries that did not start yet. Beyond, they are fetched once more.
const LOADED_BYTES_MAX: usize = 1 << 20;

/// A run of the log that was read from the store: every event from `from` up to `next`.
#[derive(Clone)]
pub(crate) struct Page {
    pub(super) from: Offset,
    pub(super) next: Offset,
    pub(super) chunk: Arc<Chunk>,
    /// Erasures before it was read.
    pub(super) erasures: u64,
}

/// See the module.
pub(super) struct Payloads {
    /// Chunks read from the store are kept until their events were handed out, up to this many bytes.
    window_bytes_max: usize,
    last: Option<Arc<Chunk>>,
    window: VecDeque<Page>,
    window_bytes: usize,
    loaded: HashMap<Offset, StoredEvent>,
    loaded_bytes: usize,
}

impl Payloads {
    pub(super) fn new(prefetch_bytes: u64) -> Payloads {
        let window_bytes_max = usize::try_from(prefetch_bytes).unwrap_or(usize::MAX);
        Payloads {
            window_bytes_max,
            last: None,
            window: VecDeque::new(),
            window_bytes: 0,
            loaded: HashMap::new(),
            loaded_bytes: 0,
        }
    }

    /// Another prefetch, from the next page on.
    pub(super) fn resize(&mut self, prefetch_bytes: u64) {
        self.window_bytes_max = usize::try_from(prefetch_bytes).unwrap_or(usize::MAX);
    }

    /// Bytes of one read of the store: large enough to make the seek cheap, a quarter of the prefetch.
    pub(super) fn page_bytes(&self) -> usize {
        (self.window_bytes_max / 4).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX)
    }

    /// Forgets what was read: it may hold what was erased since.
    pub(super) fn forget(&mut self) {
        *self = Payloads { window_bytes_max: self.window_bytes_max, ..Payloads::new(0) };
    }

    /// Keeps a page that was read from the store; forgets those below the floor, then the oldest.
    pub(super) fn keep(&mut self, page: Page, floor: Offset) {
        self.window_bytes += page.chunk.bytes();
        self.window.push_back(page);
        while self.window.len() > 1 {
            let is_done = self.window.front().is_some_and(|page| page.next <= floor);
            if !is_done && self.window_bytes <= self.window_bytes_max {
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
        Page { from: Offset(range.start), next: Offset(range.end), chunk: chunk(range), erasures: 0 }
    }

    #[test]
    fn finds_events_in_window_and_ring_and_nowhere_else() {
        let ring = Ring::new(Offset(10), 1 << 20);
        ring.append(chunk(10..12));
        let mut payloads = Payloads::new(4 << 20);
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
        let mut payloads = Payloads::new(1 << 20);
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
    fn keeps_no_more_than_the_prefetch_but_always_the_newest_page() {
        let ring = Ring::new(Offset(100), 1 << 20);
        let bytes = page(0..4).chunk.bytes() as u64;
        // Room for two pages: two digits of an offset take a little more than one.
        let mut payloads = Payloads::new(2 * bytes + bytes / 2);
        for start in [0, 4, 8] {
            payloads.keep(page(start..start + 4), Offset(0));
        }
        assert!(payloads.event(&ring, Offset(4)).is_some() && payloads.page(Offset(3)).is_none());
        payloads.resize(1);
        payloads.keep(page(12..16), Offset(0));
        assert!(payloads.page(Offset(11)).is_none() && payloads.page(Offset(12)).is_some());
        assert_eq!(payloads.page_bytes(), PAGE_BYTES_MIN);
    }

    #[test]
    fn forgets_what_is_below_the_floor() {
        let ring = Ring::new(Offset(100), 1 << 20);
        let mut payloads = Payloads::new(4 << 20);
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
