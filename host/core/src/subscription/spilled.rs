//! What memory keeps of deliveries that wait on disk only: which lanes they block, when they are due, and which they are.
//!
//! About 40 bytes each, so that a million fit where a few thousand would with their rows, keys and queues. Knows nothing of
//! rows, events and verdicts. See docs/decisions/0015-waiting-deliveries-on-disk.md.
//!
//! Invariant: a spilled delivery is in `offsets` until its load was answered, and so is the lane it heads in `lanes`; meanwhile
//! it is in the heap of its class, in `loads`, or waits for a person.

use alloc::collections::{BTreeMap, BinaryHeap};
use core::cmp::Reverse;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::offset_set::OffsetSet;
use crate::event::Class;
use crate::ids::Offset;
use crate::lane_hash::{LaneHash, Placement};
use crate::row::{CHUNK_OFFSETS, Culprit};
use crate::step::LoadNumber;
use crate::time::Timestamp;

/// Tables and heaps that use less than one part in this many of their room give memory back.
const SPARE_PARTS: usize = 8;
/// Room below which nothing is given back.
const SPARE_MIN: usize = 1_024;
/// Spilled deliveries whose attempts are given back: as many as a window of evidence can hold several times over.
const GIVEN_BACK_MAX: usize = 4_096;
/// Instead of a chunk number: no later event of the lane was read.
const NOTHING_BEHIND: u32 = u32::MAX;

/// A spilled lane: 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Its hash, in halves so that no padding follows.
    hash: [u32; 2],
    /// The chunk of its first later event: where a rescan for it begins.
    behind: u32,
}

impl Head {
    fn new(LaneHash(hash): LaneHash, behind: Option<Offset>) -> Head {
        Head { hash: [(hash >> 32) as u32, hash as u32], behind: behind.map_or(NOTHING_BEHIND, chunk_of) }
    }

    fn lane(&self) -> LaneHash {
        LaneHash(u64::from(self.hash[0]) << 32 | u64::from(self.hash[1]))
    }
}

/// Chunk numbers fit: a log of 2^44 events is years of a million a second.
fn chunk_of(offset: Offset) -> u32 {
    u32::try_from(offset.0 / CHUNK_OFFSETS).map_or(NOTHING_BEHIND - 1, |chunk| chunk.min(NOTHING_BEHIND - 1))
}

/// A delivery on its way back to memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    pub(crate) offset: Offset,
    class: Class,
    due: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Spilled {
    lanes: HashTable<Head>,
    placement: Placement,
    /// Lanes with later events.
    followed: usize,
    offsets: OffsetSet,
    /// Those whose row was found at the restart and whose event was not read since.
    recovered: OffsetSet,
    /// By class.
    due: [BinaryHeap<Reverse<(Timestamp, Offset)>>; 3],
    loads: BTreeMap<LoadNumber, Loading>,
    /// How many of them, by class.
    loading: [usize; 3],
    loads_asked: u64,
    /// Rows of a recovered machine that are not the head of a spilled lane, or whose lane is not known: their events queue as
    /// if they had none, and are spilled when they come to the head of their lane.
    strays: BTreeMap<Offset, Timestamp>,
    given_back: BTreeMap<Offset, (u32, Culprit)>,
}

fn heap_of(class: Class) -> usize {
    usize::from(class.code())
}

impl Spilled {
    pub(crate) fn new(seed: u64) -> Spilled {
        Spilled {
            lanes: HashTable::new(),
            placement: Placement::new(seed),
            followed: 0,
            offsets: OffsetSet::default(),
            recovered: OffsetSet::default(),
            due: [BinaryHeap::new(), BinaryHeap::new(), BinaryHeap::new()],
            loads: BTreeMap::new(),
            loading: [0; 3],
            loads_asked: 0,
            strays: BTreeMap::new(),
            given_back: BTreeMap::new(),
        }
    }

    /// Deliveries on disk only.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() + self.strays.len()
    }

    /// Keys they block.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Keys among them that have later events.
    pub(crate) fn followed(&self) -> usize {
        self.followed
    }

    /// Whether an event that is read for the first time since the restart is one whose row was found then. It may have come back,
    /// and be anywhere, before the log was read so far.
    pub(crate) fn is_recovered(&self, offset: Offset) -> bool {
        self.recovered.contains(offset)
    }

    /// The first offset from here on that is not such an event.
    pub(crate) fn next_unrecovered(&self, from: Offset) -> Offset {
        self.recovered.next_absent(from)
    }

    /// The first offset in `from..to` that is such an event.
    pub(crate) fn next_recovered(&self, from: Offset, to: Offset) -> Option<Offset> {
        self.recovered.next_within(from, to)
    }

    /// Adds a delivery whose row was found at the restart.
    pub(crate) fn recover(&mut self, offset: Offset, class: Class, due: Timestamp) {
        self.recovered.insert(offset);
        self.add(offset, class, due);
    }

    /// The log was read up to here.
    pub(crate) fn passed(&mut self, position: Offset) {
        self.recovered.forget_below(position);
    }

    /// Adds a delivery that is on disk; one that is never due waits for a person.
    pub(crate) fn add(&mut self, offset: Offset, class: Class, due: Timestamp) {
        self.offsets.insert(offset);
        if due != Timestamp::NEVER {
            self.due[heap_of(class)].push(Reverse((due, offset)));
        }
    }

    /// Blocks a lane, with the first later event of it that was read; false if it was blocked before.
    pub(crate) fn block(&mut self, lane: LaneHash, behind: Option<Offset>) -> bool {
        let placement = self.placement;
        let is_it = |head: &Head| head.lane() == lane;
        match self.lanes.entry(placement.of(lane), is_it, |head| placement.of(head.lane())) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Head::new(lane, behind));
                self.followed += usize::from(behind.is_some());
                true
            }
        }
    }

    /// Notes a later event of a blocked lane; false if the lane is not blocked.
    pub(crate) fn follow(&mut self, lane: LaneHash, offset: Offset) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        let Some(head) = self.lanes.find_mut(self.placement.of(lane), |head| head.lane() == lane) else {
            return false;
        };
        if head.behind == NOTHING_BEHIND {
            head.behind = chunk_of(offset);
            self.followed += 1;
        }
        true
    }

    /// Frees a lane whose head is back. If it has later events: where they begin, at or after `from`.
    pub(crate) fn unblock(&mut self, lane: LaneHash, from: Offset) -> Option<Offset> {
        let found = self.lanes.find_entry(self.placement.of(lane), |head| head.lane() == lane);
        let (head, _) = found.ok()?.remove();
        let placement = self.placement;
        if is_spare(self.lanes.len(), self.lanes.capacity()) {
            self.lanes.shrink_to(2 * self.lanes.len(), |head| placement.of(head.lane()));
        }
        if head.behind == NOTHING_BEHIND {
            return None;
        }
        self.followed -= 1;
        Some(Offset(u64::from(head.behind) * CHUNK_OFFSETS).max(from))
    }

    /// The earliest due time of a class.
    pub(crate) fn next_due(&self, class: Class) -> Option<Timestamp> {
        self.due[heap_of(class)].peek().map(|Reverse((due, _))| *due)
    }

    /// Deliveries of a class on their way back.
    pub(crate) fn loading(&self, class: Class) -> usize {
        self.loading[heap_of(class)]
    }

    /// Takes the first delivery of a class that is due, to be loaded.
    pub(crate) fn take_due(&mut self, class: Class, now: Timestamp) -> Option<(LoadNumber, Offset)> {
        if self.next_due(class)? > now {
            return None;
        }
        let heap = &mut self.due[heap_of(class)];
        let Reverse((due, offset)) = heap.pop()?;
        if is_spare(heap.len(), heap.capacity()) {
            heap.shrink_to(2 * heap.len());
        }
        self.loads_asked += 1;
        let number = LoadNumber(self.loads_asked);
        self.loads.insert(number, Loading { offset, class, due });
        self.loading[heap_of(class)] += 1;
        Some((number, offset))
    }

    /// The delivery of a load that is not answered yet.
    pub(crate) fn load(&self, number: LoadNumber) -> Option<Loading> {
        self.loads.get(&number).copied()
    }

    /// Loads that are not answered yet.
    pub(crate) fn loads(&self) -> impl Iterator<Item = (LoadNumber, Offset)> {
        self.loads.iter().map(|(number, loading)| (*number, loading.offset))
    }

    /// Ends a load: the delivery is in memory now.
    pub(crate) fn loaded(&mut self, number: LoadNumber) {
        if let Some(loading) = self.loads.remove(&number) {
            self.offsets.remove(loading.offset);
            self.loading[heap_of(loading.class)] -= 1;
        }
    }

    /// Remembers that attempts of a spilled delivery were not its fault, until it is back. Beyond the bound they stay charged.
    pub(crate) fn give_back(&mut self, offset: Offset, count: u32, culprit: Culprit) {
        if self.offsets.contains(offset)
            && (self.given_back.len() < GIVEN_BACK_MAX || self.given_back.contains_key(&offset))
        {
            let (given, blamed) = self.given_back.entry(offset).or_insert((0, culprit));
            (*given, *blamed) = (given.saturating_add(count), culprit);
        }
    }

    /// What was remembered for a delivery that is back.
    pub(crate) fn take_given_back(&mut self, offset: Offset) -> Option<(u32, Culprit)> {
        if self.given_back.is_empty() { None } else { self.given_back.remove(&offset) }
    }

    /// Adds a recovered row that is no head of a spilled lane.
    pub(crate) fn add_stray(&mut self, offset: Offset, due: Timestamp) {
        self.strays.insert(offset, due);
    }

    /// Whether there is a stray row of this event.
    pub(crate) fn is_stray(&self, offset: Offset) -> bool {
        !self.strays.is_empty() && self.strays.contains_key(&offset)
    }

    /// Takes the stray row of an event that came to the head of its lane: its due time.
    pub(crate) fn take_stray(&mut self, offset: Offset) -> Option<Timestamp> {
        if self.strays.is_empty() { None } else { self.strays.remove(&offset) }
    }

    /// Takes the first stray row of `from..to`.
    pub(crate) fn take_stray_within(&mut self, from: Offset, to: Offset) -> Option<Offset> {
        if self.strays.is_empty() {
            return None;
        }
        let offset = *self.strays.range(from..to).next()?.0;
        self.strays.remove(&offset);
        Some(offset)
    }

    /// Every delivery with its due time. A walk: for people and tests.
    pub(crate) fn dues(&self) -> BTreeMap<Offset, Timestamp> {
        let mut all: BTreeMap<Offset, Timestamp> =
            self.offsets.iter().map(|offset| (offset, Timestamp::NEVER)).collect();
        all.extend(self.due.iter().flatten().map(|Reverse((due, offset))| (*offset, *due)));
        all.extend(self.loads.values().map(|loading| (loading.offset, loading.due)));
        all.extend(&self.strays);
        all
    }
}

fn is_spare(len: usize, capacity: usize) -> bool {
    capacity > SPARE_MIN && len < capacity / SPARE_PARTS
}
