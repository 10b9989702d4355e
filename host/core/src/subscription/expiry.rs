//! Deliveries whose event has a time after which nobody wants it any more (`expirytime`).
//!
//! Memory keeps that time for what is queued, ready, tried or in flight, and only for events that have one. What is due for an
//! attempt and past its time goes another way: its event is fetched, and the delivery ends with a record that says so. No rate, breaker
//! or degrade rule holds that back, and nobody's attempts are spent by it. Knows nothing of clocks; see
//! docs/decisions/0023-expiry.md.
//!
//! Invariant: no attempt starts on an event at or after its time, and nothing ends as expired before it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use super::leases::{Disposal, Lease};
use super::records::Became;
use super::start::{FETCHES_MAX, Item, Unwanted};
use crate::event::{Class, StoredEvent};
use crate::ids::{Attempt, Offset};
use crate::lane::LaneId;
use crate::row::RecordStatus;
use crate::seeded::{Bug, is_planted};
use crate::step::{Step, Write};
use crate::time::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    /// Of deliveries in memory; no larger than the bounds of lanes, ready queues and waits together.
    at: BTreeMap<Offset, Timestamp>,
    /// Those of them whose time has not been seen to pass.
    ahead: BTreeSet<(Timestamp, Offset)>,
    /// Deliveries that expired since the recovery.
    ended: u64,
}

impl Expiries {
    /// Remembers the time of a delivery, or that it has none.
    fn set(&mut self, offset: Offset, at: Option<Timestamp>) {
        self.forget(offset);
        if let Some(at) = at {
            self.at.insert(offset, at);
            self.ahead.insert((at, offset));
        }
    }

    /// The delivery left memory.
    pub(super) fn forget(&mut self, offset: Offset) {
        // Nearly always there is none at all.
        if !self.at.is_empty()
            && let Some(at) = self.at.remove(&offset)
        {
            self.ahead.remove(&(at, offset));
        }
    }

    /// Everything below `to` but for the kept ones was let go.
    pub(super) fn forget_below(&mut self, to: Offset, kept: &BTreeSet<Offset>) {
        let gone: Vec<Offset> = self.at.range(..to).map(|(offset, _)| *offset).collect();
        gone.into_iter().filter(|offset| !kept.contains(offset)).for_each(|offset| self.forget(offset));
    }

    /// Nothing is in memory any more.
    pub(super) fn clear(&mut self) {
        *self = Expiries { ended: self.ended, ..Expiries::default() };
    }

    fn of(&self, offset: Offset) -> Option<Timestamp> {
        if self.at.is_empty() { None } else { self.at.get(&offset).copied() }
    }

    fn next(&self) -> Option<Timestamp> {
        self.ahead.first().map(|(at, _)| *at)
    }

    /// Those whose time has passed since the last call.
    fn take_passed(&mut self, now: Timestamp) -> BTreeSet<Offset> {
        let mut passed = BTreeSet::new();
        while self.next().is_some_and(|at| at <= now)
            && let Some((_, offset)) = self.ahead.pop_first()
        {
            passed.insert(offset);
        }
        passed
    }
}

impl Machine {
    /// An event is in memory from here on.
    pub(super) fn note_expiry(&mut self, event: &StoredEvent) {
        let at = event.event.timing().expires;
        if at.is_some() {
            self.expiries.set(event.position.offset, at);
        }
    }

    /// A lane leaves memory with everything that is queued in it.
    pub(super) fn forget_expiries_of(&mut self, id: LaneId) {
        if !self.expiries.at.is_empty() {
            self.lanes.get(id).queued().for_each(|offset| self.expiries.forget(offset));
        }
    }

    /// A delivery that waits until then comes back to expire, if that is sooner.
    pub(super) fn wakes_to_expire(&self, offset: Offset, due: Timestamp) -> Timestamp {
        self.expiries.of(offset).map_or(due, |at| at.min(due))
    }

    /// Whether the time of a delivery's event has passed.
    pub(super) fn is_past(&self, offset: Offset) -> bool {
        self.expiries.of(offset).is_some_and(|at| at <= self.now)
    }

    /// When the next event in memory passes its time. While nothing starts, nothing expires either.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        if self.paused.is_some() || self.has_cancelled() { None } else { self.expiries.next() }
    }

    /// Puts a delivery that could start into the ready queue of its class, or beside it if its time has passed.
    pub(super) fn make_ready(&mut self, class: Class, item: Item, push: fn(&mut super::start::Ready, Class, Item)) {
        if self.is_past(item.offset) && !is_planted(Bug::ExpiredIsRetried) {
            self.ready.push_past(class, item);
        } else {
            push(&mut self.ready, class, item);
        }
    }

    /// Takes what is past its time out of the ready queues, to be ended when its event was fetched.
    pub(super) fn pick_past(&mut self, now: Timestamp) {
        let passed = self.expiries.take_passed(now);
        if !passed.is_empty() {
            self.ready.pass(|offset| passed.contains(&offset));
        }
        while self.unwanted.len() < FETCHES_MAX
            && let Some((class, item)) = self.ready.pop_past()
        {
            self.unwanted.push_back(Unwanted { item, class, disposal: Disposal::Expire });
        }
    }

    /// The event of a delivery that is to expire was fetched. The one in a letter may have been edited since.
    pub(super) fn expire_fetched(&mut self, now: Timestamp, lease: &Lease, event: &StoredEvent, step: &mut Step) {
        if event.event.is_expired(now) {
            self.expire_delivery(now, lease, event, step);
        } else {
            self.expiries.set(lease.offset, event.event.timing().expires);
            self.run_again(lease);
        }
    }

    /// Ends a delivery as expired. Its record is written whether the subscription has records or not: nothing else tells of it.
    pub(super) fn expire_delivery(&mut self, now: Timestamp, lease: &Lease, event: &StoredEvent, step: &mut Step) {
        let wait = self.waits.remove(lease.offset);
        let attempts = wait.as_ref().map_or(0, |wait| wait.row.attempts());
        let last = wait.as_ref().and_then(|wait| wait.row.notes.last());
        let detail = match last {
            Some(note) => format!("its expirytime passed; the last attempt failed: {}", note.reason),
            None => String::from("its expirytime passed before an attempt"),
        };
        let became = Became { status: RecordStatus::Expired, attempt: Attempt(attempts), detail };
        self.outcome(event, &became, step);
        let row = self.record_row(now, event, became);
        step.writes.push(Write::Record { subscription: self.spec.id, position: event.position, row });
        self.expiries.ended += 1;
        self.settle(now, lease.offset, lease.lane, wait, None, step);
    }

    /// Deliveries that expired since the machine was recovered.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expiries.ended
    }
}
