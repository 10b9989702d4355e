//! Looks for what was sent and never heard of again: about once a second, by the index of when something should have followed.
//!
//! What becomes of a late record is its machine's decision; this finds it, with its event, and hands it over. What was handed over to a
//! worker and is not durable yet is not looked at again. Knows nothing of what a record says.
//!
//! Invariant: an entry whose record has moved on is removed; one whose record has not is handed over, now or at a later look.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::{LateEntry, RecordRow};
use bugle_core::step::Write;
use bugle_core::subscription::LateSends;
use bugle_core::time::{Millis, Timestamp};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::queue::{Item, Writes};
use crate::reads::ReadError;
use crate::shared::Shared;
use crate::worker::{Inbox, Late, Message};

/// Entries of one look: so many effects are put in doubt in a second, and no more.
const PAGE: usize = 256;
/// Pages of one look: entries of workers that are still at the ones before are passed over.
const PAGES_MAX: usize = 32;
/// Nothing is late so soon after a start: while the host was down no provider could call back, and they repeat their calls in minutes.
const GRACE: Millis = Millis::from_secs(300);

/// What is being looked after.
#[derive(Debug)]
pub(crate) struct LateLook {
    started: Timestamp,
    /// Handed over and not durable.
    under_way: HashMap<SubscriptionId, oneshot::Receiver<()>>,
}

/// Whether records of a subscription are looked after in this look.
enum Turn {
    /// By its worker.
    Now(Arc<Inbox>),
    /// It is at those before, or has just started.
    Later,
    /// It was deleted, and nobody is left to send anything again.
    Never,
}

/// Late records of one subscription by event.
type Found = HashMap<Position, Vec<RecordRow>>;

impl LateLook {
    pub(crate) fn new(started: Timestamp) -> LateLook {
        LateLook { started, under_way: HashMap::new() }
    }

    /// One look, at the time up to which something counts as over.
    pub(crate) fn run(&mut self, shared: &Shared, now: Timestamp) {
        self.under_way.retain(|_, done| matches!(done.try_recv(), Err(TryRecvError::Empty)));
        if let Err(error) = self.look(shared, now) {
            tracing::error!(%error, "could not look for records that nothing followed");
        }
    }

    fn look(&mut self, shared: &Shared, now: Timestamp) -> Result<(), ReadError> {
        let (mut gone, mut found) = (Vec::new(), HashMap::<SubscriptionId, Found>::new());
        let (mut after, mut count): (Option<LateEntry>, usize) = (None, 0);
        let mut turns = HashMap::new();
        for _ in 0..PAGES_MAX {
            let page = shared.store.late_entries(now, after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(entry, _)| entry.clone());
            for (entry, row) in page {
                let turn =
                    turns.entry(entry.subscription).or_insert_with(|| self.turn(shared, now, entry.subscription));
                match (turn, row) {
                    (_, None) | (Turn::Never, _) => gone.push(Write::LateGone(entry)),
                    (Turn::Now(_), Some(row)) if count < PAGE => {
                        count += 1;
                        found.entry(entry.subscription).or_default().entry(entry.position).or_default().push(row);
                    }
                    (Turn::Now(_) | Turn::Later, Some(_)) => {}
                }
            }
            if is_last || count == PAGE {
                break;
            }
        }
        for (subscription, records) in found {
            if let Some(Turn::Now(reader)) = turns.get(&subscription) {
                self.hand_over(shared, subscription, reader, records)?;
            }
        }
        if !gone.is_empty() {
            // A committer that has stopped takes nothing more.
            let _ = shared.queue.push(Item::Writes(Writes { writes: gone, ..Writes::default() }));
        }
        Ok(())
    }

    fn turn(&self, shared: &Shared, now: Timestamp, subscription: SubscriptionId) -> Turn {
        let reader = {
            let readers = shared.readers.read().unwrap_or_else(PoisonError::into_inner);
            readers.iter().find(|(id, _)| *id == subscription).map(|(_, inbox)| Arc::clone(inbox))
        };
        let Some(reader) = reader else { return Turn::Never };
        let grace = reader.late_after().map_or(GRACE, |late_after| late_after.min(GRACE));
        if now < self.started.after(grace) || self.under_way.contains_key(&subscription) {
            return Turn::Later;
        }
        Turn::Now(reader)
    }

    fn hand_over(
        &mut self,
        shared: &Shared,
        subscription: SubscriptionId,
        reader: &Inbox,
        records: Found,
    ) -> Result<(), ReadError> {
        let mut sends = Vec::with_capacity(records.len());
        for (position, rows) in records {
            sends.push(LateSends { position, event: shared.store.event(position)?, rows });
        }
        sends.sort_by_key(|late| late.position);
        let (reply, done) = oneshot::channel();
        reader.push(Message::Late(Box::new(Late { sends, done: reply })));
        self.under_way.insert(subscription, done);
        Ok(())
    }
}
