//! Subscriptions as operators handle them: apply, pause, resume; `delete` and `runs` have the rest. Their rows are the server's; numbers and cursors ours.
//!
//! Invariant: a subscription and its cursor are created in one batch, so a crash never leaves one that starts at the wrong
//! place.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bugle_core::event::Class;
use bugle_core::ids::{Name, Offset, SubscriptionId};
use bugle_core::row::CursorRow;
use bugle_core::spec::{FILTER_DEPTH_MAX, FILTER_PARTS_MAX, Subscription};
use bugle_core::step::{CatalogKind, Write};
use bugle_core::subscription::Recovered;
use tokio::sync::oneshot;

use super::private::new_private;
use super::topics::cover;
use super::topics::next_number;
use super::{Bus, Definition, Inside};
use crate::queue::{Stopped, Writes};
use crate::reads::ReadError;
use crate::worker::{Message, Operator};

/// Key of the row that holds the number of the next subscription, in decimal.
const NEXT_SUBSCRIPTION: &str = "next-subscription";

/// Where a new subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// Behind the last event at the moment of its creation.
    #[default]
    Latest,
    /// At the oldest event of the log.
    Earliest,
    /// At this offset.
    Offset(Offset),
}

/// A subscription to create or to change.
pub struct ApplySubscription<F> {
    /// What it shall be; its `id` and its private topic are ignored, the name says which one it is.
    pub spec: Subscription,
    /// Where it starts if it is new; ignored else.
    pub start: StartAt,
    /// Makes the catalog row from the numbered subscription.
    pub row: F,
    /// Further rows of the same batch.
    pub also: Vec<Definition>,
}

/// What `apply` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is new and starts at this offset.
    Created {
        /// With its number.
        spec: Subscription,
        /// First offset it will look at.
        floor: Offset,
    },
    /// It was there and runs with the new definition from now on.
    Changed {
        /// With its number.
        spec: Subscription,
    },
}

/// Why an operation on a subscription was not done.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// The caller: no such name.
    #[error("there is no subscription `{0}`; list them to see the names")]
    NotFound(Name),
    /// The caller: the filter.
    #[error("the filter of subscription `{name}` nests {depth} levels deep, at most {FILTER_DEPTH_MAX} are allowed")]
    FilterTooDeep {
        /// Subscription.
        name: Name,
        /// Its depth.
        depth: usize,
    },
    /// The caller: the filter.
    #[error("the filter of subscription `{name}` has {parts} parts, at most {FILTER_PARTS_MAX} are allowed")]
    FilterTooLarge {
        /// Subscription.
        name: Name,
        /// Its parts.
        parts: usize,
    },
    /// The caller: nothing to cover or to run.
    #[error("subscription `{0}` needs at least one topic and a concurrency of at least 1")]
    Empty(Name),
    /// The caller: too early.
    #[error("the last calls of the deleted subscription `{0}` have not ended yet; apply it again in a moment")]
    StillEnding(Name),
    /// The caller: its claims are under the old name.
    #[error(
        "`channel` of subscription `{0}` can't be changed, since what it has claimed so far would be forgotten; delete the subscription and apply it again, or give the new one another name"
    )]
    OtherChannel(Name),
    /// The operator: the disk.
    #[error("could not read what the change needs to know")]
    Read(#[source] ReadError),
    /// The host stops.
    #[error("could not change the subscription")]
    Stopped(#[source] Stopped),
}

impl Bus {
    /// Every subscription, by name.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Subscription> {
        let running = self.inside.running.read();
        let running = running.unwrap_or_else(PoisonError::into_inner);
        running.values().map(|running| running.spec.clone()).collect()
    }

    /// Creates a subscription or changes the one of that name; returns when it is durable and its worker runs.
    pub async fn apply_subscription<F: FnOnce(&Subscription) -> Vec<u8>>(
        &self,
        apply: ApplySubscription<F>,
    ) -> Result<Applied, SubscriptionError> {
        let mut apply = apply;
        check(&apply.spec)?;
        let _one_at_a_time = self.inside.definitions.lock().await;
        cover(&mut apply.spec, &self.topics());
        match self.inside.spec(&apply.spec.name) {
            Some(old) if old.channel != apply.spec.channel => Err(SubscriptionError::OtherChannel(old.name)),
            Some(old) => self.change(old, apply).await,
            None => self.create(apply).await,
        }
    }

    async fn create<F: FnOnce(&Subscription) -> Vec<u8>>(
        &self,
        apply: ApplySubscription<F>,
    ) -> Result<Applied, SubscriptionError> {
        if self.inside.deleted().contains(&apply.spec.name) {
            return Err(SubscriptionError::StillEnding(apply.spec.name));
        }
        let store = &self.inside.shared.store;
        let (number, counter) = next_number(store, NEXT_SUBSCRIPTION).map_err(SubscriptionError::Read)?;
        let private = new_private(store, &apply.spec.name, self.inside.topic_row).map_err(SubscriptionError::Read)?;
        let spec = Subscription { id: SubscriptionId(number), redelivery: Some(private.topic.id), ..apply.spec };
        let given = match apply.start {
            StartAt::Latest => None,
            StartAt::Earliest => Some(self.inside.shared.store.floor()),
            StartAt::Offset(offset) => Some(offset.min(self.end())),
        };
        let mut writes = vec![counter, definition(&spec, Some((apply.row)(&spec)))];
        writes.extend(private.writes);
        writes.extend(apply.also.into_iter().map(Definition::into_write));
        writes.extend(given.map(|floor| Write::Cursor {
            subscription: spec.id,
            class: Class::Normal,
            row: CursorRow { floor },
        }));
        let committed = self
            .inside
            .commit_item(Writes {
                writes,
                topic: Some(private.topic.clone()),
                cursor_at_tail: given.is_none().then_some(spec.id),
                ..Writes::default()
            })
            .await
            .map_err(SubscriptionError::Stopped)?;
        self.inside.shared.topics.add(&private.topic);
        let floor = given.unwrap_or(committed.tail);
        let machine = self.inside.machine(&spec, Recovered::at(floor));
        self.inside.run(spec.clone(), machine);
        Ok(Applied::Created { spec, floor })
    }

    async fn change<F: FnOnce(&Subscription) -> Vec<u8>>(
        &self,
        old: Subscription,
        apply: ApplySubscription<F>,
    ) -> Result<Applied, SubscriptionError> {
        let spec = Subscription { id: old.id, redelivery: old.redelivery, ..apply.spec };
        let mut writes = vec![definition(&spec, Some((apply.row)(&spec)))];
        writes.extend(apply.also.into_iter().map(Definition::into_write));
        self.inside.commit(writes).await.map_err(SubscriptionError::Stopped)?;
        let operator = Operator::Reconfigure(Box::new(spec.clone()));
        self.inside.operate(&spec.name, operator, Vec::new()).await?;
        let mut running = self.inside.running.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.get_mut(&spec.name) {
            running.port.inbound.store(spec.inbound, Ordering::Relaxed);
            running.spec = spec.clone();
        }
        Ok(Applied::Changed { spec })
    }

    /// Starts no further attempt until resumed; durable when it returns.
    pub async fn pause(
        &self,
        name: &str,
        by: String,
        reason: String,
        also: Vec<Definition>,
    ) -> Result<(), SubscriptionError> {
        self.inside.operate(name, Operator::Pause { by, reason }, also).await
    }

    /// Goes on; durable when it returns.
    pub async fn resume(&self, name: &str, also: Vec<Definition>) -> Result<(), SubscriptionError> {
        self.inside.operate(name, Operator::Resume, also).await
    }

    /// Says that the cause of an open breaker may be gone: it probes at once.
    pub async fn probe(&self, name: &str) -> Result<(), SubscriptionError> {
        self.inside.operate(name, Operator::Probe, Vec::new()).await
    }
}

impl Inside {
    pub(super) fn spec(&self, name: &str) -> Option<Subscription> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.get(name).map(|running| running.spec.clone())
    }

    /// Asks the worker and waits until its answer is durable.
    pub(super) async fn operate(
        &self,
        name: &str,
        operator: Operator,
        also: Vec<Definition>,
    ) -> Result<(), SubscriptionError> {
        let port = self.port(name).ok_or_else(|| SubscriptionError::NotFound(Name::from(name)))?;
        let also = also.into_iter().map(Definition::into_write).collect();
        let (reply, done) = oneshot::channel();
        port.inbox.push(Message::Operator(operator, also, reply));
        done.await.map_err(|_| SubscriptionError::Stopped(Stopped))
    }

    /// Ends a worker and forgets it.
    pub(super) async fn stop(&self, name: &str) {
        let removed = self.running.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(removed) = removed else {
            return;
        };
        self.shared
            .readers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(_, inbox)| !Arc::ptr_eq(inbox, &removed.port.inbox));
        removed.port.inbox.push(Message::Stop);
        if removed.worker.await.is_err() {
            tracing::error!(subscription = name, "the worker ended by a panic");
        }
    }
}

pub(super) fn definition(spec: &Subscription, value: Option<Vec<u8>>) -> Write {
    Write::Catalog { kind: CatalogKind::Subscription, key: spec.name.to_string(), value }
}

fn check(spec: &Subscription) -> Result<(), SubscriptionError> {
    let depth = spec.filter.depth();
    if depth > FILTER_DEPTH_MAX {
        return Err(SubscriptionError::FilterTooDeep { name: spec.name.clone(), depth });
    }
    let parts = spec.filter.parts();
    if parts > FILTER_PARTS_MAX {
        return Err(SubscriptionError::FilterTooLarge { name: spec.name.clone(), parts });
    }
    if (spec.topics.is_empty() && spec.patterns.is_empty()) || spec.concurrency == 0 {
        return Err(SubscriptionError::Empty(spec.name.clone()));
    }
    Ok(())
}
