//! Cancelling scheduled events, on the committer's thread: a release is before it or after it, and never at the same time.
//!
//! Decides nothing; admission does. Invariant: what is told of a cancel is what the batch with it holds, its audit row included.

use bugle_core::ids::{Name, TopicId};
use bugle_core::publish::IdState;
use bugle_core::schedule::{CANCEL_EVENTS_MAX, Cancelled, ScheduledName, ScheduledQuery};
use bugle_core::step::Write;
use tokio::sync::oneshot;

use super::{Committer, Round};
use crate::reads::ReadError;

/// Rows that are written with a cancel that cancelled so many.
pub(crate) type Also = Box<dyn FnOnce(u32) -> Vec<Write> + Send>;

/// What is to be cancelled.
pub(crate) struct Cancel {
    pub(crate) topic: TopicId,
    pub(crate) topic_name: Name,
    pub(crate) what: What,
    pub(crate) also: Also,
    /// The answer, or why the store could not be read.
    pub(crate) reply: oneshot::Sender<Result<Cancelled, ReadError>>,
}

/// A name that is kept.
pub(crate) enum What {
    Id { source: String, id: String },
    Key(String),
}

impl What {
    fn name(&self) -> ScheduledName<'_> {
        match self {
            What::Id { source, id } => ScheduledName::Id { source, id },
            What::Key(key) => ScheduledName::Key(key),
        }
    }
}

impl Committer {
    /// Cancels, and has the answer told after the sync. A store that cannot be read fails this cancel and nothing else.
    pub(super) fn cancel(&mut self, cancel: Cancel, round: &mut Round) {
        let Cancel { topic, topic_name, what, also, reply } = cancel;
        let query = ScheduledQuery { topic, name: what.name() };
        let answer = match self.shared.store.scheduled_of(query, CANCEL_EVENTS_MAX) {
            Err(error) => Err(error.into()),
            Ok(found) => {
                let is_more = found.len() == CANCEL_EVENTS_MAX;
                let now = self.shared.clock.now();
                match self.admission.cancel(now, query, found, &mut round.writes) {
                    0 => self.why_none(&topic_name, &what),
                    events => {
                        round.writes.extend(also(events));
                        Ok(Cancelled::Done { events, is_more })
                    }
                }
            }
        };
        round.count();
        round.cancels.push((reply, answer));
    }

    /// Nothing of that name waits: what became of the event, as far as it is known.
    fn why_none(&self, topic: &str, what: &What) -> Result<Cancelled, ReadError> {
        let What::Id { source, id } = what else {
            return Ok(Cancelled::Done { events: 0, is_more: false });
        };
        let Some(IdState::Stored(position)) = self.query(topic, source, id)? else {
            return Ok(Cancelled::Unknown);
        };
        let row = match self.admission.fate(position.offset) {
            Some(row) => Some(row),
            None => self.shared.store.fate(position.offset)?,
        };
        Ok(row.map_or(Cancelled::NotScheduled { position }, |row| Cancelled::Ended { position, row }))
    }
}
