//! Deliveries that end without a call: their event was fetched, and the machine buries them, hands them on, drops them or lets
//! them expire.
//!
//! Invariant: whatever is done with the event is in the same batch as the settlement of its delivery.

use alloc::format;

use super::Machine;
use super::finish::ATTEMPTS_EXHAUSTED;
use super::leases::{Disposal, Lease, Purpose};
use super::records::Became;
use super::start::{Item, Unwanted};
use crate::event::StoredEvent;
use crate::flow::{Decision, Outcome};
use crate::ids::Ticket;
use crate::origin::Origin;
use crate::row::RecordStatus;
use crate::seeded::{Bug, is_planted};
use crate::spec::DegradeAction;
use crate::step::{Step, Write};
use crate::time::Timestamp;

impl Machine {
    /// The event of a delivery came, or cannot be had.
    pub(super) fn fetched(&mut self, now: Timestamp, ticket: Ticket, event: Option<StoredEvent>, step: &mut Step) {
        let is_its_own = |lease: &Lease| match &event {
            Some(event) => lease.call().is_none() && self.position(lease.offset) == event.position,
            None => true,
        };
        let is_its_own = self.leases.get(ticket).is_some_and(is_its_own);
        let Some(lease) = is_its_own.then(|| self.leases.end(ticket)).flatten() else {
            self.stale_ends += 1;
            return;
        };
        match (lease.purpose, event) {
            (Purpose::Fetch(disposal), Some(event)) => self.dispose(now, &lease, event, disposal, step),
            (purpose, _) => {
                // Loss is never silent: an operator has to look why the log no longer holds what is not settled.
                let reason = format!("unsettled event {} is not in the log any more", self.position(lease.offset));
                match purpose {
                    Purpose::Call(_) => {
                        self.note_end(now, &lease, &Outcome::Nothing);
                        self.run_again(&lease);
                    }
                    Purpose::Fetch(disposal) => self.fetch_again(&lease, disposal),
                }
                self.pause(now, "host".into(), reason, step);
            }
        }
    }

    /// Has the event of a delivery fetched once more.
    pub(super) fn fetch_again(&mut self, lease: &Lease, disposal: Disposal) {
        let item = Item { offset: lease.offset, lane: lease.lane };
        self.unwanted.push_back(Unwanted { item, class: lease.class, disposal });
    }

    fn dispose(&mut self, now: Timestamp, lease: &Lease, event: StoredEvent, disposal: Disposal, step: &mut Step) {
        match disposal {
            // A letter of it would have nothing to replay.
            Disposal::Bury if event.event.is_erased() => self.expire_delivery(now, lease, &event, step),
            Disposal::Bury => {
                let wait = self.wait_of(lease);
                if !self.is_exhausted(wait.row.spent) {
                    // Its attempts were given back, or the limit was raised, while the event was on its way.
                    self.waits.insert(lease.offset, wait);
                    self.run_again(lease);
                    return;
                }
                self.bury(now, event, wait, ATTEMPTS_EXHAUSTED, None, step);
            }
            Disposal::Degrade(decision) => self.degrade(now, lease, &event, decision, step),
            Disposal::Expire => self.expire_fetched(now, lease, &event, step),
        }
    }

    /// Does what a degrade rule says with an event that is not to be called for.
    fn degrade(&mut self, now: Timestamp, lease: &Lease, event: &StoredEvent, decision: Decision, step: &mut Step) {
        let did = match decision.action {
            DegradeAction::Reroute(topic) if self.spec.redelivery != Some(event.topic) => {
                let origin = Origin::of(self.spec.id, self.spec.redelivery, event);
                let event = event.event.clone();
                let copy = Write::Redeliver { topic, origin, is_late: false, event };
                if is_planted(Bug::HandedOnAfterSettled) {
                    self.held_back[0].push(copy);
                } else {
                    step.writes.push(copy);
                }
                "handed on"
            }
            DegradeAction::Drop => "dropped",
            // Handed on once is enough: two subscriptions that hand on to each other would never end.
            DegradeAction::Reroute(_) | DegradeAction::Send | DegradeAction::Defer => {
                self.staying.insert(lease.offset);
                self.run_again(lease);
                return;
            }
        };
        let rule = decision.rule.map_or(0, |rule| rule + 1);
        let detail = format!("degrade rule {rule}: {did} (class {})", lease.class.word());
        // Written whether the subscription has records or not: nothing else tells of it.
        let dropped = Became { status: RecordStatus::Suppressed, attempt: lease.attempt, detail };
        self.outcome(event, &dropped, step);
        let row = self.record_row(now, event, dropped);
        step.writes.push(Write::Record { subscription: self.spec.id, position: event.position, row });
        self.flow.count(decision);
        let wait = self.waits.remove(lease.offset);
        self.settle(now, lease.offset, lease.lane, wait, None, step);
    }
}
