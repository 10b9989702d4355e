//! Which events a subscription must deliver and which it may, over all filters it ever had.
//!
//! A filter counts for what is read from then on, and the simulator does not look at what a machine has read. So an event that some
//! filters of its time wanted and others did not may be delivered or passed over; the others leave no choice. Invariant: what must
//! be delivered may be.

use bugle_core::event::StoredEvent;
use bugle_core::ids::Offset;
use bugle_core::spec::Subscription;

use crate::bits::Bits;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    must: Bits,
    may: Bits,
    /// Events looked at.
    seen: usize,
}

impl Wishes {
    /// Looks at new events of the log.
    pub(crate) fn see(&mut self, spec: &Subscription, log: &[StoredEvent]) {
        for event in log.get(self.seen..).unwrap_or_default() {
            if spec.wants(event) {
                self.must.add(event.position.offset);
                self.may.add(event.position.offset);
            }
        }
        self.seen = self.seen.max(log.len());
    }

    /// The definition changed.
    pub(crate) fn changed(&mut self, before: &Subscription, after: &Subscription, log: &[StoredEvent]) {
        self.see(before, log);
        if log.len() < self.seen {
            // A crash took the rest, and other events will have their places.
            for offset in log.len()..self.seen {
                self.must.remove(Offset(offset as u64));
                self.may.remove(Offset(offset as u64));
            }
            self.seen = log.len();
        }
        if before.filter == after.filter && before.topics == after.topics {
            return;
        }
        for event in log {
            let offset = event.position.offset;
            if !after.wants(event) {
                self.must.remove(offset);
            } else {
                self.may.add(offset);
            }
        }
    }

    /// The content of these events is erased: they are passed over, or end as suppressed if they were under way.
    pub(crate) fn erased(&mut self, places: &[Offset]) {
        places.iter().for_each(|place| self.must.remove(*place));
    }

    pub(crate) fn must_word(&self, word: usize) -> u64 {
        self.must.word(word)
    }

    pub(crate) fn may_word(&self, word: usize) -> u64 {
        self.may.word(word)
    }

    pub(crate) fn must(&self, offset: Offset) -> bool {
        self.must.has(offset)
    }

    pub(crate) fn may(&self, offset: Offset) -> bool {
        self.may.has(offset)
    }
}
