//! What providers say of sends, and what plugins note of them there, on the committer's thread: one is before the other.
//!
//! Decides nothing; `bugle_core::callback` does. A record is looked up where the round has not touched it. Invariant: what is told of a
//! callback is what the batch with it holds.

use std::collections::HashMap;

use bugle_core::callback::{Found, StatusChange, heard, noted};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::RecordRow;
use bugle_core::spec::Subscription;
use bugle_core::step::Write;
use tokio::sync::oneshot;

use super::{Committer, Round};
use crate::reads::ReadError;

/// Changes of records that were found, of one subscription.
pub(crate) struct Callback {
    pub(crate) spec: Subscription,
    pub(crate) told: Vec<Told>,
    /// How many records moved, or why the store could not be read.
    pub(crate) reply: oneshot::Sender<Result<u32, ReadError>>,
}

/// A change and the record that it is about.
pub(crate) struct Told {
    pub(crate) name: RecordName,
    /// For its outcome, if that is told and the log has the event.
    pub(crate) event: Option<StoredEvent>,
    pub(crate) change: StatusChange,
}

/// What names a record beside its subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordName {
    pub(crate) position: Position,
    pub(crate) business_key: String,
    pub(crate) recipient: String,
}

impl RecordName {
    fn of(position: Position, row: &RecordRow) -> RecordName {
        RecordName { position, business_key: row.business_key.clone(), recipient: row.recipient.clone() }
    }
}

/// Records that the round writes, as they are after it: of subscriptions whose providers call back.
pub(super) type Heard = HashMap<(SubscriptionId, RecordName), RecordRow>;

impl Committer {
    /// Moves records, and has the answer told after the sync. A store that cannot be read fails this callback and nothing else; what
    /// it has moved until then stays, and is nothing new when the provider says it again.
    pub(super) fn callback(&mut self, callback: Callback, round: &mut Round) -> Result<(), ReadError> {
        let Callback { spec, told, reply } = callback;
        let (now, mut moved, mut answer) = (self.shared.clock.now(), 0, Ok(()));
        let mut writes = Vec::new();
        for Told { name, event, change } in told {
            let current = match self.record(&round.heard, spec.id, &name) {
                Ok(Some(current)) => current,
                Ok(None) => continue,
                Err(error) => {
                    answer = Err(error);
                    break;
                }
            };
            let found = Found { spec: &spec, position: name.position, event: event.as_ref(), current: &current };
            if let Some(row) = heard(now, found, &change, &mut writes) {
                moved += 1;
                round.heard.insert((spec.id, name), row);
            }
        }
        self.place(writes, round)?;
        round.count();
        round.callbacks.push((reply, answer.map(|()| moved)));
        Ok(())
    }

    /// A note where providers call back: written unless its provider has said more. A store that cannot be read fails the commit.
    pub(super) fn note(
        &self,
        subscription: SubscriptionId,
        position: Position,
        row: RecordRow,
        round: &mut Round,
    ) -> Result<(), ReadError> {
        let name = RecordName::of(position, &row);
        let current = self.record(&round.heard, subscription, &name)?;
        if let Some(row) = noted(current.as_ref(), row) {
            round.heard.insert((subscription, name), row.clone());
            round.writes.push(Write::Record { subscription, position, row });
        }
        Ok(())
    }

    fn record(
        &self,
        heard: &Heard,
        subscription: SubscriptionId,
        name: &RecordName,
    ) -> Result<Option<RecordRow>, ReadError> {
        if let Some(row) = heard.get(&(subscription, name.clone())) {
            return Ok(Some(row.clone()));
        }
        Ok(self.shared.store.record(subscription, name.position, &name.business_key, &name.recipient)?)
    }
}
