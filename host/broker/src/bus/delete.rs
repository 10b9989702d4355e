//! Deleting a subscription: its worker ends, then one batch takes everything that is its own.
//!
//! A call under way goes on without effect on deliveries, but may still write a claim or a kv entry through an import. So the
//! name is kept as deleted until the last call has ended, and everything is taken once more then; after a crash in between,
//! the next start does that, since no call is left. Numbers are never given again. Send records stay. Why so:
//! docs/decisions/0013-delete-by-ranges-twice.md.
//!
//! Invariant: a name is free again only when nothing of the old subscription is left under it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bugle_core::ids::{Name, SubscriptionId};
use bugle_core::origin::private_topic;
use bugle_core::step::{CatalogKind, Write};
use tokio::sync::oneshot;

use super::subscriptions::definition;
use super::{Bus, Definition, Inside, SubscriptionError, private};
use crate::queue::{Item, Stopped, Writes};
use crate::reads::ReadError;

/// Names of subscriptions whose last calls may still run, by number; there are as many as were just deleted.
const DELETED_MAX: usize = 100_000;

/// The last calls have often ended by now; the name is free when the deletion returns then.
const LAST_CALL_GRACE: Duration = Duration::from_millis(200);

impl Bus {
    /// Ends a subscription and removes its definition and everything that is its own, durably. Calls under way run to their end
    /// without effect. Goes on to its end if the caller stops waiting: a worker that was stopped must not keep its definition.
    pub async fn delete_subscription(&self, name: &str, also: Vec<Definition>) -> Result<(), SubscriptionError> {
        let (bus, name) = (self.clone(), name.to_owned());
        let deletion = self.inside.runtime.spawn(async move { bus.delete(&name, also).await });
        deletion.await.map_err(|_| SubscriptionError::Stopped(Stopped))?
    }

    async fn delete(&self, name: &str, also: Vec<Definition>) -> Result<(), SubscriptionError> {
        let _one_at_a_time = self.inside.definitions.lock().await;
        let spec = self.inside.spec(name).ok_or_else(|| SubscriptionError::NotFound(Name::from(name)))?;
        let mut ended = self.inside.stop_and_watch(name).await;
        let mut writes = vec![
            definition(&spec, None),
            private::deleted(name),
            deleted(spec.id, Some(&spec.name)),
            forget(spec.id, &spec.name),
        ];
        writes.extend(also.into_iter().map(Definition::into_write));
        self.inside.deleted().insert(Name::clone(&spec.name));
        self.inside.commit(writes).await.map_err(SubscriptionError::Stopped)?;
        self.inside.shared.topics.remove(&private_topic(name));
        if tokio::time::timeout(LAST_CALL_GRACE, &mut ended).await.is_ok() {
            return self.inside.finish_delete(spec.id, &spec.name).await.map_err(SubscriptionError::Stopped);
        }
        // Weak: a call that never ends must not keep the store open.
        let inside = Arc::downgrade(&self.inside);
        self.inside.runtime.spawn(async move {
            // The sender is dropped with the last call: that is the end as well.
            let _ = ended.await;
            let Some(inside) = inside.upgrade() else { return };
            if inside.finish_delete(spec.id, &spec.name).await.is_err() {
                tracing::warn!(subscription = %spec.name, "the host stopped before the last calls of a deleted subscription had ended; the next start cleans up");
            }
        });
        Ok(())
    }
}

impl Inside {
    /// Takes what calls left after the deletion, and frees the name.
    async fn finish_delete(&self, id: SubscriptionId, name: &Name) -> Result<(), Stopped> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner).end(id, name);
        self.commit(vec![forget(id, name), deleted(id, None)]).await?;
        self.deleted().remove(name);
        Ok(())
    }

    /// Finishes the deletions that a crash or a stop cut short: no call of theirs is left. In the queue before anything else.
    pub(super) fn finish_deletes(&self) -> Result<(), ReadError> {
        for (number, name) in self.shared.store.catalog_list(CatalogKind::Deleted, None, DELETED_MAX)? {
            let (Ok(number), Ok(name)) = (number.parse(), String::from_utf8(name)) else {
                continue;
            };
            let (id, name) = (SubscriptionId(number), Name::from(name));
            self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner).end(id, &name);
            let writes = vec![forget(id, &name), deleted(id, None)];
            // A committer that has stopped already ends the process; the rows stay for the next start.
            let _ = self.shared.queue.push(Item::Writes(Writes { writes, ..Writes::default() }));
        }
        Ok(())
    }

    /// Stops a worker; the receiver hears of the end of its last call.
    async fn stop_and_watch(&self, name: &str) -> oneshot::Receiver<()> {
        let (last, ended) = oneshot::channel();
        if let Some(port) = self.port(name) {
            *port.last_call.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            self.shared.backlogs.remove(port.subscription);
        }
        self.stop(name).await;
        ended
    }
}

fn forget(subscription: SubscriptionId, name: &Name) -> Write {
    Write::Forget { subscription, name: Name::clone(name) }
}

fn deleted(subscription: SubscriptionId, name: Option<&Name>) -> Write {
    let value = name.map(|name| name.as_bytes().to_vec());
    Write::Catalog { kind: CatalogKind::Deleted, key: subscription.to_string(), value }
}
