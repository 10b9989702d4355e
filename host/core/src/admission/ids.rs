//! The publish-id window: where were events with this hash stored, as far back as the window reaches?
//!
//! One window for all topics of the slot, with the topic hashed into the id; at least the latest [`WindowSize::ids`] ids, unless
//! they are older than [`WindowSize::time`]. Ids live in blocks: the newest few in memory, older ones sealed on disk as sorted
//! chunks, and one filter in memory over them all. A hash only finds candidates; the verdict compares the stored events.
//!
//! Invariant: each stored event from the window's start on is found by its hash, in memory or in the block that is named.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::block::{Block, CHUNK_IDS};
use super::filter::{Filter, FilterSlot};
use crate::ids::Offset;
use crate::row::{IdBlockRow, IdEntry};
use crate::step::Write;
use crate::time::{Millis, Timestamp};

/// How far back ids are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// At least this many latest ids ...
    pub ids: u64,
    /// ... but none of a block that ended longer ago than this.
    pub time: Millis,
}

impl Default for WindowSize {
    /// The documented defaults: 10 million ids or 24 hours.
    fn default() -> Self {
        WindowSize { ids: 10_000_000, time: Millis::from_secs(24 * 3600) }
    }
}

impl WindowSize {
    /// Blocks a full window is made of; the filter can name 31, of which some are filling, being sealed or being forgotten.
    const BLOCKS: u64 = 20;
    /// A block larger than this would put too much of a restart into reading the log again.
    const BLOCK_IDS_MAX: u64 = 1 << 21;

    fn block_ids(self) -> u32 {
        self.ids.div_ceil(Self::BLOCKS).clamp(1, Self::BLOCK_IDS_MAX) as u32
    }
}

/// Where to look for events with a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdPlace {
    /// The event at this offset has the hash.
    Log(Offset),
    /// This sealed block may have entries with the hash.
    Block(u64),
}

/// What was forgotten: every id of an event at or above `below` is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) below: Offset,
    /// No forgotten event was received later than this.
    pub(super) until: Timestamp,
}

#[derive(Debug)]
struct Sealed {
    number: u64,
    slot: FilterSlot,
    row: IdBlockRow,
}

/// See the module.
#[derive(Debug)]
pub(super) struct IdWindow {
    size: WindowSize,
    filter: Filter,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    /// Oldest first: full ones being written out, and the one that is being filled.
    unsealed: VecDeque<Block>,
    next_number: u64,
    forgotten: Forgotten,
    /// Ids from here on count if they are found. Less than what was forgotten, if logs with a shorter retention than others were
    /// trimmed further.
    known_from: Offset,
    /// Ids in all blocks.
    ids: u64,
    /// Ids added since the last [`IdWindow::step`].
    added: u32,
}

impl IdWindow {
    pub(super) fn new(size: WindowSize) -> IdWindow {
        // Three blocks more than the window: one filling, one being sealed, one not dropped yet.
        let planned = size.ids.saturating_add(3 * u64::from(size.block_ids()));
        IdWindow {
            size,
            filter: Filter::new(planned),
            sealed: VecDeque::new(),
            unsealed: VecDeque::new(),
            next_number: 1,
            forgotten: Forgotten::default(),
            known_from: Offset(0),
            ids: 0,
            added: 0,
        }
    }

    /// After a restart, before any other call: a sealed block, oldest first.
    pub(super) fn load_block(&mut self, number: u64, row: IdBlockRow) {
        self.next_number = self.next_number.max(number + 1);
        if self.sealed.is_empty() && row.first > Offset(0) {
            self.trimmed(row.first, row.oldest);
        }
        // `step` keeps fewer, so more than this were not written by it.
        if self.sealed.len() > SEALED_MAX + 1 {
            return;
        }
        let Some(slot) = self.filter.allocate() else { return };
        self.ids += u64::from(row.ids);
        self.sealed.push_back(Sealed { number, slot, row });
    }

    /// Ids of a loaded block.
    pub(super) fn load_ids(&mut self, number: u64, ids: &[IdEntry]) {
        let Some(slot) = self.sealed.iter().find(|block| block.number == number).map(|block| block.slot) else {
            return;
        };
        for id in ids {
            self.filter.insert(id.hash, slot);
        }
    }

    /// From which offset on ids are in no sealed block and come from the log.
    pub(super) fn unsealed_from(&self) -> Offset {
        self.sealed.back().map_or(Offset(0), |block| block.row.end)
    }

    /// The log starts only here; what is older was forgotten with its events.
    pub(super) fn trimmed(&mut self, floor: Offset, until: Timestamp) {
        self.known_from = self.known_from.max(floor);
        self.dropped(floor, until);
    }

    /// Some of the events below, none received after `until`, are not in the log any more.
    pub(super) fn dropped(&mut self, below: Offset, until: Timestamp) {
        if below > self.forgotten.below {
            self.forgotten = Forgotten { below, until: self.forgotten.until.max(until) };
        }
    }

    /// The same after a restart, for a floor inside the sealed blocks: their times bound when the last forgotten event came.
    pub(super) fn trimmed_at_rest(&mut self, floor: Offset, dropped_below: Offset) {
        let newest = |below: Offset| {
            let blocks = self.sealed.iter().filter(|block| block.row.first < below);
            blocks.map(|block| block.row.newest).max()
        };
        let (lowest, highest) = (newest(floor), newest(dropped_below));
        if let Some(until) = lowest {
            self.trimmed(floor, until);
        }
        if let Some(until) = highest {
            self.dropped(dropped_below, until);
        }
    }

    /// From where on what is found counts.
    pub(super) fn known_from(&self) -> Offset {
        self.known_from
    }

    pub(super) fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// Names every place where events with this hash may be, except those at or after `recent`, which the caller knows.
    #[inline]
    pub(super) fn probe(&self, hash: u64, recent: Offset, mut found: impl FnMut(IdPlace)) {
        let slots = self.filter.probe(hash);
        if slots.is_empty() {
            return;
        }
        for block in self.sealed.iter().filter(|block| slots.has(block.slot)) {
            found(IdPlace::Block(block.number));
        }
        for block in self.unsealed.iter().filter(|block| slots.has(block.slot)) {
            block
                .find(hash, self.known_from)
                .filter(|offset| *offset < recent)
                .for_each(|offset| found(IdPlace::Log(offset)));
        }
    }

    /// Offsets at or after `recent` of events with this hash.
    #[inline]
    pub(super) fn probe_recent(&self, hash: u64, recent: Offset, mut found: impl FnMut(Offset)) {
        let slots = self.filter.probe(hash);
        if slots.is_empty() {
            return;
        }
        for block in self.unsealed.iter().filter(|block| slots.has(block.slot) && block.end() > recent) {
            block.find(hash, recent).for_each(&mut found);
        }
    }

    /// Adds the id of a stored event.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, offset: Offset, received: Timestamp) {
        let is_full = self.unsealed.back().is_none_or(|block| block.ids() >= self.size.block_ids());
        if is_full {
            self.begin_block();
        }
        // `begin_block` leaves at least one block, so there is one to add to.
        let Some(block) = self.unsealed.back_mut() else { return };
        self.filter.insert(hash, block.slot);
        block.add(hash, offset, received);
        self.ids += 1;
        self.added += 1;
    }

    /// Without a free slot the last block goes on growing; sealing and sweeping make one free soon.
    fn begin_block(&mut self) {
        if self.unsealed.is_empty() {
            // There is nothing to grow. At most SEALED_MAX + 2 slots are live, so a sweep to the end frees one.
            self.filter.sweep_to_the_end();
        }
        if let Some(slot) = self.filter.allocate() {
            self.unsealed.push_back(Block::new(self.next_number, slot, self.size.block_ids()));
            self.next_number += 1;
        }
    }

    /// A bounded share of the upkeep, once per commit: writes chunks of full blocks, drops blocks that left the window. Keeps
    /// ahead of the arrivals, so that at most one full block waits.
    pub(super) fn step(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        let added = core::mem::take(&mut self.added);
        let mut budget = CHUNKS_PER_STEP_MIN + 2 * added / CHUNK_IDS;
        while budget > 0 && self.unsealed.len() > 1 {
            let block = &mut self.unsealed[0];
            let (left, row) = block.seal(budget, writes);
            budget = left;
            let Some(row) = row else { break };
            self.sealed.push_back(Sealed { number: block.number, slot: block.slot, row });
            self.unsealed.pop_front();
        }
        while let Some(block) = self.sealed.front() {
            let ids = u64::from(block.row.ids);
            let is_past = self.ids - ids >= self.size.ids
                || now.since(block.row.newest) > self.size.time
                || self.sealed.len() > SEALED_MAX;
            if !is_past {
                break;
            }
            writes.push(Write::IdBlock { block: block.number, row: None });
            self.filter.retire(block.slot);
            self.ids -= ids;
            let (end, newest) = (block.row.end, block.row.newest);
            self.sealed.pop_front();
            self.trimmed(end, newest);
        }
        self.filter.sweep(BUCKETS_PER_STEP_MIN + 2 * u64::from(added));
    }

    /// The filter's memory when it is full.
    pub(super) fn filter_bytes(&self) -> usize {
        self.filter.bytes()
    }

    /// Ids known just now.
    pub(super) fn ids(&self) -> u64 {
        self.ids
    }
}

/// Chunks written per commit at least, so that a quiet host seals a block in a few minutes of commits.
const CHUNKS_PER_STEP_MIN: u32 = 4;
/// Sealed blocks kept; more are there only after the window was configured larger, and then the oldest, smaller ones go early.
const SEALED_MAX: usize = WindowSize::BLOCKS as usize + 4;
/// Buckets swept per commit at least: 64 KiB of memory.
const BUCKETS_PER_STEP_MIN: u64 = 1024;
