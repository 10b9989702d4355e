//! Moving a subscription to another place of the log, and letting go of what lies before one.
//!
//! Forward, everything unsettled before the place is let go: leases on it are cancelled, its waiting rows deleted, its lanes go
//! on behind it; what lies at or behind the place stays as it is, settled or not. Backward, the subscription is as one that
//! starts there: everything from the place on is delivered again, settled or not. Holds stay in both cases. The same batch has
//! all of it. Why so: docs/decisions/0012-seek-waits-for-cancelled-calls.md.
//!
//! Invariant (G5, G6): a call whose lease was cancelled runs to its end without effect, and nothing starts before the last of
//! them has ended or its lease would have run out; so no key has two calls under way.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::batch::Batches;
use super::leases::Lease;
use super::start::Ready;
use super::waits::Waits;
use super::{Machine, read::Reads};
use crate::flow::Outcome;
use crate::ids::{Offset, Ticket};
use crate::lane::LaneState;
use crate::row::{LetGoRow, LetGoWhy};
use crate::step::{Action, Step, Write};
use crate::time::Timestamp;

/// What becomes of the calls under way when their events are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// Their leases are cancelled.
    Cancelled,
    /// They end as they would have, and their deliveries are not let go.
    Kept,
}

/// A call whose lease was cancelled and that may still run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancelled {
    ticket: Ticket,
    offset: Offset,
    /// Its lease would have run out then.
    until: Timestamp,
}

/// Offsets that are let go.
struct Gone<'a> {
    from: Offset,
    to: Offset,
    /// Those within that stay, since they are with the plugin.
    kept: &'a BTreeSet<Offset>,
}

impl Machine {
    /// Goes to a place of the log; see the module.
    pub(super) fn seek(&mut self, now: Timestamp, to: Offset, step: &mut Step) {
        self.end_drain(step);
        if to < self.cursor.floor() {
            self.start_over(now, to, step);
        } else {
            self.let_go_below(now, to, LetGoWhy::Sought, UnderWay::Cancelled, step);
        }
        self.must_commit = true;
        self.moved_in = Some(self.seals + 1);
    }

    /// Whether cancelled calls may still run.
    pub(super) fn has_cancelled(&self) -> bool {
        !self.cancelled.is_empty()
    }

    /// Calls that were cancelled and may still run, and when the last of their leases would have ended.
    pub(super) fn cancelled_until(&self) -> Option<(usize, Timestamp)> {
        let last = self.cancelled.iter().map(|call| call.until).max()?;
        Some((self.cancelled.len(), last))
    }

    /// When the next cancelled lease would have run out.
    pub(super) fn next_cancelled(&self) -> Option<Timestamp> {
        self.cancelled.iter().map(|call| call.until).min()
    }

    /// A cancelled call has ended, or never began.
    pub(super) fn forget_cancelled(&mut self, ticket: Ticket) {
        self.cancelled.retain(|call| call.ticket != ticket);
    }

    /// The same, told with an event: another's says nothing of it.
    pub(super) fn forget_cancelled_of(&mut self, ticket: Ticket, offset: Offset) {
        self.cancelled.retain(|call| call.ticket != ticket || call.offset != offset);
    }

    /// Cancelled calls whose leases would have run out count as ended: the sandbox stops a call before that.
    pub(super) fn expire_cancelled(&mut self, now: Timestamp) {
        self.cancelled.retain(|call| call.until > now);
    }

    fn cancel(&mut self, now: Timestamp, lease: &Lease, step: &mut Step) {
        self.leases.end(lease.ticket);
        self.note_end(now, lease, &Outcome::Nothing);
        // A fetch that comes back late does nothing that could meet another attempt.
        if lease.call().is_some() {
            self.cancelled.push(Cancelled { ticket: lease.ticket, offset: lease.offset, until: lease.until() });
        }
        step.actions.push(Action::Cancel { ticket: lease.ticket });
    }

    /// Lets go of everything unsettled below `to`; returns how many offsets that were.
    pub(super) fn let_go_below(
        &mut self,
        now: Timestamp,
        to: Offset,
        why: LetGoWhy,
        under_way: UnderWay,
        step: &mut Step,
    ) -> u64 {
        let from = self.cursor.floor();
        if to <= from {
            return 0;
        }
        let mut kept = BTreeSet::new();
        for lease in self.leases.below(to) {
            match under_way {
                UnderWay::Cancelled => self.cancel(now, &lease, step),
                UnderWay::Kept => drop(kept.insert(lease.offset)),
            }
        }
        let gone = Gone { from, to, kept: &kept };
        let count = self.settle_gone(&gone);
        for offset in self.waits.forget_below(gone.to, gone.kept) {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        // What waits on disk comes back, is found settled, and its row goes then.
        self.spilled.hurry_below(to);
        self.ready.retain(|offset| offset >= to || kept.contains(&offset));
        self.unwanted.retain(|unwanted| unwanted.item.offset >= to || kept.contains(&unwanted.item.offset));
        self.staying = self.staying.split_off(&to);
        self.expiries.forget_below(to, &kept);
        self.batches.forget_below(to);
        self.reads.move_to(to);
        for id in self.lanes.let_go_below(to, &kept, self.reads.position(), self.seals + 1) {
            self.proceed(id);
        }
        self.reads.is_hungry = self.lanes.overflowed().iter().any(|id| self.lanes.is_hungry(*id));
        if count > 0 {
            self.moved_in = Some(self.seals + 1);
            let (serial, total) = self.let_go.map_or((0, 0), |row| (row.serial + 1, row.total));
            let row = LetGoRow { serial, from, to, events: count, total: total + count, why, at: now };
            self.let_go = Some(row);
            step.writes.push(Write::LetGo { subscription: self.spec.id, row });
        }
        count
    }

    /// Settles what is let go.
    fn settle_gone(&mut self, gone: &Gone<'_>) -> u64 {
        let mut count = 0;
        let mut from = gone.from;
        let ends = gone.kept.iter().copied().filter(|kept| *kept >= gone.from).chain([gone.to]);
        for end in ends {
            if from < end {
                count += self.cursor.let_go(from, end);
            }
            from = end.next();
        }
        count
    }

    /// Begins again at a place that lies before the floor.
    fn start_over(&mut self, now: Timestamp, to: Offset, step: &mut Step) {
        for lease in self.leases.below(Offset(u64::MAX)) {
            self.cancel(now, &lease, step);
        }
        let end = Offset(u64::MAX);
        if self.waits.seen_len() > 0 || self.spilled.has_rows() {
            step.writes.push(Write::WaitingRange { subscription: self.spec.id, from: Offset(0), to: end });
        }
        let held: Vec<(String, crate::event::Class, Timestamp)> = self
            .lanes
            .iter()
            .filter_map(|lane| match lane.state {
                LaneState::Closed { until } => Some((lane.key().into(), lane.class(), until)),
                LaneState::Free | LaneState::Idle | LaneState::Ready | LaneState::InFlight | LaneState::Waiting => None,
            })
            .collect();
        self.lanes = self.lanes.emptied();
        self.ready = Ready::default();
        self.unwanted.clear();
        self.staying.clear();
        self.expiries.clear();
        self.batches = Batches::default();
        self.cursor.start_over(to);
        self.waits = Waits::default();
        self.spilled.clear();
        self.reads = Reads::new(to);
        for (key, class, until) in held {
            let lane = self.lanes.open(&key, class);
            self.close(lane, until);
        }
    }
}
