//! The log's epochs: column families `log-<n>`, each holding a run of offsets, the last one of each retention being written.
//!
//! Topics of one retention share a strand of epochs; offsets are counted over all strands, and each event is in one of them. The
//! next epoch is created ahead, off the commit path; a commit only switches to it. An old epoch is dropped whole. Knows nothing of
//! what a retention says: callers say up to where nobody needs a strand.
//!
//! Invariant: the epochs of a strand are in ascending order, only its last one can be empty, and the default strand has at least
//! one. From [`Log::dropped_below`] on, every offset is in some strand.

use std::collections::BTreeSet;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bugle_core::ids::Offset;
use bugle_core::retention::{CLASSES_MAX, KeepClass};

/// The class is in the high byte of an epoch's number, so that the default one has the numbers it always had.
const CLASS_SHIFT: u32 = 24;

/// A run of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u32,
    /// Its first offset; it ends where the next one of its strand begins.
    pub(crate) first: Offset,
}

impl Epoch {
    pub(crate) fn family(self) -> String {
        family_of(self.number)
    }

    /// Its strand; `None` if a newer host wrote it.
    pub(crate) fn class(self) -> Option<KeepClass> {
        class_of(self.number)
    }

    /// Whether it is the first one its strand ever had.
    fn is_first(self) -> bool {
        self.number & ((1 << CLASS_SHIFT) - 1) == 1
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

/// The strand of an epoch's number.
pub(crate) fn class_of(number: u32) -> Option<KeepClass> {
    KeepClass::new((number >> CLASS_SHIFT) as u8)
}

/// The number of the first epoch of a strand.
pub(crate) fn first_of(class: KeepClass) -> u32 {
    u32::from(class.number()) << CLASS_SHIFT | 1
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    inside: RwLock<Inside>,
    epoch_bytes_max: u64,
    /// Offsets that accepted losses left unused: from, and the first that can be used again.
    gaps: Vec<(Offset, Offset)>,
}

/// What is known of an epoch at the start, with its bytes.
pub(crate) type Known = (Epoch, u64);

/// The epochs of one retention.
#[derive(Debug, Default)]
struct Strand {
    epochs: Vec<Epoch>,
    /// Bytes of each epoch, about.
    bytes: Vec<u64>,
    /// The last epoch is written; the family after it exists already.
    is_next_ready: bool,
}

#[derive(Debug)]
struct Inside {
    strands: [Strand; CLASSES_MAX],
}

impl Log {
    /// `epochs` are in the order of their numbers; `ready` are numbers of families that were created ahead.
    pub(crate) fn new(epochs: &[Known], ready: &[u32], epoch_bytes_max: u64) -> Log {
        let mut inside = Inside { strands: Default::default() };
        for (epoch, bytes) in epochs {
            let strand = inside.strand_mut(class_of(epoch.number).unwrap_or_default());
            strand.epochs.push(*epoch);
            strand.bytes.push(*bytes);
        }
        for class in KeepClass::all() {
            let strand = inside.strand_mut(class);
            strand.is_next_ready = ready.contains(&strand.next_number(class));
        }
        assert!(!inside.strand(KeepClass::DEFAULT).epochs.is_empty(), "the default strand has at least one epoch");
        Log { inside: RwLock::new(inside), epoch_bytes_max, gaps: Vec::new() }
    }

    /// An accepted loss left these offsets unused.
    pub(crate) fn add_gap(&mut self, from: Offset, to: Offset) {
        self.gaps.push((from, to));
    }

    /// Whether `found` is the next event from `expected` on. Offsets have no gaps but those of accepted losses, and those of events
    /// that went before others of theirs.
    pub(crate) fn follows(&self, expected: Offset, found: Offset) -> bool {
        let spans = |(from, to): &(Offset, Offset)| *from <= expected && expected < found && found <= *to;
        found == expected || self.gaps.iter().any(spans) || (expected < found && found <= self.dropped_below())
    }

    /// Whether nothing was ever stored there, or not any more.
    pub(crate) fn is_gap(&self, offset: Offset) -> bool {
        self.gaps.iter().any(|(from, to)| *from <= offset && offset < *to) || offset < self.dropped_below()
    }

    /// The epochs that may hold events at or after `from`, in order, of each strand that has some.
    pub(crate) fn from(&self, from: Offset) -> Vec<Vec<Epoch>> {
        let inside = self.read();
        let strands = inside.strands.iter().filter(|strand| !strand.epochs.is_empty());
        strands.map(|strand| strand.epochs.iter().skip(strand.index_of(from)).copied().collect()).collect()
    }

    /// Every epoch, strand by strand, with its bytes.
    pub(crate) fn all(&self) -> Vec<Known> {
        let inside = self.read();
        let pairs =
            |strand: &Strand| strand.epochs.iter().copied().zip(strand.bytes.iter().copied()).collect::<Vec<_>>();
        inside.strands.iter().flat_map(pairs).collect()
    }

    /// The epochs an event can be in: at most one of each strand.
    pub(crate) fn at(&self, offset: Offset) -> Vec<Epoch> {
        let inside = self.read();
        let found = inside.strands.iter().filter_map(|strand| strand.epochs.get(strand.index_of(offset)).copied());
        found.filter(|epoch| epoch.first <= offset).collect()
    }

    /// The epochs that may hold one of these offsets: at most one of each strand for each.
    pub(crate) fn holding(&self, offsets: &BTreeSet<Offset>) -> Vec<Epoch> {
        let inside = self.read();
        let of_strand = |strand: &Strand| {
            let ends = strand.epochs.iter().skip(1).map(|next| next.first).chain([Offset(u64::MAX)]);
            let holds = |(epoch, end): &(&Epoch, Offset)| offsets.range(epoch.first..*end).next().is_some();
            strand.epochs.iter().zip(ends).filter(holds).map(|(epoch, _)| *epoch).collect::<Vec<_>>()
        };
        inside.strands.iter().flat_map(of_strand).collect()
    }

    /// First offset of the log.
    pub(crate) fn floor(&self) -> Offset {
        let inside = self.read();
        inside.strands.iter().filter_map(Strand::floor).min().unwrap_or(Offset(0))
    }

    /// First offset that a strand can still have; `None` if it never had any.
    pub(crate) fn floor_of(&self, class: KeepClass) -> Option<Offset> {
        self.read().strand(class).floor()
    }

    /// From here on nothing of a strand was dropped.
    pub(crate) fn oldest_of(&self, class: KeepClass) -> Offset {
        let inside = self.read();
        let first = inside.strand(class).epochs.first().filter(|epoch| !epoch.is_first());
        first.map_or(Offset(0), |epoch| epoch.first)
    }

    /// From here on nothing was dropped.
    pub(crate) fn dropped_below(&self) -> Offset {
        let inside = self.read();
        let trimmed =
            inside.strands.iter().filter_map(|strand| strand.epochs.first()).filter(|epoch| !epoch.is_first());
        trimmed.map(|epoch| epoch.first).max().unwrap_or(Offset(0))
    }

    /// The first offset from which on the log, which ends at `tail`, has at most `bytes_max` bytes. Inside an epoch they are taken
    /// to be spread evenly.
    pub(crate) fn last_bytes_from(&self, bytes_max: u64, tail: Offset) -> Offset {
        let inside = self.read();
        let bytes_from = |from: u64| inside.strands.iter().map(|strand| strand.bytes_from(from, tail)).sum::<u128>();
        let (mut low, mut high) = (inside.strands.iter().filter_map(Strand::floor).min().unwrap_or(tail).0, tail.0);
        while low < high {
            let middle = low + (high - low) / 2;
            if bytes_from(middle) <= u128::from(bytes_max) { high = middle } else { low = middle + 1 }
        }
        Offset(low)
    }

    /// Where a batch whose first event of the class has this offset is written, and whether that opens a new epoch. A strand that
    /// was never made is replaced by the default one: nothing is lost by keeping it longer.
    pub(crate) fn place(&self, class: KeepClass, first: Offset) -> (Epoch, bool) {
        let inside = self.read();
        let strand = inside.strand(class);
        match strand.epochs.last() {
            Some(last) => {
                let is_full = strand.last_bytes() >= self.epoch_bytes_max && first > last.first;
                let next = Epoch { number: last.number + 1, first };
                if strand.is_next_ready && is_full { (next, true) } else { (*last, false) }
            }
            None if strand.is_next_ready => (Epoch { number: first_of(class), first }, true),
            None => {
                drop(inside);
                assert!(class != KeepClass::DEFAULT, "the default strand has at least one epoch");
                self.place(KeepClass::DEFAULT, first)
            }
        }
    }

    /// A batch was committed there.
    pub(crate) fn placed(&self, epoch: Epoch, bytes: u64) {
        let mut inside = self.write();
        let strand = inside.strand_mut(class_of(epoch.number).unwrap_or_default());
        if strand.epochs.last().is_none_or(|last| epoch.number > last.number) {
            strand.epochs.push(epoch);
            strand.bytes.push(0);
            strand.is_next_ready = false;
        }
        if let Some(last) = strand.bytes.last_mut() {
            *last += bytes;
        }
    }

    /// The epoch that follows the last one of a strand from `first` on, if its family exists and the last one is not empty.
    pub(crate) fn next(&self, class: KeepClass, first: Offset) -> Option<Epoch> {
        let inside = self.read();
        let strand = inside.strand(class);
        let last = strand.epochs.last()?;
        let is_due = strand.is_next_ready && strand.last_bytes() > 0 && first > last.first;
        is_due.then_some(Epoch { number: last.number + 1, first })
    }

    /// Numbers of the epochs to create ahead, as it is time: the last one is half full.
    pub(crate) fn wanted(&self) -> Vec<u32> {
        let inside = self.read();
        let half = self.epoch_bytes_max / 2;
        let is_wanted = |class: &KeepClass| {
            let strand = inside.strand(*class);
            !strand.is_next_ready && !strand.epochs.is_empty() && strand.last_bytes() >= half
        };
        KeepClass::all().filter(is_wanted).map(|class| inside.strand(class).next_number(class)).collect()
    }

    /// The number of the epoch to create ahead for a strand, unless it is there.
    pub(crate) fn missing(&self, class: KeepClass) -> Option<u32> {
        let inside = self.read();
        let strand = inside.strand(class);
        (!strand.is_next_ready).then(|| strand.next_number(class))
    }

    /// The family of that epoch exists now.
    pub(crate) fn created(&self, number: u32) {
        let class = class_of(number).unwrap_or_default();
        let mut inside = self.write();
        let strand = inside.strand_mut(class);
        strand.is_next_ready |= number == strand.next_number(class);
    }

    /// Epochs of a strand that lie wholly below `floor`; never the last one.
    pub(crate) fn below(&self, class: KeepClass, floor: Offset) -> Vec<Epoch> {
        let inside = self.read();
        let epochs = &inside.strand(class).epochs;
        let pairs = epochs.iter().zip(epochs.iter().skip(1));
        pairs.filter(|(_, next)| next.first <= floor).map(|(epoch, _)| *epoch).collect()
    }

    /// That epoch is gone.
    pub(crate) fn dropped(&self, number: u32) {
        let mut inside = self.write();
        let strand = inside.strand_mut(class_of(number).unwrap_or_default());
        if let Some(index) = strand.epochs.iter().position(|epoch| epoch.number == number) {
            strand.epochs.remove(index);
            strand.bytes.remove(index);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inside> {
        self.inside.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inside> {
        self.inside.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inside {
    fn strand(&self, class: KeepClass) -> &Strand {
        &self.strands[class.index()]
    }

    fn strand_mut(&mut self, class: KeepClass) -> &mut Strand {
        &mut self.strands[class.index()]
    }
}

impl Strand {
    fn floor(&self) -> Option<Offset> {
        self.epochs.first().map(|epoch| epoch.first)
    }

    fn last_bytes(&self) -> u64 {
        self.bytes.last().copied().unwrap_or(0)
    }

    fn next_number(&self, class: KeepClass) -> u32 {
        self.epochs.last().map_or(first_of(class), |last| last.number + 1)
    }

    /// The epoch an offset belongs to; the first one if it lies before it.
    fn index_of(&self, offset: Offset) -> usize {
        self.epochs.partition_point(|epoch| epoch.first <= offset).saturating_sub(1)
    }

    /// Bytes of what it has from an offset on.
    fn bytes_from(&self, from: u64, tail: Offset) -> u128 {
        let ends = self.epochs.iter().skip(1).map(|epoch| epoch.first).chain([tail]);
        let share = |((epoch, bytes), end): ((&Epoch, &u64), Offset)| {
            let len = u128::from(end.0.saturating_sub(epoch.first.0)).max(1);
            let kept = u128::from(end.0.saturating_sub(epoch.first.0.max(from)));
            u128::from(*bytes) * kept / len
        };
        self.epochs.iter().zip(&self.bytes).zip(ends).map(share).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(class: u8, index: u32, first: u64, bytes: u64) -> Known {
        let number = first_of(KeepClass::new(class).unwrap()) + index - 1;
        (Epoch { number, first: Offset(first) }, bytes)
    }

    #[test]
    fn the_last_bytes_of_the_log_begin_where_the_epochs_say() {
        let log = Log::new(&[epoch(0, 1, 100, 1_000), epoch(0, 2, 200, 1_000), epoch(0, 3, 300, 500)], &[], 1_000);
        let from = |bytes| log.last_bytes_from(bytes, Offset(350)).0;
        assert_eq!([from(0), from(250), from(500)], [350, 325, 300]);
        assert_eq!([from(600), from(1_500), from(2_000), from(2_500)], [290, 200, 150, 100]);
        assert_eq!(from(u64::MAX), 100);
        let empty = Log::new(&[epoch(0, 1, 0, 0)], &[], 1_000);
        assert_eq!(empty.last_bytes_from(0, Offset(0)), Offset(0));
        let two = Log::new(&[epoch(0, 1, 100, 1_000), epoch(2, 1, 300, 500)], &[], 1_000);
        assert_eq!(two.last_bytes_from(750, Offset(400)).0, 310, "both have a part of it");
    }

    #[test]
    fn strands_are_written_dropped_and_begun_apart() {
        let class = KeepClass::new(2).unwrap();
        let log = Log::new(&[epoch(0, 1, 0, 0)], &[], 100);
        assert_eq!(log.place(class, Offset(0)).0.number, 1, "one that was not made is replaced by the default");
        let made = log.missing(class).unwrap();
        log.created(made);
        let (first, is_new) = log.place(class, Offset(5));
        assert!(is_new && first.number == made);
        log.placed(first, 150);
        assert_eq!(log.wanted(), [made + 1]);
        assert_eq!(log.next(class, Offset(9)), None, "its family is not there yet");
        log.created(made + 1);
        let (second, is_new) = log.place(class, Offset(9));
        assert!(is_new);
        log.placed(second, 10);
        assert_eq!((log.floor(), log.floor_of(class), log.dropped_below()), (Offset(0), Some(Offset(5)), Offset(0)));
        assert!(!log.follows(Offset(3), Offset(7)));
        assert_eq!(log.below(class, Offset(9)), [first]);
        log.dropped(first.number);
        assert_eq!((log.floor_of(class), log.dropped_below()), (Some(Offset(9)), Offset(9)));
        assert!(log.follows(Offset(3), Offset(7)) && !log.follows(Offset(9), Offset(11)));
        assert!(log.below(class, Offset(99)).is_empty(), "the last one stays");
    }
}
