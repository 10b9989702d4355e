//! The log's epochs: column families `log-<n>`, each holding a run of offsets, the last one being written.
//!
//! The next epoch is created ahead, off the commit path; a commit only switches to it. An old epoch is dropped whole. Knows
//! nothing of retention: callers say up to where nobody needs the log.
//!
//! Invariant: the epochs known here cover all offsets from the floor on without a gap, in ascending order, and there is at
//! least one.

use std::collections::BTreeSet;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bugle_core::ids::Offset;

/// A run of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u32,
    /// Its first offset; it ends where the next one begins.
    pub(crate) first: Offset,
}

impl Epoch {
    pub(crate) fn family(self) -> String {
        family_of(self.number)
    }
}

/// The column family of an epoch.
pub(crate) fn family_of(number: u32) -> String {
    format!("log-{number}")
}

/// The epoch of a column family.
pub(crate) fn number_of(family: &str) -> Option<u32> {
    family.strip_prefix("log-")?.parse().ok()
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    inside: RwLock<Inside>,
    epoch_bytes_max: u64,
    /// Offsets that accepted losses left unused: from, and the first that can be used again.
    gaps: Vec<(Offset, Offset)>,
}

#[derive(Debug)]
struct Inside {
    epochs: Vec<Epoch>,
    /// The last epoch is written; the family after it exists already.
    is_next_ready: bool,
    /// Bytes of the epoch being written.
    bytes: u64,
}

impl Log {
    pub(crate) fn new(epochs: Vec<Epoch>, is_next_ready: bool, bytes: u64, epoch_bytes_max: u64) -> Log {
        assert!(!epochs.is_empty(), "the log has at least one epoch");
        Log { inside: RwLock::new(Inside { epochs, is_next_ready, bytes }), epoch_bytes_max, gaps: Vec::new() }
    }

    /// An accepted loss left these offsets unused.
    pub(crate) fn add_gap(&mut self, from: Offset, to: Offset) {
        self.gaps.push((from, to));
    }

    /// Whether `found` is the next event from `expected` on. Offsets have no gaps but those of accepted losses.
    pub(crate) fn follows(&self, expected: Offset, found: Offset) -> bool {
        let spans = |(from, to): &(Offset, Offset)| *from <= expected && expected < found && found <= *to;
        found == expected || self.gaps.iter().any(spans)
    }

    /// Whether an accepted loss left this offset unused.
    pub(crate) fn is_gap(&self, offset: Offset) -> bool {
        self.gaps.iter().any(|(from, to)| *from <= offset && offset < *to)
    }

    /// The epochs that may hold events at or after `from`, in order.
    pub(crate) fn from(&self, from: Offset) -> Vec<Epoch> {
        let inside = self.read();
        let skipped = inside.epochs.partition_point(|epoch| epoch.first <= from).saturating_sub(1);
        inside.epochs.iter().skip(skipped).copied().collect()
    }

    /// The epochs that hold one of these offsets.
    pub(crate) fn holding(&self, offsets: &BTreeSet<Offset>) -> Vec<Epoch> {
        let inside = self.read();
        let ends = inside.epochs.iter().skip(1).map(|next| next.first).chain([Offset(u64::MAX)]);
        let holds = |(epoch, end): &(&Epoch, Offset)| offsets.range(epoch.first..*end).next().is_some();
        inside.epochs.iter().zip(ends).filter(holds).map(|(epoch, _)| *epoch).collect()
    }

    /// The column families of all epochs.
    pub(crate) fn families(&self) -> Vec<String> {
        self.read().epochs.iter().map(|epoch| epoch.family()).collect()
    }

    /// First offset of the log.
    pub(crate) fn floor(&self) -> Offset {
        self.read().epochs.first().map_or(Offset(0), |epoch| epoch.first)
    }

    /// The first offset from which on the log, which ends at `tail`, has at most `bytes_max` bytes.
    pub(crate) fn last_bytes_from(&self, bytes_max: u64, tail: Offset) -> Offset {
        let inside = self.read();
        let (mut end, mut bytes, mut left) = (tail, inside.bytes, bytes_max);
        for epoch in inside.epochs.iter().rev() {
            if bytes > left {
                let events = u128::from(end.0.saturating_sub(epoch.first.0));
                let kept = events * u128::from(left) / u128::from(bytes.max(1));
                return Offset(end.0 - u64::try_from(kept).unwrap_or(end.0));
            }
            left -= bytes;
            // An epoch is left when it is full.
            (end, bytes) = (epoch.first, self.epoch_bytes_max);
        }
        end
    }

    /// Where a batch that begins with this offset is written, and whether it opens a new epoch.
    pub(crate) fn place(&self, first: Offset) -> (Epoch, bool) {
        let inside = self.read();
        let last = inside.last();
        let is_roll = inside.is_next_ready && inside.bytes >= self.epoch_bytes_max && first > last.first;
        if is_roll { (Epoch { number: last.number + 1, first }, true) } else { (last, false) }
    }

    /// A batch was committed there.
    pub(crate) fn placed(&self, epoch: Epoch, bytes: u64) {
        let mut inside = self.write();
        if epoch.number > inside.last().number {
            inside.epochs.push(epoch);
            inside.is_next_ready = false;
            inside.bytes = 0;
        }
        inside.bytes += bytes;
    }

    /// The number of an epoch to create ahead, if it is time: the last one is half full.
    pub(crate) fn wanted(&self) -> Option<u32> {
        let inside = self.read();
        let is_wanted = !inside.is_next_ready && inside.bytes >= self.epoch_bytes_max / 2;
        is_wanted.then(|| inside.last().number + 1)
    }

    /// The family of that epoch exists now.
    pub(crate) fn created(&self, number: u32) {
        let mut inside = self.write();
        if number == inside.last().number + 1 {
            inside.is_next_ready = true;
        }
    }

    /// Epochs that lie wholly below `floor`; never the last one.
    pub(crate) fn below(&self, floor: Offset) -> Vec<Epoch> {
        let inside = self.read();
        inside
            .epochs
            .iter()
            .zip(inside.epochs.iter().skip(1))
            .filter(|(_, next)| next.first <= floor)
            .map(|(epoch, _)| *epoch)
            .collect()
    }

    /// That epoch is gone.
    pub(crate) fn dropped(&self, number: u32) {
        self.write().epochs.retain(|epoch| epoch.number != number);
    }

    fn read(&self) -> RwLockReadGuard<'_, Inside> {
        self.inside.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inside> {
        self.inside.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inside {
    fn last(&self) -> Epoch {
        *self.epochs.last().expect("the log has at least one epoch, and the last one is never dropped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_of_the_log_begin_where_the_epochs_say() {
        let epoch = |number, first| Epoch { number, first: Offset(first) };
        let log = Log::new(vec![epoch(1, 100), epoch(2, 200), epoch(3, 300)], false, 500, 1_000);
        let from = |bytes| log.last_bytes_from(bytes, Offset(350)).0;
        assert_eq!([from(0), from(250), from(500)], [350, 325, 300]);
        assert_eq!([from(600), from(1_500), from(2_000), from(2_500)], [290, 200, 150, 100]);
        assert_eq!(from(u64::MAX), 100);
        let empty = Log::new(vec![epoch(1, 0)], false, 0, 1_000);
        assert_eq!(empty.last_bytes_from(0, Offset(0)), Offset(0));
    }
}
