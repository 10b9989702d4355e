//! How far a subscription has come: a floor below which everything is settled, and one bit per settled offset above it.
//!
//! Bits live in chunks of [`CHUNK_OFFSETS`]; a chunk's row is written at most once per seal, and only while it has a bit above
//! the floor, so acks in order write one small row per commit. Offsets that nobody wants (another topic, not matching) are
//! skipped: they count as settled but cause no row of their own, since a later reader of the log skips them again.
//! Knows nothing of why an offset is settled.
//!
//! Invariant: the floor never passes an offset that was neither settled nor skipped.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::event::Class;
use crate::ids::{Offset, SubscriptionId};
use crate::row::{CHUNK_OFFSETS, CursorChunk, CursorRow};
use crate::seeded::{Bug, is_planted};
use crate::step::Write;

/// Words of a chunk.
const WORDS: usize = 64;

/// A floor that moved by skipping alone is written after this many offsets, so that a restart re-reads only a little.
const FLOOR_LAG_MAX: u64 = CHUNK_OFFSETS;

/// Emptied chunks kept for reuse, so that acks in order allocate nothing.
const SPARE_CHUNKS_MAX: usize = 2;

type Bits = Box<[u64; WORDS]>;

#[derive(Debug, Default)]
struct Chunk {
    /// `None` while no bit is set.
    bits: Option<Bits>,
    /// A settled bit was set since the last seal.
    is_dirty: bool,
    /// There is a row of it on disk.
    is_stored: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cursor {
    floor: Offset,
    /// The floor on disk.
    stored_floor: Offset,
    /// Something was settled since the last seal.
    is_dirty: bool,
    /// The floor was moved to another place since the last seal.
    is_moved: bool,
    /// Number of the first chunk of `chunks`; the floor is in it.
    first: u64,
    chunks: VecDeque<Chunk>,
    /// Numbers of dirty chunks.
    dirty: Vec<u64>,
    /// Chunks below the floor whose rows must go.
    gone: Vec<u64>,
    spare: Vec<Bits>,
}

impl Cursor {
    /// The cursor of these rows.
    pub(crate) fn recover(row: CursorRow, chunks: Vec<(u64, CursorChunk)>) -> Cursor {
        let mut cursor = Cursor {
            floor: row.floor,
            stored_floor: row.floor,
            is_dirty: false,
            is_moved: false,
            first: row.floor.0 / CHUNK_OFFSETS,
            chunks: VecDeque::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            spare: Vec::new(),
        };
        for (number, CursorChunk(bits)) in chunks {
            if number < cursor.first {
                cursor.gone.push(number);
            } else {
                let chunk = cursor.chunk_mut(number);
                chunk.bits = Some(bits);
                chunk.is_stored = true;
            }
        }
        cursor.pull_up();
        cursor
    }

    /// Everything below is settled.
    pub(crate) fn floor(&self) -> Offset {
        self.floor
    }

    /// Whether the offset is settled or skipped.
    pub(crate) fn is_settled(&self, offset: Offset) -> bool {
        if offset < self.floor {
            return true;
        }
        let (number, word, bit) = place(offset);
        self.chunks
            .get((number - self.first) as usize)
            .and_then(|chunk| chunk.bits.as_ref())
            .is_some_and(|bits| bits[word] >> bit & 1 == 1)
    }

    /// The first offset from here on that is neither settled nor skipped.
    pub(crate) fn next_unsettled(&self, from: Offset) -> Offset {
        let mut at = from.max(self.floor);
        loop {
            let (number, word, bit) = place(at);
            let chunk = self.chunks.get((number - self.first) as usize);
            let Some(bits) = chunk.and_then(|chunk| chunk.bits.as_ref()) else { return at };
            let run = u64::from((bits[word] >> bit).trailing_ones());
            at = Offset(at.0 + run);
            if run < 64 - u64::from(bit) {
                return at;
            }
        }
    }

    /// Settles an offset; false if it was already.
    pub(crate) fn settle(&mut self, offset: Offset) -> bool {
        if self.is_settled(offset) {
            return false;
        }
        self.is_dirty = true;
        if offset == self.floor {
            self.floor = offset.next();
            self.pull_up();
            return true;
        }
        let (number, word, bit) = place(offset);
        self.set(number, word, 1 << bit);
        let chunk = self.chunk_mut(number);
        if !chunk.is_dirty {
            chunk.is_dirty = true;
            self.dirty.push(number);
        }
        true
    }

    /// Counts `from..to` as settled without a row: nobody wants these offsets.
    pub(crate) fn skip(&mut self, from: Offset, to: Offset) {
        if from <= self.floor {
            if to > self.floor {
                self.floor = to;
                self.pull_up();
            }
            return;
        }
        let mut at = from.0;
        while at < to.0 {
            let (number, word, bit) = place(Offset(at));
            let len = (64 - u64::from(bit)).min(to.0 - at);
            let ones = u64::MAX >> (64 - len);
            self.set(number, word, ones << bit);
            at += len;
        }
    }

    /// Has every chunk written with the next seal, skipped offsets included: what was skipped so far stays skipped, whatever
    /// filter a later reader has.
    pub(crate) fn keep_skipped(&mut self) {
        self.is_dirty = true;
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            if chunk.bits.is_some() && !chunk.is_dirty {
                chunk.is_dirty = true;
                self.dirty.push(self.first + index as u64);
            }
        }
    }

    /// Adds the rows that changed since the last seal.
    pub(crate) fn seal(&mut self, subscription: SubscriptionId, writes: &mut Vec<Write>) {
        let lag = self.floor.0.saturating_sub(self.stored_floor.0);
        let must = self.is_dirty || !self.gone.is_empty() || lag >= FLOOR_LAG_MAX;
        if !must {
            return;
        }
        self.is_dirty = false;
        // One log position serves all classes until each class has its own index; its row is filed under the default class.
        let class = Class::default();
        if lag > 0 || core::mem::take(&mut self.is_moved) {
            self.stored_floor = self.floor;
            writes.push(Write::Cursor { subscription, class, row: CursorRow { floor: self.floor } });
        }
        for chunk in self.gone.drain(..) {
            writes.push(Write::Chunk { subscription, class, chunk, row: None });
        }
        let mut dirty = core::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        for number in dirty.drain(..) {
            if let Some(row) = self.row_of(number) {
                writes.push(Write::Chunk { subscription, class, chunk: number, row: Some(row) });
            }
        }
        self.dirty = dirty;
    }

    /// Settles every offset of `from..to`, which begins at the floor or above; returns how many were not settled before.
    pub(crate) fn let_go(&mut self, from: Offset, to: Offset) -> u64 {
        let count = (to.0 - from.0) - self.settled_within(from, to);
        if count == 0 {
            return 0;
        }
        self.is_dirty = true;
        self.skip(from, to);
        for number in (from.0 / CHUNK_OFFSETS)..=((to.0 - 1) / CHUNK_OFFSETS) {
            if number >= self.first && to > self.floor {
                let chunk = self.chunk_mut(number);
                if !chunk.is_dirty {
                    chunk.is_dirty = true;
                    self.dirty.push(number);
                }
            }
        }
        count
    }

    /// Begins again at a place: everything from there on counts as unsettled.
    pub(crate) fn start_over(&mut self, at: Offset) {
        for (index, chunk) in core::mem::take(&mut self.chunks).into_iter().enumerate() {
            self.retire(self.first + index as u64, Some(chunk));
        }
        self.dirty.clear();
        self.first = at.0 / CHUNK_OFFSETS;
        self.floor = at;
        (self.is_dirty, self.is_moved) = (true, true);
    }

    /// Offsets above the floor that are settled. Counts bits: not for each event.
    pub(crate) fn settled_above_floor(&self) -> u64 {
        self.settled_within(self.floor, Offset((self.first + self.chunks.len() as u64) * CHUNK_OFFSETS))
    }

    fn settled_within(&self, from: Offset, to: Offset) -> u64 {
        let end = to.0.min((self.first + self.chunks.len() as u64) * CHUNK_OFFSETS);
        let mut at = from.0.max(self.floor.0);
        let mut count = 0;
        while at < end {
            let (settled, len) = self.run_at(at, end);
            count += u64::from(settled.count_ones());
            at += len;
        }
        count
    }

    /// The bits from an offset to the end of its word, or to `end`, and how many they are.
    fn run_at(&self, at: u64, end: u64) -> (u64, u64) {
        let (number, word, bit) = place(Offset(at));
        let len = (64 - u64::from(bit)).min(end - at);
        let chunk = number.checked_sub(self.first).and_then(|index| self.chunks.get(index as usize));
        let bits = chunk.and_then(|chunk| chunk.bits.as_ref()).map_or(0, |bits| bits[word]);
        (bits >> bit & u64::MAX >> (64 - len), len)
    }

    /// The offset behind the `count` oldest ones that are not settled; `end` if there are not so many before it.
    pub(crate) fn behind_unsettled(&self, count: u64, end: Offset) -> Offset {
        let (mut at, mut left) = (self.floor.0, count);
        while left > 0 && at < end.0 {
            let (settled, len) = self.run_at(at, end.0);
            let free = !settled & u64::MAX >> (64 - len);
            let here = u64::from(free.count_ones());
            if here > left {
                let mut rest = free;
                for _ in 1..left {
                    rest &= rest - 1;
                }
                return Offset(at + u64::from(rest.trailing_zeros()) + 1);
            }
            left -= here;
            at += len;
        }
        Offset(at)
    }

    /// The row of a dirty chunk, unless the floor says it all.
    fn row_of(&mut self, number: u64) -> Option<CursorChunk> {
        let index = number.checked_sub(self.first)? as usize;
        let floor = self.floor;
        let chunk = self.chunks.get_mut(index)?;
        chunk.is_dirty = false;
        let bits = chunk.bits.as_ref().filter(|_| !is_planted(Bug::CursorHolesNotWritten))?;
        let has_bit_above = if index > 0 {
            true
        } else {
            let (_, word, bit) = place(floor);
            bits[word] >> bit != 0 || bits[word + 1..].iter().any(|bits| *bits != 0)
        };
        if !has_bit_above {
            return None;
        }
        chunk.is_stored = true;
        Some(CursorChunk(bits.clone()))
    }

    fn chunk_mut(&mut self, number: u64) -> &mut Chunk {
        // The floor's chunk is `first`, and nobody sets a bit below the floor.
        let index = (number - self.first) as usize;
        if index >= self.chunks.len() {
            self.chunks.resize_with(index + 1, Chunk::default);
        }
        &mut self.chunks[index]
    }

    fn set(&mut self, number: u64, word: usize, ones: u64) {
        let spare = self.spare.pop();
        let chunk = self.chunk_mut(number);
        match (&mut chunk.bits, spare) {
            (Some(bits), spare) => {
                bits[word] |= ones;
                self.spare.extend(spare);
            }
            (empty, spare) => {
                let mut bits = spare.unwrap_or_else(|| Box::new([0; WORDS]));
                bits[word] |= ones;
                *empty = Some(bits);
            }
        }
    }

    /// Moves the floor over set bits and lets go of chunks that lie wholly below it.
    fn pull_up(&mut self) {
        loop {
            let (number, word, bit) = place(self.floor);
            while self.first < number {
                let chunk = self.chunks.pop_front();
                self.retire(self.first, chunk);
                self.first = if self.chunks.is_empty() { number } else { self.first + 1 };
            }
            let Some(bits) = self.chunks.front().and_then(|chunk| chunk.bits.as_ref()) else {
                return;
            };
            let run = u64::from((bits[word] >> bit).trailing_ones());
            self.floor = Offset(self.floor.0 + run);
            if run < 64 - u64::from(bit) {
                return;
            }
        }
    }

    fn retire(&mut self, number: u64, chunk: Option<Chunk>) {
        let Some(chunk) = chunk else { return };
        if chunk.is_stored {
            self.gone.push(number);
        }
        if let Some(mut bits) = chunk.bits
            && self.spare.len() < SPARE_CHUNKS_MAX
        {
            bits.fill(0);
            self.spare.push(bits);
        }
    }
}

/// Chunk number, word and bit of an offset.
fn place(offset: Offset) -> (u64, usize, u32) {
    let within = offset.0 % CHUNK_OFFSETS;
    (offset.0 / CHUNK_OFFSETS, (within / 64) as usize, (within % 64) as u32)
}

#[cfg(test)]
mod tests;
