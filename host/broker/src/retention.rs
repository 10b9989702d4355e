//! Lets go of the beginning of the log: gathers what the core's rules need, tells admission, then drops.
//!
//! Runs on the upkeep's thread, since dropping takes tens of milliseconds. Decides nothing ([`bugle_core::retention`]).
//!
//! Invariant: ids of dropped events are forgotten by admission before the events go, so that no repeat of one is taken for new.

use std::sync::{Mutex, PoisonError};

use bugle_core::ids::{Offset, Position, Slot, SubscriptionId};
use bugle_core::retention::{Retention, Run, Verdict};
use bugle_core::time::Timestamp;
use bugle_store::EpochFigures;
use tokio::sync::oneshot;

use crate::queue::Item;
use crate::reads::ReadError;
use crate::shared::Shared;

/// The latest judgement, for operators.
#[derive(Debug, Default)]
pub(crate) struct Retained(Mutex<Pinned>);

/// Who keeps the log longer than its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// The subscription whose cursor is furthest back, if the rules would let go of something it needs.
    pub by: Option<SubscriptionId>,
    /// Where its cursor is.
    pub from: Offset,
    /// Up to where the rules would let go.
    pub allowed_below: Offset,
}

impl Retained {
    pub(crate) fn pinned(&self) -> Pinned {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing was let go of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetainError {
    #[error("could not read what is needed of the log")]
    Read(#[from] ReadError),
    #[error("could not drop old events")]
    Drop(#[from] bugle_store::UpkeepError),
}

/// One look.
pub(crate) fn retain(shared: &Shared, rules: Retention) -> Result<(), RetainError> {
    let epochs = shared.store.epochs();
    let runs = runs(shared, &epochs)?;
    let cursors = shared.store.cursors().map_err(ReadError::from)?;
    let last = cursors.iter().min_by_key(|(_, row)| row.floor).map(|(id, row)| (*id, row.floor));
    let needed = last.map_or(shared.ring.end(), |(_, floor)| floor);
    let verdict = rules.judge(shared.clock.now(), &runs, needed);
    let by = last.map(|(id, _)| id).filter(|_| verdict.drop_below < verdict.allowed_below);
    let pinned = Pinned { by, from: needed, allowed_below: verdict.allowed_below };
    *shared.retained.0.lock().unwrap_or_else(PoisonError::into_inner) = pinned;
    drop_below(shared, &runs, verdict)
}

fn drop_below(shared: &Shared, runs: &[Run], verdict: Verdict) -> Result<(), RetainError> {
    let floor = verdict.drop_below;
    let Some(last) = runs.iter().rev().find(|run| run.first < floor) else { return Ok(()) };
    let until = last.newest.unwrap_or(shared.clock.now());
    let (reply, forgotten) = oneshot::channel();
    if shared.queue.push(Item::Trim { floor, until, reply }).is_err() || forgotten.blocking_recv().is_err() {
        // The host stops; the next start finds the log as it is.
        return Ok(());
    }
    let dropped = shared.store.drop_log_below(floor)?;
    if dropped > 0 {
        tracing::info!(epochs = dropped, floor = floor.0, "let go of old events");
    }
    Ok(())
}

/// The epochs with the time of their last event, which is the one before the next epoch's first.
fn runs(shared: &Shared, epochs: &[EpochFigures]) -> Result<Vec<Run>, RetainError> {
    let mut runs = Vec::with_capacity(epochs.len());
    for (index, epoch) in epochs.iter().enumerate() {
        let newest = match epochs.get(index + 1).and_then(|next| next.first.0.checked_sub(1)) {
            Some(last) => received(shared, Offset(last))?,
            None => None,
        };
        runs.push(Run { first: epoch.first, bytes: epoch.bytes, newest });
    }
    Ok(runs)
}

fn received(shared: &Shared, offset: Offset) -> Result<Option<Timestamp>, RetainError> {
    let event = shared.store.event(Position { slot: Slot(0), offset }).map_err(ReadError::from)?;
    Ok(event.map(|event| event.received))
}
