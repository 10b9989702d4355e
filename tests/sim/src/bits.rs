//! A set of offsets, one bit each, so that a rule about every event is a few words of logic.
//!
//! Knows nothing of what an offset stands for. Invariant: words that were never set read as zero.

use bugle_core::ids::Offset;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn has(&self, offset: Offset) -> bool {
        self.word((offset.0 / 64) as usize) >> (offset.0 % 64) & 1 == 1
    }

    /// Adds an offset; false if it was there.
    pub(crate) fn add(&mut self, offset: Offset) -> bool {
        let word = self.word_mut(offset);
        let bit = 1 << (offset.0 % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(crate) fn remove(&mut self, offset: Offset) {
        *self.word_mut(offset) &= !(1 << (offset.0 % 64));
    }

    pub(crate) fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn word_mut(&mut self, offset: Offset) -> &mut u64 {
        let index = (offset.0 / 64) as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        &mut self.0[index]
    }
}
