//! The disk of the simulated bus: batches are written, then synced, and a crash loses any suffix of what was not synced.
//!
//! What was written can be looked up; what was synced survives. A batch is atomic: it is lost or kept as a whole. Holds no decision.
//! Invariant: batches survive in the order in which they were written.

use std::collections::VecDeque;

use bugle_core::spec::Subscription;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;
use bugle_random::Random;

use crate::rule::Checked;
use crate::store::Store;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Every batch that was written.
    pub(crate) written: Store,
    /// Every batch that was synced.
    pub(crate) synced: Store,
    unsynced: VecDeque<(Timestamp, Vec<Write>)>,
}

impl Disk {
    pub(crate) fn name(&mut self, spec: &Subscription) {
        self.written.name(spec);
        self.synced.name(spec);
    }

    /// Writes a batch.
    pub(crate) fn write(&mut self, now: Timestamp, batch: Vec<Write>) -> Checked {
        let applied = self.written.apply(now, &batch);
        self.unsynced.push_back((now, batch));
        applied
    }

    /// What weak claims were to remember until now is over.
    pub(crate) fn end_remembered(&mut self, now: Timestamp) {
        self.written.end_remembered(now);
        self.synced.end_remembered(now);
    }

    /// Syncs everything that was written.
    pub(crate) fn sync(&mut self) -> Checked {
        self.unsynced.drain(..).try_for_each(|(now, batch)| self.synced.apply(now, &batch))
    }

    /// A sync failed, and the disk has dropped what it should have kept: later syncs know nothing of it.
    pub(crate) fn drop_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// The power fails: a beginning of the unsynced batches may have made it.
    pub(crate) fn crash(&mut self, random: &mut Random) -> Checked {
        let kept = random.below(self.unsynced.len() as u64 + 1) as usize;
        self.unsynced.truncate(kept);
        let survived = self.sync();
        self.written = self.synced.clone();
        survived
    }
}
