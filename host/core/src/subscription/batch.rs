//! Which deliveries share one call of the plugin, and what becomes of them when that call breaks.
//!
//! A batch gathers while deliveries start; the driver says when it handed over what started. Nothing ever waits for a batch to
//! fill. Each member keeps its ticket, lease, attempt number and settlement: concurrency, rate and breaker know no batches.
//!
//! Invariant: a delivery that must show by itself whose fault it is (a probe, one that the plugin broke on, one whose batch broke)
//! is alone in its call.

use alloc::collections::BTreeSet;

use super::Machine;
use super::leases::Lease;
use crate::flow::Outcome;
use crate::ids::{Offset, Ticket};
use crate::spec::BATCH_DELIVERIES_MAX;
use crate::step::Batch;
use crate::time::Timestamp;

/// When a delivery is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    /// In this round.
    Now,
    /// When the gathering step is durable.
    AfterStep,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// The latest member of the batch that gathers for this round, and of the one that waits for the step.
    now: Option<Batch>,
    after_step: Option<Batch>,
    /// Ready again after a call broke that they shared: they run alone. No more than were in flight.
    alone: BTreeSet<Offset>,
}

impl Batches {
    pub(super) fn forget_below(&mut self, to: Offset) {
        self.alone = self.alone.split_off(&to);
    }
}

impl Machine {
    /// The driver hands over what started: what starts from now on is in other calls.
    pub fn handed_over(&mut self) {
        self.batches.now = None;
    }

    /// The step is sealed: what starts from now on waits for another one.
    pub(super) fn close_batch_of_step(&mut self) {
        self.batches.after_step = None;
    }

    /// Whether a delivery that starts is to be alone in its call, because the last one that it shared broke.
    pub(super) fn take_alone(&mut self, offset: Offset) -> bool {
        self.batches.alone.remove(&offset)
    }

    /// Puts a delivery that starts into the batch that gathers, or begins one with it.
    pub(super) fn join_batch(&mut self, ticket: Ticket, hand_over: HandOver) -> Option<Batch> {
        let deliveries_max = self.spec.batch_max.min(BATCH_DELIVERIES_MAX);
        if deliveries_max <= 1 {
            return None;
        }
        let latest = match hand_over {
            HandOver::Now => &mut self.batches.now,
            HandOver::AfterStep => &mut self.batches.after_step,
        };
        let batch = match *latest {
            Some(Batch { first, place }) if place + 1 < deliveries_max => Batch { first, place: place + 1 },
            Some(_) | None => Batch { first: ticket, place: 0 },
        };
        *latest = Some(batch);
        if batch.place > 0 {
            self.leases.share(batch.first);
            self.leases.share(ticket);
        }
        Some(batch)
    }

    /// The call broke, and others may have been in it: nobody pays, and each runs again by itself, at once, so that it shows
    /// whose fault it is.
    pub(super) fn run_alone(&mut self, now: Timestamp, lease: &Lease) {
        self.note_end(now, lease, &Outcome::Nothing);
        self.batches.alone.insert(lease.offset);
        self.run_again(lease);
    }

    /// A delivery whose call says nothing of it stays alone, if it was.
    pub(super) fn stay_alone(&mut self, lease: &Lease) {
        if lease.is_alone {
            self.batches.alone.insert(lease.offset);
        }
    }
}
