//! "Was this id stored?", for producers left in doubt. Changes nothing.
//!
//! Knows nothing of content: the id alone counts. Invariant: an answer of "stored" names an event that the same group or an
//! earlier one holds, so it may be told once that group is durable.

use alloc::vec::Vec;

use super::{Admission, IdFact, IdLookup};
use crate::ids::{Position, TopicId};
use crate::publish::IdState;

/// A question on its way: look up what it asks for, then [`Admission::answer`] it in the same group.
#[derive(Clone, Debug)]
pub struct IdQuery {
    topic: TopicId,
    hash: u64,
    lookups: Vec<IdLookup>,
}

impl IdQuery {
    /// What to look up.
    #[must_use]
    pub fn lookups(&self) -> &[IdLookup] {
        &self.lookups
    }
}

impl Admission {
    /// Begins a question; `None` if there is no such topic.
    #[must_use]
    pub fn query(&self, topic: &str, source: &str, id: &str) -> Option<IdQuery> {
        let topic = *self.topics.get(topic)?;
        let hash = self.hash(topic, source, id);
        let mut lookups = Vec::new();
        self.window.probe(hash, self.group.first(), |place| lookups.push(IdLookup { index: 0, hash, place }));
        Some(IdQuery { topic, hash, lookups })
    }

    /// Answers it.
    #[must_use]
    pub fn answer(&self, query: &IdQuery, source: &str, id: &str, facts: &[IdFact]) -> IdState {
        let mut first = self.first_with_id(query.topic, source, id, facts);
        self.window.probe_recent(query.hash, self.group.first(), |offset| {
            if self.group.has_id(offset, query.topic, source, id) {
                first = Some(first.map_or(offset, |known| known.min(offset)));
            }
        });
        match first {
            Some(offset) => IdState::Stored(Position { slot: self.slot, offset }),
            None => IdState::NotInWindow,
        }
    }
}
