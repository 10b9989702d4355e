//! One filter over all blocks of the id window: which blocks may hold this hash?
//!
//! A bucket is one cache line of 32 cells; a cell is 11 bits of the hash and 5 bits that name the block's slot, so one line
//! answers for all blocks at once where a filter per block would cost a line each. Buckets follow the hash's high bits: a
//! sealed block, sorted by hash, walks the table from front to back. Knows nothing of ids, offsets and disks.
//!
//! Invariant: a hash that was inserted under a live slot is always found (no false negatives, whatever the load).

use alloc::vec;
use alloc::vec::Vec;

use hashbrown::HashMap;

/// Cells of a bucket: 64 bytes.
const CELLS: usize = 32;
/// Cells planned to be used: a bucket of 32 overflows about once in 300 at this load, and then the overflow map takes it.
const CELLS_PLANNED: u64 = 20;
/// Bits of a cell that name the slot; slot 0 marks an empty cell.
const SLOT_BITS: u32 = 5;
/// Most slots at once.
pub(super) const SLOTS_MAX: u32 = (1 << SLOT_BITS) - 1;
/// `u16` cells of a cache line.
const LINE: usize = 32;

/// Names a block inside the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilterSlot(u8);

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(u32);

impl Slots {
    pub(super) fn has(self, slot: FilterSlot) -> bool {
        self.0 >> slot.0 & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Filter {
    cells: Vec<u16>,
    /// Where the first whole cache line starts.
    start: usize,
    buckets: u64,
    /// Cells that found their bucket full.
    overflow: HashMap<u64, Vec<u16>>,
    live: u32,
    /// Retired slots whose cells are not swept yet.
    dying: u32,
    sweep: Option<Sweep>,
}

#[derive(Clone, Copy, Debug)]
struct Sweep {
    slots: u32,
    next: u64,
}

impl Filter {
    /// A filter planned for this many hashes.
    pub(super) fn new(hashes: u64) -> Filter {
        let buckets = hashes.div_ceil(CELLS_PLANNED).max(1);
        // Zeroed memory costs nothing until it is touched.
        let cells = vec![0_u16; buckets as usize * CELLS + LINE];
        let misaligned = (cells.as_ptr() as usize / size_of::<u16>()) % LINE;
        let start = (LINE - misaligned) % LINE;
        Filter { cells, start, buckets, overflow: HashMap::new(), live: 0, dying: 0, sweep: None }
    }

    /// A slot for a new block; `None` while all are in use or not swept yet.
    pub(super) fn allocate(&mut self) -> Option<FilterSlot> {
        let taken = self.live | self.dying | 1;
        let slot = (!taken).trailing_zeros();
        (slot <= SLOTS_MAX).then(|| {
            self.live |= 1 << slot;
            FilterSlot(slot as u8)
        })
    }

    /// Forgets a block: it is not found any more from here on; its cells are swept later.
    pub(super) fn retire(&mut self, slot: FilterSlot) {
        self.live &= !(1 << slot.0);
        self.dying |= 1 << slot.0;
    }

    /// Which live blocks may hold the hash.
    #[inline]
    pub(super) fn probe(&self, hash: u64) -> Slots {
        let bucket = self.bucket_of(hash);
        let cells = self.cells_of(bucket);
        let wanted = fingerprint(hash);
        // A plain count over a whole line, without a branch per cell: the compiler turns it into vector compares.
        let matches: u16 = cells.iter().map(|cell| u16::from((cell ^ wanted) >> SLOT_BITS == 0)).sum();
        let is_full = cells.last().is_some_and(|cell| *cell != 0);
        if matches == 0 && (!is_full || self.overflow.is_empty()) {
            return Slots::default();
        }
        let more: &[u16] = if is_full { self.overflow.get(&bucket).map_or(&[], Vec::as_slice) } else { &[] };
        let found = cells
            .iter()
            .chain(more)
            .filter(|cell| (**cell ^ wanted) >> SLOT_BITS == 0)
            .fold(0, |found, cell| found | 1 << slot_of(*cell));
        Slots(found & self.live)
    }

    /// Notes that the block holds the hash.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, slot: FilterSlot) {
        let bucket = self.bucket_of(hash);
        let cell = fingerprint(hash) | u16::from(slot.0);
        let live = self.live;
        let free = self.cells_of(bucket).iter().position(|cell| live >> slot_of(*cell) & 1 == 0);
        match free {
            Some(index) => self.cells_mut(bucket)[index] = cell,
            None => self.overflow.entry(bucket).or_default().push(cell),
        }
    }

    /// Clears the cells of retired blocks in up to this many buckets, so that their slots can be used again.
    pub(super) fn sweep(&mut self, buckets: u64) {
        if self.sweep.is_none() && self.dying != 0 {
            self.sweep = Some(Sweep { slots: self.dying, next: 0 });
        }
        let Some(sweep) = self.sweep else { return };
        let end = self.buckets.min(sweep.next.saturating_add(buckets));
        for bucket in sweep.next..end {
            self.sweep_bucket(bucket);
        }
        if end == self.buckets {
            self.dying &= !sweep.slots;
            self.sweep = None;
        } else {
            self.sweep = Some(Sweep { next: end, ..sweep });
        }
    }

    /// Sweeps every retired slot at once.
    pub(super) fn sweep_to_the_end(&mut self) {
        while self.dying != 0 {
            self.sweep(u64::MAX);
        }
    }

    /// Keeps live cells, packed to the front, and takes back what had overflowed: only a full bucket may have overflow.
    fn sweep_bucket(&mut self, bucket: u64) {
        let live = self.live;
        let is_live = |cell: u16| live >> slot_of(cell) & 1 == 1;
        let mut more = if self.overflow.is_empty() { None } else { self.overflow.remove(&bucket) };
        if let Some(more) = &mut more {
            more.retain(|cell| is_live(*cell));
        }
        let cells = self.cells_mut(bucket);
        let mut kept = 0;
        for index in 0..CELLS {
            let cell = cells[index];
            if is_live(cell) {
                cells[kept] = cell;
                kept += 1;
            }
        }
        cells[kept..].fill(0);
        if let Some(mut more) = more {
            while kept < CELLS
                && let Some(cell) = more.pop()
            {
                cells[kept] = cell;
                kept += 1;
            }
            if !more.is_empty() {
                self.overflow.insert(bucket, more);
            }
        }
    }

    fn bucket_of(&self, hash: u64) -> u64 {
        part_of(hash, self.buckets)
    }

    #[inline]
    fn cells_of(&self, bucket: u64) -> &[u16] {
        let start = self.start + bucket as usize * CELLS;
        &self.cells[start..start + CELLS]
    }

    #[inline]
    fn cells_mut(&mut self, bucket: u64) -> &mut [u16] {
        let start = self.start + bucket as usize * CELLS;
        &mut self.cells[start..start + CELLS]
    }

    /// Bytes of memory the table takes when every page of it was touched.
    pub(super) fn bytes(&self) -> usize {
        self.cells.len() * size_of::<u16>()
    }
}

/// Which of `parts` equal parts of the hash space the hash is in; grows with the hash.
#[inline]
pub(super) fn part_of(hash: u64, parts: u64) -> u64 {
    // The product of two u64 has its high half below `parts`.
    ((u128::from(hash) * u128::from(parts)) >> 64) as u64
}

/// The low bits of the hash, which the bucket does not depend on, where a cell keeps them.
#[inline]
fn fingerprint(hash: u64) -> u16 {
    (hash as u16) << SLOT_BITS
}

#[inline]
fn slot_of(cell: u16) -> u32 {
    u32::from(cell) & SLOTS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use siphasher::sip::SipHasher13;

    fn hash(value: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(1, 2);
        hasher.write_u64(value);
        hasher.finish()
    }

    #[test]
    fn nothing_inserted_is_ever_missed_even_far_over_the_planned_load() {
        let mut filter = Filter::new(1000);
        let slots: Vec<FilterSlot> = (0..4).map(|_| filter.allocate().unwrap()).collect();
        for value in 0..4000 {
            filter.insert(hash(value), slots[value as usize % 4]);
        }
        for value in 0..4000 {
            assert!(filter.probe(hash(value)).has(slots[value as usize % 4]), "{value}");
        }
        filter.retire(slots[1]);
        for value in 0..4000 {
            let found = filter.probe(hash(value));
            assert_eq!(found.has(slots[value as usize % 4]), value % 4 != 1);
            if value % 3 == 0 {
                filter.sweep(1);
            }
        }
        filter.sweep(u64::MAX);
        for value in (0..4000).filter(|value| value % 4 != 1) {
            assert!(filter.probe(hash(value)).has(slots[value as usize % 4]));
        }
    }

    #[test]
    fn a_slot_comes_back_only_after_its_cells_are_swept() {
        let mut filter = Filter::new(10_000);
        let slots: Vec<FilterSlot> = core::iter::from_fn(|| filter.allocate()).collect();
        assert_eq!(slots.len(), SLOTS_MAX as usize);
        filter.insert(hash(1), slots[0]);
        filter.retire(slots[0]);
        assert!(filter.allocate().is_none());
        filter.sweep(1);
        assert!(filter.allocate().is_none(), "one bucket is not all of them");
        filter.sweep(u64::MAX);
        assert_eq!(filter.allocate(), Some(slots[0]));
        assert!(filter.probe(hash(1)).is_empty());
    }

    #[test]
    fn few_strangers_look_known_at_full_load() {
        let mut filter = Filter::new(100_000);
        let slot = filter.allocate().unwrap();
        (0..100_000).for_each(|value| filter.insert(hash(value), slot));
        let wrong = (100_000..200_000).filter(|value| !filter.probe(hash(*value)).is_empty()).count();
        // 20 cells of 11 bits: about 1 %.
        assert!(wrong < 1500, "{wrong} of 100000");
    }
}
