//! A block of ids that still lives in memory: filled by new events, then written out chunk by chunk, sorted.
//!
//! Ids are kept divided by hash into the chunks they will be written as, so that a look-up scans one small chunk and sealing
//! needs no pause: each chunk is sorted on its own. Knows nothing of the filter and of other blocks.
//!
//! Invariant: an id is found here from the moment it is added until the whole block is dropped from memory.

use alloc::vec::Vec;

use super::filter::{FilterSlot, part_of};
use crate::ids::Offset;
use crate::row::{IdBlockRow, IdEntry};
use crate::step::Write;
use crate::time::Timestamp;

/// Ids of a chunk, about: small enough to scan in memory and to read from disk for one look-up, large enough that a row's
/// overhead does not show.
pub(super) const CHUNK_IDS: u32 = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) slot: FilterSlot,
    first: Offset,
    end: Offset,
    oldest: Timestamp,
    newest: Timestamp,
    ids: u32,
    chunks: Vec<Chunk>,
    /// Chunks already written.
    written: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    hashes: Vec<u64>,
    /// Offset of each, counted from the block's first.
    places: Vec<u32>,
}

impl Block {
    pub(super) fn new(number: u64, slot: FilterSlot, ids_planned: u32) -> Block {
        let chunks = ids_planned.div_ceil(CHUNK_IDS).max(1);
        Block {
            number,
            slot,
            first: Offset(0),
            end: Offset(0),
            oldest: Timestamp(0),
            newest: Timestamp(0),
            ids: 0,
            chunks: (0..chunks).map(|_| Chunk::default()).collect(),
            written: 0,
        }
    }

    /// Adds the id of an event. Offsets come in ascending order and every stored event has an id, so a place fits 32 bits.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, offset: Offset, received: Timestamp) {
        if self.ids == 0 {
            self.first = offset;
            self.oldest = received;
        }
        self.end = offset.next();
        self.newest = self.newest.max(received);
        self.ids += 1;
        let index = part_of(hash, self.chunks.len() as u64) as usize;
        let chunk = &mut self.chunks[index];
        chunk.hashes.push(hash);
        chunk.places.push((offset.0 - self.first.0) as u32);
    }

    /// Offsets of events whose id has this hash, at or after `from`.
    pub(super) fn find(&self, hash: u64, from: Offset) -> impl Iterator<Item = Offset> {
        let chunk = &self.chunks[part_of(hash, self.chunks.len() as u64) as usize];
        let first = self.first.0;
        chunk
            .hashes
            .iter()
            .zip(&chunk.places)
            .filter(move |(known, _)| **known == hash)
            .map(move |(_, place)| Offset(first + u64::from(*place)))
            .filter(move |offset| *offset >= from)
    }

    pub(super) fn ids(&self) -> u32 {
        self.ids
    }

    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Writes up to this many more chunks; returns what is left of the budget and, with the last chunk, the block's row.
    pub(super) fn seal(&mut self, budget: u32, writes: &mut Vec<Write>) -> (u32, Option<IdBlockRow>) {
        let mut left = budget;
        while left > 0 && self.written < self.chunks.len() {
            let ids = self.chunks[self.written].sorted(self.first);
            writes.push(Write::IdChunk { block: self.number, chunk: self.written as u32, first: self.first, ids });
            self.written += 1;
            left -= 1;
        }
        if self.written < self.chunks.len() {
            return (left, None);
        }
        let row = IdBlockRow {
            first: self.first,
            end: self.end,
            ids: self.ids,
            chunks: self.chunks.len() as u32,
            oldest: self.oldest,
            newest: self.newest,
        };
        writes.push(Write::IdBlock { block: self.number, row: Some(row) });
        (left, Some(row))
    }
}

impl Chunk {
    fn sorted(&self, first: Offset) -> Vec<IdEntry> {
        let mut ids: Vec<IdEntry> = self
            .hashes
            .iter()
            .zip(&self.places)
            .map(|(hash, place)| IdEntry { hash: *hash, offset: Offset(first.0 + u64::from(*place)) })
            .collect();
        ids.sort_unstable();
        ids
    }
}
