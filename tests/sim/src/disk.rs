//! The disk of the simulated bus: batches are written, then synced, and a crash loses any suffix of what was not synced.
//!
//! What was written can be looked up; what was synced survives. A batch is atomic: it is lost or kept as a whole. Holds no decision.
//! Invariant: batches survive in the order in which they were written.

use std::collections::VecDeque;

use bugle_core::event::StoredEvent;
use bugle_core::ids::Offset;
use bugle_core::retention::CLASSES_MAX;
use bugle_core::spec::Subscription;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;
use bugle_random::Random;

use crate::retain::class_of;
use crate::rule::{self, Checked, must};
use crate::store::Store;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Every batch that was written.
    pub(crate) written: Store,
    /// Every batch that was synced.
    pub(crate) synced: Store,
    /// Events of each retention below these were let go of. Dropping is a write of its own, which the next sync of a batch cannot
    /// overtake.
    pub(crate) floors: [Offset; CLASSES_MAX],
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

    /// Whether the event is there, unless it was let go of.
    pub(crate) fn has(&self, event: &StoredEvent) -> bool {
        event.position.offset >= self.floors[class_of(event.topic).index()]
    }

    /// Somebody reads this event: it must still be there.
    pub(crate) fn needs(&self, offset: Offset, who: &str) -> Checked {
        let is_there = self.written.log.get(offset.0 as usize).is_none_or(|event| self.has(event));
        must(rule::KEPT_WHILE_NEEDED, is_there, || {
            format!("{who} needs {offset}, and the logs begin at {:?}", self.floors)
        })
    }
}
