//! The tail ring: the latest committed batches in memory, read by offset, so that workers near the tail never touch the disk.
//!
//! Knows nothing of subscriptions or of the store; a reader that is told `Behind` goes to the store and comes back.
//!
//! Invariant: the ring holds a gap-free run of the log up to its end, and only events whose commit was synced; so whoever
//! reads ring or store at the offset after the last one it saw misses nothing.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, TopicId};

/// Memory one event takes beside its bytes: its index, place and share of the chunk.
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 192;

/// The events of one commit (or of one read from the store), in offset order.
#[derive(Debug)]
pub(crate) struct Chunk {
    events: Vec<StoredEvent>,
    topics: Vec<TopicId>,
    bytes: usize,
}

impl Chunk {
    /// Takes events that are in offset order.
    #[must_use]
    pub(crate) fn new(events: Vec<StoredEvent>) -> Chunk {
        let mut topics: Vec<TopicId> = Vec::new();
        let mut bytes = 0;
        for event in &events {
            bytes += event.event.bytes().len() + EVENT_OVERHEAD_BYTES;
            if topics.last() != Some(&event.topic) && !topics.contains(&event.topic) {
                topics.push(event.topic);
            }
        }
        Chunk { events, topics, bytes }
    }

    /// The events.
    #[must_use]
    pub(crate) fn events(&self) -> &[StoredEvent] {
        &self.events
    }

    /// The topics that occur in it.
    #[must_use]
    pub(crate) fn topics(&self) -> &[TopicId] {
        &self.topics
    }

    /// Memory it takes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The offset after its last event; `None` if it is empty.
    #[must_use]
    pub(crate) fn end(&self) -> Option<Offset> {
        self.events.last().map(|event| event.position.offset.next())
    }

    fn first(&self) -> Option<Offset> {
        self.events.first().map(|event| event.position.offset)
    }

    /// Its events from `from` on.
    #[must_use]
    pub(crate) fn tail(&self, from: Offset) -> &[StoredEvent] {
        let start = self.events.partition_point(|event| event.position.offset < from);
        self.events.get(start..).unwrap_or_default()
    }

    /// The event at an offset, if it is here.
    #[must_use]
    pub(crate) fn event(&self, offset: Offset) -> Option<&StoredEvent> {
        self.events
            .binary_search_by_key(&offset, |event| event.position.offset)
            .ok()
            .and_then(|index| self.events.get(index))
    }
}

/// The answer to [`Ring::read`].
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// Consecutive chunks; the first one contains the asked offset.
    Hit(Vec<Arc<Chunk>>),
    /// Older than the ring: read the store up to this offset, then come back.
    Behind {
        /// First offset of the ring.
        ring: Offset,
    },
    /// Nothing at or after the asked offset yet.
    AtTail,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes_max: usize,
    run: RwLock<Run>,
}

#[derive(Debug)]
struct Run {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// First offset held; equal to `end` when empty.
    first: Offset,
    end: Offset,
}

impl Ring {
    /// An empty ring that goes on at `next`, the offset the next event will get.
    #[must_use]
    pub(crate) fn new(next: Offset, bytes_max: usize) -> Ring {
        Ring { bytes_max, run: RwLock::new(Run { chunks: VecDeque::new(), bytes: 0, first: next, end: next }) }
    }

    /// Adds the events of a commit that was synced. Drops the oldest chunks when over the bound; one chunk always stays.
    pub(crate) fn append(&self, chunk: Arc<Chunk>) {
        let (Some(first), Some(end)) = (chunk.first(), chunk.end()) else {
            return;
        };
        let mut dropped = Vec::new();
        let mut run = self.run.write().unwrap_or_else(PoisonError::into_inner);
        assert!(run.end == first, "the ring is appended without a gap");
        run.bytes += chunk.bytes();
        run.chunks.push_back(chunk);
        run.end = end;
        while run.bytes > self.bytes_max && run.chunks.len() > 1 {
            if let Some(old) = run.chunks.pop_front() {
                run.bytes -= old.bytes();
                run.first = old.end().unwrap_or(run.first);
                dropped.push(old);
            }
        }
        // Freed after the lock: freeing thousands of events takes a while.
        drop(run);
        drop(dropped);
    }

    /// Forgets every event; they are read from the store from here on.
    pub(crate) fn forget(&self) {
        let mut run = self.run.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut run.chunks);
        (run.bytes, run.first) = (0, run.end);
        drop(run);
        drop(forgotten);
    }

    /// What is at and after `from`: whole chunks until at least `events_max` events are covered or there are no more.
    #[must_use]
    pub(crate) fn read(&self, from: Offset, events_max: usize) -> Read {
        let run = self.lock();
        if from >= run.end {
            return Read::AtTail;
        }
        if from < run.first {
            return Read::Behind { ring: run.first };
        }
        let start = run.chunks.partition_point(|chunk| chunk.end().is_some_and(|end| end <= from));
        let mut hit = Vec::new();
        let mut covered = 0;
        for chunk in run.chunks.range(start..) {
            covered += chunk.tail(from).len();
            hit.push(Arc::clone(chunk));
            if covered >= events_max {
                break;
            }
        }
        Read::Hit(hit)
    }

    /// The event at an offset, if the ring holds it.
    #[must_use]
    pub(crate) fn event(&self, offset: Offset) -> Option<StoredEvent> {
        match self.read(offset, 1) {
            Read::Hit(chunks) => chunks.first().and_then(|chunk| chunk.event(offset).cloned()),
            Read::Behind { .. } | Read::AtTail => None,
        }
    }

    /// The offset after the last committed event.
    #[must_use]
    pub(crate) fn end(&self) -> Offset {
        self.lock().end
    }

    /// Memory held.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> RwLockReadGuard<'_, Run> {
        self.run.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stored;

    fn chunk(range: std::ops::Range<u64>) -> Arc<Chunk> {
        Arc::new(Chunk::new(range.map(stored).collect()))
    }

    fn offsets(read: &Read, from: u64) -> Vec<u64> {
        match read {
            Read::Hit(chunks) => {
                chunks.iter().flat_map(|chunk| chunk.tail(Offset(from))).map(|event| event.position.offset.0).collect()
            }
            other => panic!("expected a hit, got {other:?}"),
        }
    }

    #[test]
    fn reads_from_the_middle_of_a_chunk_over_chunk_borders() {
        let ring = Ring::new(Offset(5), 1 << 20);
        ring.append(chunk(5..8));
        ring.append(chunk(8..9));
        ring.append(chunk(9..20));
        assert_eq!(offsets(&ring.read(Offset(6), 3), 6), vec![6, 7, 8]);
        assert_eq!(offsets(&ring.read(Offset(19), 100), 19), vec![19]);
        assert!(matches!(ring.read(Offset(20), 1), Read::AtTail));
        assert!(matches!(ring.read(Offset(4), 1), Read::Behind { ring: Offset(5) }));
        assert_eq!(ring.event(Offset(8)).unwrap().position.offset, Offset(8));
    }

    #[test]
    fn drops_the_oldest_when_over_its_bound_but_keeps_the_last() {
        let ring = Ring::new(Offset(0), 1);
        ring.append(chunk(0..4));
        ring.append(chunk(4..6));
        assert!(matches!(ring.read(Offset(3), 1), Read::Behind { ring: Offset(4) }));
        assert_eq!(offsets(&ring.read(Offset(4), 9), 4), vec![4, 5]);
        assert_eq!(ring.end(), Offset(6));
    }

    #[test]
    #[should_panic(expected = "without a gap")]
    fn a_gap_is_a_broken_invariant() {
        let ring = Ring::new(Offset(0), 1);
        ring.append(chunk(1..2));
    }

    #[test]
    fn a_chunk_names_each_topic_once() {
        let mut events: Vec<StoredEvent> = (0..4).map(stored).collect();
        events[1].topic = TopicId(9);
        let first = events[0].topic;
        assert_eq!(Chunk::new(events).topics(), &[first, TopicId(9)]);
    }
}
