//! One batch as its callers see it: a shared cell that is resolved once, and the futures that wait for it.
//!
//! One allocation serves all events of a batch. It does not know connections or sequences; those are the queue's.
//!
//! The invariant: a batch is resolved at most once, and every waiter of a resolved batch gets its result.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bugle_wire::schema;
use bugle_wire::{Code, Position};

use crate::outcome::{Outcome, Receipt};

/// What became of a whole batch.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// The host decided each event.
    Decided(Decided),
    /// Nothing of it is stored.
    Refused { code: Code, retry_after: Option<Duration>, detail: String },
    /// Sent and never answered.
    Unknown,
}

/// A receipt with its lists in order of index.
#[derive(Debug)]
pub(crate) struct Decided {
    first: Position,
    duplicates: Vec<schema::Duplicate>,
    refusals: Vec<schema::Refusal>,
}

impl Decided {
    /// Takes the receipt of a batch of `event_count` events, or nothing if it does not account for each of them once.
    pub(crate) fn new(mut receipt: schema::Receipt, event_count: usize) -> Option<Self> {
        receipt.duplicates.sort_unstable_by_key(|duplicate| duplicate.index);
        receipt.refusals.sort_unstable_by_key(|refusal| refusal.index);
        let counted =
            (receipt.count as usize).saturating_add(receipt.duplicates.len()).saturating_add(receipt.refusals.len());
        let mut indexes: Vec<u32> = receipt.duplicates.iter().map(|duplicate| duplicate.index).collect();
        indexes.extend(receipt.refusals.iter().map(|refusal| refusal.index));
        indexes.sort_unstable();
        let once = indexes.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let inside = indexes.last().is_none_or(|last| (*last as usize) < event_count);
        (counted == event_count && once && inside).then_some(Self {
            first: Position { slot: receipt.slot, offset: receipt.first_offset },
            duplicates: receipt.duplicates,
            refusals: receipt.refusals,
        })
    }

    pub(crate) fn duplicate_count(&self) -> usize {
        self.duplicates.len()
    }

    pub(crate) fn refusal_count(&self) -> usize {
        self.refusals.len()
    }

    fn outcome(&self, index: u32) -> Outcome {
        let before = match self.duplicates.binary_search_by_key(&index, |duplicate| duplicate.index) {
            Ok(at) => {
                let position = self.duplicates.get(at).map_or(self.first, schema::Duplicate::position);
                return Outcome::Confirmed(Receipt { position, duplicate: true });
            }
            Err(before) => before,
        };
        match self.refusals.binary_search_by_key(&index, |refusal| refusal.index) {
            Ok(at) => self.refusals.get(at).map_or(Outcome::Unknown, refused),
            Err(refused_before) => {
                let skipped = (before + refused_before) as u64;
                let offset = self.first.offset.saturating_add(u64::from(index) - skipped);
                let position = Position { slot: self.first.slot, offset };
                Outcome::Confirmed(Receipt { position, duplicate: false })
            }
        }
    }
}

fn refused(refusal: &schema::Refusal) -> Outcome {
    Outcome::Refused {
        code: refusal.typed_code(),
        retry_after: refusal.retry_after_ms.map(Duration::from_millis),
        detail: refusal.detail.clone(),
    }
}

impl Resolution {
    pub(crate) fn refused(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { code, retry_after: None, detail: detail.into() }
    }

    fn outcome(&self, index: u32) -> Outcome {
        match self {
            Self::Decided(decided) => decided.outcome(index),
            Self::Refused { code, retry_after, detail } => {
                Outcome::Refused { code: *code, retry_after: *retry_after, detail: detail.clone() }
            }
            Self::Unknown => Outcome::Unknown,
        }
    }
}

/// The cell that callers and queue share.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    resolution: Option<Resolution>,
    wakers: Vec<Option<Waker>>,
}

impl Batch {
    /// Resolves the batch and wakes its waiters. Later calls change nothing.
    pub(crate) fn resolve(&self, resolution: Resolution) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.resolution.get_or_insert(resolution);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// A receipt that will come: a future of the event's [`Outcome`]. Dropping it gives up the answer, not the event.
#[derive(Debug)]
#[must_use = "the outcome says whether the event is stored"]
pub struct PendingReceipt {
    state: Pending,
}

#[derive(Debug)]
enum Pending {
    /// The outcome was known before the event had a place.
    Known(Outcome),
    InBatch {
        batch: Arc<Batch>,
        index: u32,
        waker_at: Option<usize>,
    },
}

impl PendingReceipt {
    pub(crate) fn known(outcome: Outcome) -> Self {
        Self { state: Pending::Known(outcome) }
    }

    pub(crate) fn in_batch(batch: Arc<Batch>, index: u32) -> Self {
        Self { state: Pending::InBatch { batch, index, waker_at: None } }
    }
}

impl Future for PendingReceipt {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let (batch, index, waker_at) = match &mut self.get_mut().state {
            Pending::Known(outcome) => return Poll::Ready(outcome.clone()),
            Pending::InBatch { batch, index, waker_at } => (batch, *index, waker_at),
        };
        let mut state = batch.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolution) = &state.resolution {
            return Poll::Ready(resolution.outcome(index));
        }
        let at = *waker_at.get_or_insert_with(|| {
            state.wakers.push(None);
            state.wakers.len() - 1
        });
        if let Some(waker) = state.wakers.get_mut(at) {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> schema::Receipt {
        schema::Receipt {
            first_offset: 100,
            count: 2,
            duplicates: vec![schema::Duplicate { index: 1, slot: 0, offset: 7 }],
            refusals: vec![schema::Refusal { index: 3, code: 41, retry_after_ms: Some(20), detail: "full".into() }],
            ..Default::default()
        }
    }

    #[test]
    fn each_event_gets_its_own_outcome() {
        let decided = Decided::new(receipt(), 4).unwrap();
        let at = |offset, duplicate| Outcome::Confirmed(Receipt { position: Position { slot: 0, offset }, duplicate });
        assert_eq!(decided.outcome(0), at(100, false));
        assert_eq!(decided.outcome(1), at(7, true));
        assert_eq!(decided.outcome(2), at(101, false));
        let expected =
            Outcome::Refused { code: Code::QUOTA, retry_after: Some(Duration::from_millis(20)), detail: "full".into() };
        assert_eq!(decided.outcome(3), expected);
    }

    #[test]
    fn a_receipt_that_does_not_account_for_every_event_is_no_receipt() {
        assert!(Decided::new(receipt(), 5).is_none());
        assert!(Decided::new(receipt(), 3).is_none());
        let mut twice = receipt();
        twice.refusals[0].index = 1;
        assert!(Decided::new(twice, 4).is_none());
        let mut outside = receipt();
        outside.refusals[0].index = 4;
        assert!(Decided::new(outside, 4).is_none());
    }

    #[test]
    fn a_batch_is_resolved_once() {
        let batch = Arc::new(Batch::default());
        let mut pending = PendingReceipt::in_batch(batch.clone(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut pending).poll(&mut cx), Poll::Pending);
        batch.resolve(Resolution::Unknown);
        batch.resolve(Resolution::refused(Code::QUOTA, ""));
        assert_eq!(Pin::new(&mut pending).poll(&mut cx), Poll::Ready(Outcome::Unknown));
    }
}
