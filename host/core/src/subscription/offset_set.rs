//! A set of offsets, small where they lie together: one word for 64 neighbours.
//!
//! Knows nothing of what the offsets are. Invariant: no word is kept without a bit.

use alloc::collections::BTreeMap;

use crate::ids::Offset;

const BITS: u64 = u64::BITS as u64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OffsetSet {
    words: BTreeMap<u64, u64>,
    len: usize,
}

/// Word and bit of an offset.
fn place(offset: Offset) -> (u64, u32) {
    (offset.0 / BITS, (offset.0 % BITS) as u32)
}

impl OffsetSet {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn word(&self, number: u64) -> u64 {
        // Nearly always there is none at all.
        if self.words.is_empty() { 0 } else { self.words.get(&number).copied().unwrap_or(0) }
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        let (number, bit) = place(offset);
        self.word(number) >> bit & 1 == 1
    }

    /// Adds an offset.
    pub(crate) fn insert(&mut self, offset: Offset) {
        let (number, bit) = place(offset);
        let word = self.words.entry(number).or_insert(0);
        self.len += usize::from(*word >> bit & 1 == 0);
        *word |= 1 << bit;
    }

    /// Takes an offset out.
    pub(crate) fn remove(&mut self, offset: Offset) {
        let (number, bit) = place(offset);
        let Some(word) = self.words.get_mut(&number) else { return };
        self.len -= usize::from(*word >> bit & 1 == 1);
        *word &= !(1 << bit);
        if *word == 0 {
            self.words.remove(&number);
        }
    }

    /// Takes out what lies below, words of 64 offsets at a time: some of the last may stay.
    pub(crate) fn forget_below(&mut self, offset: Offset) {
        let (number, _) = place(offset);
        while let Some(first) = self.words.first_entry()
            && *first.key() < number
        {
            self.len -= first.remove().count_ones() as usize;
        }
    }

    /// Takes out the first offset of all.
    pub(crate) fn pop_first(&mut self) -> Option<Offset> {
        let (number, word) = self.words.first_key_value()?;
        let first = Offset(number * BITS + u64::from(word.trailing_zeros()));
        self.remove(first);
        Some(first)
    }

    /// The first offset from here on that is not in the set.
    pub(crate) fn next_absent(&self, from: Offset) -> Offset {
        let (mut number, bit) = place(from);
        let run = u64::from((self.word(number) >> bit).trailing_ones());
        if run < BITS - u64::from(bit) {
            return Offset(from.0 + run);
        }
        loop {
            number += 1;
            let run = u64::from(self.word(number).trailing_ones());
            if run < BITS {
                return Offset(number * BITS + run);
            }
        }
    }

    /// The first offset of `from..to` in the set.
    pub(crate) fn next_within(&self, from: Offset, to: Offset) -> Option<Offset> {
        if self.words.is_empty() || from >= to {
            return None;
        }
        let (first, bit) = place(from);
        let last = (to.0 - 1) / BITS;
        let found = self.words.range(first..=last).find_map(|(number, word)| {
            let word = if *number == first { word >> bit << bit } else { *word };
            (word != 0).then(|| Offset(number * BITS + u64::from(word.trailing_zeros())))
        });
        found.filter(|offset| *offset < to)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Offset> {
        let bits = |word: u64| (0..BITS).filter(move |bit| word >> bit & 1 == 1);
        self.words.iter().flat_map(move |(number, word)| bits(*word).map(move |bit| Offset(number * BITS + bit)))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::OffsetSet;
    use crate::ids::Offset;

    fn set(offsets: &[u64]) -> OffsetSet {
        let mut set = OffsetSet::default();
        offsets.iter().for_each(|offset| set.insert(Offset(*offset)));
        set
    }

    #[test]
    fn counts_and_finds_what_is_in_it() {
        let mut set = set(&[3, 63, 64, 1_000_000, 3]);
        assert_eq!(set.len(), 4);
        assert_eq!(set.iter().map(|offset| offset.0).collect::<Vec<_>>(), [3, 63, 64, 1_000_000]);
        set.remove(Offset(64));
        set.remove(Offset(64));
        set.remove(Offset(5));
        assert!(set.contains(Offset(63)) && !set.contains(Offset(64)) && !set.contains(Offset(0)));
        assert_eq!((set.len(), set.words.len()), (3, 2), "an empty word is let go");
    }

    #[test]
    fn forgets_whole_words() {
        let mut set = set(&[3, 63, 64, 130]);
        set.forget_below(Offset(63));
        assert_eq!(set.len(), 4);
        set.forget_below(Offset(129));
        assert_eq!(set.iter().map(|offset| offset.0).collect::<Vec<_>>(), [130]);
        assert_eq!(set.pop_first(), Some(Offset(130)));
        assert_eq!((set.pop_first(), set.len(), set.words.len()), (None, 0, 0));
    }

    #[test]
    fn next_absent_jumps_over_runs_of_any_length() {
        let run: Vec<u64> = (10..200).collect();
        let set = set(&run);
        for (from, to) in [(9, 9), (10, 200), (63, 200), (64, 200), (199, 200), (200, 200), (1 << 40, 1 << 40)] {
            assert_eq!(set.next_absent(Offset(from)), Offset(to), "from {from}");
        }
        assert_eq!(OffsetSet::default().next_absent(Offset(64)), Offset(64));
    }

    #[test]
    fn next_within_stays_within() {
        let set = set(&[5, 64, 130]);
        let within = |from, to| set.next_within(Offset(from), Offset(to)).map(|offset| offset.0);
        assert_eq!(within(0, 5), None);
        assert_eq!(within(0, 6), Some(5));
        assert_eq!(within(6, 64), None);
        assert_eq!(within(6, 65), Some(64));
        assert_eq!(within(65, 1_000), Some(130));
        assert_eq!(within(131, 1_000), None);
        assert_eq!(within(7, 7), None);
    }
}
