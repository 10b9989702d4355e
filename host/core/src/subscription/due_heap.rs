//! When spilled deliveries of one class are due: 12 bytes each.
//!
//! Knows nothing of what is due. Invariant: comes out in the order of times, then of offsets.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::ids::Offset;
use crate::time::Timestamp;

/// Bits of an offset: a million events a second for a century.
const OFFSET_BITS: u32 = 52;
/// Times beyond are as good as never: five centuries after 1970.
const TIME_MAX: u64 = (1 << (96 - OFFSET_BITS)) - 1;
/// The room grows by a quarter, not to the double.
const GROWTH_PARTS: usize = 4;
/// Room that is not worth a second thought.
const ROOM_MIN: usize = 1_024;
/// A heap that uses less than one part in this many gives room back.
const SPARE_PARTS: usize = 8;

/// Time and offset as one number of 96 bits, the high part first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due([u32; 3]);

impl Due {
    fn new(at: Timestamp, offset: Offset) -> Due {
        let number = u128::from(at.0.min(TIME_MAX)) << OFFSET_BITS | u128::from(offset.0);
        Due([(number >> 64) as u32, (number >> 32) as u32, number as u32])
    }

    fn parts(self) -> (Timestamp, Offset) {
        let number = self.0.into_iter().fold(0, |number: u128, part| number << 32 | u128::from(part));
        (Timestamp((number >> OFFSET_BITS) as u64), Offset(number as u64 & ((1 << OFFSET_BITS) - 1)))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DueHeap(BinaryHeap<Reverse<Due>>);

impl DueHeap {
    pub(crate) fn push(&mut self, at: Timestamp, offset: Offset) {
        let len = self.0.len();
        if len == self.0.capacity() {
            self.0.reserve_exact(len / GROWTH_PARTS + ROOM_MIN);
        }
        self.0.push(Reverse(Due::new(at, offset)));
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse(due)| due.parts().0)
    }

    /// Takes the earliest one.
    pub(crate) fn pop(&mut self) -> Option<(Timestamp, Offset)> {
        let Reverse(due) = self.0.pop()?;
        let (len, room) = (self.0.len(), self.0.capacity());
        if room > ROOM_MIN && len < room / SPARE_PARTS {
            self.0.shrink_to(2 * len);
        }
        Some(due.parts())
    }

    /// Makes everything below an offset due at once.
    pub(crate) fn hurry_below(&mut self, to: Offset) {
        let all = core::mem::take(&mut self.0).into_iter().map(|Reverse(due)| {
            let (at, offset) = due.parts();
            Reverse(Due::new(if offset < to { Timestamp(0) } else { at }, offset))
        });
        self.0 = all.collect();
    }

    /// All of them, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timestamp, Offset)> {
        self.0.iter().map(|Reverse(due)| due.parts())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{DueHeap, TIME_MAX};
    use crate::ids::Offset;
    use crate::time::Timestamp;

    #[test]
    fn comes_out_in_the_order_of_times_then_offsets() {
        let mut heap = DueHeap::default();
        let all = [(5, 9), (5, 1 << 51), (1 << 41, 0), (0, 7), (5, 8), (u64::MAX - 1, 3)];
        all.iter().for_each(|(at, offset)| heap.push(Timestamp(*at), Offset(*offset)));
        assert_eq!((heap.next(), heap.iter().count()), (Some(Timestamp(0)), 6));
        let out: Vec<(u64, u64)> = core::iter::from_fn(|| heap.pop()).map(|(at, offset)| (at.0, offset.0)).collect();
        assert_eq!(out, [(0, 7), (5, 8), (5, 9), (5, 1 << 51), (1 << 41, 0), (TIME_MAX, 3)]);
    }

    #[test]
    fn what_lies_below_a_place_can_be_hurried() {
        let mut heap = DueHeap::default();
        [(5, 1), (6, 2), (4, 3)].iter().for_each(|(at, offset)| heap.push(Timestamp(*at), Offset(*offset)));
        heap.hurry_below(Offset(3));
        let out: Vec<(u64, u64)> = core::iter::from_fn(|| heap.pop()).map(|(at, offset)| (at.0, offset.0)).collect();
        assert_eq!(out, [(0, 1), (0, 2), (4, 3)]);
    }

    #[test]
    fn its_room_follows_its_use() {
        let mut heap = DueHeap::default();
        (0..100_000).for_each(|n| heap.push(Timestamp(n), Offset(n)));
        assert!(heap.0.capacity() < 130_000);
        assert_eq!(core::iter::from_fn(|| heap.pop()).take(99_000).count(), 99_000);
        assert!(heap.0.capacity() < 10_000, "{} places for 1,000", heap.0.capacity());
    }
}
