//! What admission asks the past: events that may have a published id, and the stored sequences of a resumed producer.
//!
//! Recent events come from the ring, older ones from the disk, on the committer's thread: it is the only one that may decide,
//! and without repeats nothing is looked up at all.

use bugle_core::admission::{IdFact, IdLookup, IdPlace};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Position, Slot};
use bugle_core::publish::{IdState, OpenSession, Opened};

use super::Committer;
use crate::reads::ReadError;

impl Committer {
    pub(super) fn open(&mut self, open: OpenSession) -> Result<Opened, ReadError> {
        let rows = match open.epoch {
            None => Vec::new(),
            Some(epoch) => self.shared.store.producer_sequences(&open.producer, epoch)?,
        };
        Ok(self.admission.open(open, rows))
    }

    pub(super) fn query(&self, topic: &str, source: &str, id: &str) -> Result<Option<IdState>, ReadError> {
        let Some(query) = self.admission.query(topic, source, id) else {
            return Ok(None);
        };
        let facts = self.look_up(query.lookups())?;
        Ok(Some(self.admission.answer(&query, source, id, &facts)))
    }

    /// The events the look-ups find, in the order of the look-ups.
    pub(super) fn look_up(&self, lookups: &[IdLookup]) -> Result<Vec<IdFact>, ReadError> {
        self.shared.counters.lookups.add(lookups.len() as u64);
        let mut facts = Vec::new();
        for lookup in lookups {
            let index = lookup.index;
            match lookup.place {
                IdPlace::Log(offset) => {
                    facts.extend(self.event(offset)?.map(|event| IdFact { index, event }));
                }
                IdPlace::Block(block) => {
                    for offset in self.shared.store.find_id(block, lookup.hash)? {
                        facts.extend(self.event(offset)?.map(|event| IdFact { index, event }));
                    }
                }
            }
        }
        Ok(facts)
    }

    fn event(&self, offset: Offset) -> Result<Option<StoredEvent>, ReadError> {
        if let Some(event) = self.shared.ring.event(offset) {
            return Ok(Some(event));
        }
        Ok(self.shared.store.event(Position { slot: Slot(0), offset })?)
    }
}
