//! Callbacks of providers: which records they are about is looked up here; the committer moves them.
//!
//! Knows nothing of HTTP and of who checked the signature. Invariant: what is answered is durable.

use std::sync::Arc;

use bugle_core::callback::StatusChange;
use bugle_core::ids::Name;
use bugle_core::spec::Subscription;
use bugle_store::{RecordLookup, Store};
use tokio::sync::oneshot;

use super::Bus;
use crate::committer::{Callback, RecordName, Told};
use crate::queue::{Item, Stopped};
use crate::reads::ReadError;

/// Records looked at for one reference, of all subscriptions: a message has as many recipients at most as a delivery may note.
const RECORDS_OF_REFERENCE_MAX: usize = 1000;
/// Changes that are committed together: the committer has others to serve.
const CHANGES_AT_ONCE_MAX: usize = 64;

/// What became of a callback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Records that moved.
    pub moved: u32,
    /// Records of which nothing new was said.
    pub same: u32,
    /// Changes of which there is no record (yet).
    pub unknown: Vec<StatusChange>,
}

/// Why it is not known what became of a callback.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The caller: no such name.
    #[error("there is no subscription `{0}`; `bugle subscription list` shows them")]
    NotFound(Name),
    /// The operator: the disk.
    #[error("could not look for the records of a callback")]
    Read(#[from] ReadError),
    /// The host stops.
    #[error("could not keep a callback")]
    Stopped(#[from] Stopped),
}

impl Bus {
    /// Moves the send records of a subscription that a provider speaks of; returns when that is durable.
    pub async fn callback(&self, subscription: &str, changes: Vec<StatusChange>) -> Result<Heard, CallbackError> {
        let spec = self.inside.spec(subscription).ok_or_else(|| CallbackError::NotFound(Name::from(subscription)))?;
        let (mut all, mut left) = (Heard::default(), changes);
        while !left.is_empty() {
            let rest = left.split_off(left.len().min(CHANGES_AT_ONCE_MAX));
            let Heard { moved, same, unknown } = self.hear(&spec, left).await?;
            all.moved += moved;
            all.same += same;
            all.unknown.extend(unknown);
            left = rest;
        }
        Ok(all)
    }

    async fn hear(&self, spec: &Subscription, changes: Vec<StatusChange>) -> Result<Heard, CallbackError> {
        let (store, looked_for) = (Arc::clone(&self.inside.shared.store), spec.clone());
        let look = move || find(&store, &looked_for, changes);
        let (told, unknown) = self.inside.shared.blocking.run(look).await.map_err(ReadError::from)?;
        if told.is_empty() {
            return Ok(Heard { unknown, ..Heard::default() });
        }
        let found = u32::try_from(told.len()).unwrap_or(u32::MAX);
        let (reply, answer) = oneshot::channel();
        let callback = Callback { spec: spec.clone(), told, reply };
        self.inside.shared.queue.push(Item::Callback(Box::new(callback)))?;
        let moved = answer.await.map_err(|_| Stopped)??;
        Ok(Heard { moved, same: found.saturating_sub(moved), unknown })
    }
}

/// The records that changes are about, and the changes that are about none.
fn find(
    store: &Store,
    spec: &Subscription,
    changes: Vec<StatusChange>,
) -> Result<(Vec<Told>, Vec<StatusChange>), bugle_store::ReadError> {
    let (mut told, mut unknown) = (Vec::new(), Vec::new());
    for change in changes {
        let mut found = Vec::new();
        if !change.reference.is_empty() {
            found = store.find_records(RecordLookup::Reference(&change.reference), RECORDS_OF_REFERENCE_MAX)?;
        }
        found.retain(|entry| {
            let is_meant = change.recipient.as_ref().is_none_or(|recipient| *recipient == entry.row.recipient);
            entry.subscription == spec.id && is_meant
        });
        if found.is_empty() {
            unknown.push(change);
            continue;
        }
        for entry in found {
            let event = if spec.settled.is_some() { store.event(entry.position)? } else { None };
            let (business_key, recipient) = (entry.row.business_key, entry.row.recipient);
            let name = RecordName { position: entry.position, business_key, recipient };
            told.push(Told { name, event, change: change.clone() });
        }
    }
    Ok((told, unknown))
}
