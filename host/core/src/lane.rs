//! The lanes of a subscription: one queue per (ordering key, class), at most one of its deliveries under way.
//!
//! A lane is its hash ([`LaneHash`]): keys that collide share one. Slots of lanes that ended are used again with their buffers.
//! A queue holds offsets only, and is bounded: beyond that a lane remembers just where the rest begins ([`Overflow`]) and is
//! refilled by reading that part of the log again. Knows nothing of verdicts, tickets or timers.
//!
//! Invariant: the head of a queue is the only one of its lane that may be handed to a plugin, and offsets in it only grow.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashTable;

use crate::event::Class;
use crate::ids::Offset;
use crate::lane_hash::{LaneHash, Placement};
use crate::time::Timestamp;

/// A queue longer than this gives its memory back when its lane ends.
const QUEUE_KEPT_MAX: usize = 16;

/// Index of a lane's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(u32);

/// What the lane's head does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneState {
    /// The slot is not in use.
    Free,
    /// Nothing is queued.
    Idle,
    /// `ordering.hold`: nothing starts before then.
    Closed {
        /// It opens then.
        until: Timestamp,
    },
    /// The head is in the ready queue.
    Ready,
    /// The head is with the plugin.
    InFlight,
    /// The head waits for its next attempt.
    Waiting,
}

/// The part of a lane that did not fit its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// Every event of the lane from here on that was read is unsettled and not queued.
    pub(crate) from: Offset,
    /// The rescan that cannot refill the lane any more, since it passed some of its events.
    pub(crate) missed_by: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The key that opened it; empty as long as only events were in it whose keys are erased.
    key: String,
    class: Class,
    hash: LaneHash,
    pub(crate) state: LaneState,
    /// Unsettled offsets in order; the head is the one that is ready, in flight or waiting.
    queue: VecDeque<Offset>,
    pub(crate) overflow: Option<Overflow>,
    /// Its place among the overflowed lanes, while it has an overflow.
    overflow_place: usize,
    /// The seal that wrote the latest settlement of this lane, zero if there was none since the slot was taken.
    pub(crate) settled_in: u64,
}

impl Lane {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    pub(crate) fn hash(&self) -> LaneHash {
        self.hash
    }

    pub(crate) fn head(&self) -> Option<Offset> {
        self.queue.front().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// What is queued, the head included.
    pub(crate) fn queued(&self) -> impl Iterator<Item = Offset> {
        self.queue.iter().copied()
    }

    /// How many of the lane come before an offset that is queued in it.
    pub(crate) fn place_of(&self, offset: Offset) -> Option<usize> {
        self.queue.binary_search(&offset).ok()
    }
}

/// What became of an offset that joined a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It is the head of an open lane.
    Head,
    /// Something of the lane is before it, or the lane is closed.
    Behind,
    /// The queue is full: it will be read again.
    Overflowed,
}

/// A lane that was taken out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) hash: LaneHash,
    /// The first event behind its head that was read, if there is one.
    pub(crate) behind: Option<Offset>,
    /// Its overflow.
    pub(crate) overflow: Option<Overflow>,
}

/// All lanes of a subscription.
#[derive(Debug)]
pub(crate) struct Lanes {
    table: HashTable<LaneId>,
    slots: Vec<Lane>,
    free: Vec<LaneId>,
    /// Lanes with an overflow.
    overflowed: Vec<LaneId>,
    /// Lanes that ended, with the seal that wrote their last settlement, oldest first.
    ended: VecDeque<(u64, LaneId)>,
    /// Offsets in all queues.
    queued: usize,
    queue_max: usize,
    placement: Placement,
    hash_bits: u32,
}

impl Lanes {
    pub(crate) fn new(seed: u64, queue_max: usize) -> Lanes {
        Lanes {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            overflowed: Vec::new(),
            ended: VecDeque::new(),
            queued: 0,
            queue_max,
            placement: Placement::new(seed),
            hash_bits: u64::BITS,
        }
    }

    /// The same with only some bits of the hash in use, so that keys collide.
    pub(crate) fn with_hash_bits(self, hash_bits: u32) -> Lanes {
        Lanes { hash_bits, ..self }
    }

    /// Offsets in all queues.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Lanes that hold something or are closed.
    pub(crate) fn busy(&self) -> usize {
        self.slots.len() - self.free.len() - self.ended.len().min(self.slots.len() - self.free.len())
    }

    pub(crate) fn get(&self, id: LaneId) -> &Lane {
        &self.slots[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: LaneId) -> &mut Lane {
        &mut self.slots[id.0 as usize]
    }

    /// The lane a key belongs to.
    pub(crate) fn hash_of(&self, key: &str, class: Class) -> LaneHash {
        LaneHash::of(key, class).truncated(self.hash_bits)
    }

    pub(crate) fn find_hashed(&self, hash: LaneHash) -> Option<LaneId> {
        self.table.find(self.placement.of(hash), |id| self.get(*id).hash == hash).copied()
    }

    /// The lane of a key, if it has one.
    pub(crate) fn find(&self, key: &str, class: Class) -> Option<LaneId> {
        self.find_hashed(self.hash_of(key, class))
    }

    /// The lane of a key, made if need be.
    pub(crate) fn open(&mut self, key: &str, class: Class) -> LaneId {
        self.open_hashed(self.hash_of(key, class), key, class)
    }

    /// The same of a key whose hash is known.
    pub(crate) fn open_hashed(&mut self, hash: LaneHash, key: &str, class: Class) -> LaneId {
        if let Some(id) = self.find_hashed(hash) {
            self.name(id, key);
            return id;
        }
        let id = self.take_slot();
        let lane = self.get_mut(id);
        lane.key.push_str(key);
        lane.class = class;
        lane.hash = hash;
        lane.state = LaneState::Idle;
        let (slots, placement) = (&self.slots, self.placement);
        self.table.insert_unique(placement.of(hash), id, |id| placement.of(slots[id.0 as usize].hash));
        id
    }

    /// Tells the key of a lane that was opened for an event whose key is erased.
    pub(crate) fn name(&mut self, id: LaneId, key: &str) {
        let lane = self.get_mut(id);
        if lane.key.is_empty() {
            lane.key.push_str(key);
        }
    }

    fn take_slot(&mut self) -> LaneId {
        if let Some(id) = self.free.pop() {
            return id;
        }
        let id = LaneId(u32::try_from(self.slots.len()).expect("lanes are bounded far below 2^32"));
        self.slots.push(Lane {
            key: String::new(),
            class: Class::default(),
            hash: LaneHash::default(),
            state: LaneState::Free,
            queue: VecDeque::new(),
            overflow: None,
            overflow_place: 0,
            settled_in: 0,
        });
        id
    }

    /// Queues an offset behind what the lane has; a fresh overflow counts as passed by the rescan `pass`.
    pub(crate) fn join(&mut self, id: LaneId, offset: Offset, pass: u64) -> Joined {
        let queue_max = self.queue_max;
        let lane = &mut self.slots[id.0 as usize];
        if lane.overflow.is_some() {
            return Joined::Overflowed;
        }
        if lane.queue.len() >= queue_max {
            self.overflow(id, offset, pass);
            return Joined::Overflowed;
        }
        self.push(id, offset)
    }

    /// Has a lane without an overflow refilled from here on, by a later rescan than `pass`.
    pub(crate) fn overflow(&mut self, id: LaneId, from: Offset, pass: u64) {
        let place = self.overflowed.len();
        let lane = self.get_mut(id);
        lane.overflow = Some(Overflow { from, missed_by: pass });
        lane.overflow_place = place;
        self.overflowed.push(id);
    }

    /// Queues an offset that a rescan found.
    pub(crate) fn rejoin(&mut self, id: LaneId, offset: Offset) -> Option<Joined> {
        let queue_max = self.queue_max;
        let lane = &mut self.slots[id.0 as usize];
        let overflow = lane.overflow.as_mut()?;
        if lane.queue.len() >= queue_max {
            overflow.from = offset;
            return Some(Joined::Overflowed);
        }
        overflow.from = offset.next();
        Some(self.push(id, offset))
    }

    fn push(&mut self, id: LaneId, offset: Offset) -> Joined {
        let lane = &mut self.slots[id.0 as usize];
        lane.queue.push_back(offset);
        self.queued += 1;
        if lane.state == LaneState::Idle { Joined::Head } else { Joined::Behind }
    }

    /// Takes the head out: it was settled.
    pub(crate) fn pop(&mut self, id: LaneId) -> Option<Offset> {
        let head = self.slots[id.0 as usize].queue.pop_front();
        self.queued -= usize::from(head.is_some());
        head
    }

    /// Puts the head behind everything else of its lane, which no lane ever does: for the seeded bug of that name.
    pub(crate) fn rotate(&mut self, id: LaneId) {
        let queue = &mut self.slots[id.0 as usize].queue;
        if let Some(head) = queue.pop_front() {
            queue.push_back(head);
        }
    }

    /// Takes out of every queue what lies below `to` and is not kept; `read` is how far the log was read. Returns the lanes that
    /// have another head now, or none.
    pub(crate) fn let_go_below(&mut self, to: Offset, kept: &BTreeSet<Offset>, read: Offset, seal: u64) -> Vec<LaneId> {
        let mut changed = Vec::new();
        for (index, lane) in self.slots.iter_mut().enumerate().filter(|(_, lane)| lane.state != LaneState::Free) {
            let (head, len) = (lane.head(), lane.len());
            lane.queue.retain(|offset| *offset >= to || kept.contains(offset));
            self.queued -= len - lane.len();
            if let Some(overflow) = &mut lane.overflow {
                overflow.from = overflow.from.max(to);
            }
            let had_overflow = lane.overflow.is_some();
            lane.overflow = lane.overflow.filter(|overflow| overflow.from < read);
            // Nothing was queued, and nothing is to come any more: without a word it would be kept for ever.
            let is_over = had_overflow && lane.overflow.is_none() && lane.head().is_none();
            let is_closed = matches!(lane.state, LaneState::Closed { .. });
            if (head != lane.head() || is_over) && !is_closed {
                lane.settled_in = seal;
                changed.push(LaneId(u32::try_from(index).expect("lanes are bounded far below 2^32")));
            }
        }
        let slots = &mut self.slots;
        self.overflowed.retain(|id| slots[id.0 as usize].overflow.is_some());
        for (place, id) in self.overflowed.iter().enumerate() {
            slots[id.0 as usize].overflow_place = place;
        }
        changed
    }

    /// No lanes, with the same hash and bounds.
    pub(crate) fn emptied(&self) -> Lanes {
        let (placement, hash_bits) = (self.placement, self.hash_bits);
        Lanes { placement, hash_bits, ..Lanes::new(0, self.queue_max) }
    }

    /// Remembers that a lane has nothing left, so that [`Lanes::forget_ended`] can let go of it.
    pub(crate) fn end(&mut self, id: LaneId) {
        let lane = self.get(id);
        if lane.state == LaneState::Idle && lane.queue.is_empty() && lane.overflow.is_none() {
            self.ended.push_back((lane.settled_in, id));
        }
    }

    /// Frees the lanes that ended in the seal `through` or before and are still idle. Until then a lane is kept so that its key's
    /// next event knows of a settlement that may not be durable yet.
    pub(crate) fn forget_ended(&mut self, through: u64) {
        while let Some(&(sealed, id)) = self.ended.front()
            && sealed <= through
        {
            self.ended.pop_front();
            let lane = self.get(id);
            let is_over = lane.state == LaneState::Idle && lane.queue.is_empty() && lane.overflow.is_none();
            if is_over && lane.settled_in == sealed {
                self.forget(id);
            }
        }
    }

    /// Takes a lane out of memory; what it held is for the caller to remember.
    pub(crate) fn take(&mut self, id: LaneId) -> Taken {
        let lane = self.get_mut(id);
        let overflow = lane.overflow.take();
        let behind = lane.queue.get(1).copied().or(overflow.map(|overflow| overflow.from));
        let taken = Taken { hash: lane.hash, behind, overflow };
        let (queued, place) = (lane.queue.len(), lane.overflow_place);
        lane.queue.clear();
        self.queued -= queued;
        if overflow.is_some() {
            self.overflowed.swap_remove(place);
            if let Some(moved) = self.overflowed.get(place).copied() {
                self.get_mut(moved).overflow_place = place;
            }
        }
        self.forget(id);
        taken
    }

    fn forget(&mut self, id: LaneId) {
        let hash = self.placement.of(self.get(id).hash);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        let lane = self.get_mut(id);
        lane.key.clear();
        if lane.queue.capacity() > QUEUE_KEPT_MAX {
            lane.queue = VecDeque::new();
        }
        lane.state = LaneState::Free;
        lane.settled_in = 0;
        self.free.push(id);
    }

    /// Lanes in use, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.slots.iter().filter(|lane| lane.state != LaneState::Free)
    }

    /// Lanes with an overflow.
    pub(crate) fn overflowed(&self) -> &[LaneId] {
        &self.overflowed
    }

    /// Whether a lane with an overflow has room enough to be worth a rescan.
    pub(crate) fn is_hungry(&self, id: LaneId) -> bool {
        let lane = self.get(id);
        lane.overflow.is_some() && lane.queue.len() <= self.queue_max / 2
    }

    /// Whether the lane's queue is full.
    pub(crate) fn is_full(&self, id: LaneId) -> bool {
        self.get(id).queue.len() >= self.queue_max
    }

    /// Ends the overflow of every lane of which the rescan `pass` read all of it.
    pub(crate) fn clear_overflows(&mut self, pass: u64) {
        let all = core::mem::take(&mut self.overflowed);
        for id in all {
            let place = self.overflowed.len();
            let lane = self.get_mut(id);
            if lane.overflow.is_some_and(|overflow| overflow.missed_by == pass) {
                lane.overflow_place = place;
                self.overflowed.push(id);
            } else {
                lane.overflow = None;
                self.end(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
