//! What the end of a call does to its delivery: settled, waiting, or again.
//!
//! Every row a verdict explains goes into the same step as the rows the call brought. Invariant: a ticket that is not live has
//! no effect but on a counter.

use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use super::charge::Tried;
use super::leases::{Lease, Purpose};
use super::records::Became;
use super::start::{Item, Ready};
use super::unknowns::{ParkEnd, uncertain_claims};
use super::waits::Wait;
use crate::delivery::Verdict;
use crate::event::StoredEvent;
use crate::flow::Fault;
use crate::ids::{Offset, Ticket};
use crate::lane::{LaneId, LaneState};
use crate::origin::Origin;
use crate::row::{HoldRow, RecordStatus, UncertainClaim};
use crate::seeded::{Bug, is_planted};
use crate::spec::{OnExhausted, OnUnknown};
use crate::step::{Action, Step, Stuck, Write};
use crate::time::{Millis, Timestamp};

/// Cause of a dead letter that the plugin rejected.
const REJECTED: &str = "rejected";
/// Cause of a dead letter that used up its attempts.
pub(super) const ATTEMPTS_EXHAUSTED: &str = "attempts-exhausted";
/// Cause of a dead letter whose event broke the plugin again and again while others were handled.
const POISON: &str = "poison";
/// Longest wait a guest or its provider can ask for: a longer one is a mistake that would hide the event for ever.
const AFTER_MAX: Millis = Millis::from_secs(7 * 24 * 3600);
/// Shortest `defer`: it costs no attempt, so a guest that defers to the past must not go round as fast as the disk.
const DEFER_MIN: Millis = Millis(100);
/// Longest `ordering.hold`, for the same reason as `AFTER_MAX`.
const HOLD_MAX: Millis = Millis::from_secs(7 * 24 * 3600);

/// Whatever the plugin broke by.
const BROKE: Fault = Fault { is_break: true, retry_after: None };
/// Something left, and no complete answer came back.
pub(super) const NO_ANSWER: Fault = Fault { is_break: false, retry_after: None };

/// The end of a call whose ticket was live.
pub(super) struct End {
    lease: Lease,
    event: StoredEvent,
    hold: Option<Millis>,
    /// What a person has to be asked about if the delivery is parked.
    claims: Vec<UncertainClaim>,
}

impl Machine {
    /// Takes the ended call's lease and rows; nothing if its ticket is not live or not for this event.
    pub(super) fn admit_end(
        &mut self,
        ticket: Ticket,
        event: StoredEvent,
        mut writes: Vec<Write>,
        hold: Option<Millis>,
        step: &mut Step,
    ) -> Option<End> {
        let is_its_own = |lease: &Lease| lease.call().is_some() && self.position(lease.offset) == event.position;
        let is_its_own = self.leases.get(ticket).is_some_and(is_its_own);
        let Some(lease) = is_its_own.then(|| self.leases.end(ticket)).flatten() else {
            self.stale_ends += 1;
            self.forget_cancelled_of(ticket, event.position.offset);
            if is_planted(Bug::StaleLeaseAccepted) {
                self.cursor.settle(event.position.offset);
                step.writes.append(&mut writes);
            }
            return None;
        };
        let claims = uncertain_claims(&writes);
        step.writes.append(&mut writes);
        Some(End { lease, event, hold, claims })
    }

    /// Does what the verdict says.
    pub(super) fn end(&mut self, now: Timestamp, end: End, verdict: Verdict, step: &mut Step) {
        let End { lease, event, hold, claims } = end;
        self.note_outcome(now, &lease, &verdict);
        match verdict {
            Verdict::Ack => {
                if is_planted(Bug::CumulativeAck) {
                    self.cursor.skip(self.cursor.floor(), lease.offset);
                }
                let sent = Became { status: RecordStatus::Sent, attempt: lease.attempt, detail: String::new() };
                self.record(now, &event, sent, step);
                let wait = self.waits.remove(lease.offset);
                self.settle(now, lease.offset, lease.lane, wait, hold, step);
            }
            Verdict::Nack(retry) => {
                let fault = Fault { is_break: false, retry_after: retry.after.map(|after| after.min(AFTER_MAX)) };
                self.fail(now, &lease, Some(event), fault, retry.reason, step);
            }
            Verdict::Broke(_) if lease.is_shared && !is_planted(Bug::BatchPaysForOne) => self.run_alone(now, &lease),
            Verdict::Broke(reason) => self.fail(now, &lease, Some(event), BROKE, reason, step),
            Verdict::Reject(reason) => {
                let wait = self.tried(now, &lease, reason);
                self.bury(now, event, wait, REJECTED, hold, step);
            }
            Verdict::Defer(until) => {
                let put_off = Became { status: RecordStatus::Scheduled, attempt: lease.attempt, detail: String::new() };
                self.record(now, &event, put_off, step);
                let wait = self.wait_of(&lease);
                self.wait_until(lease.offset, wait, until.max(now.after(DEFER_MIN)), step);
            }
            Verdict::Unknown(reference) => {
                if self.is_tried_in_doubt(&event, &claims) {
                    self.fail(now, &lease, Some(event), NO_ANSWER, reference, step);
                } else {
                    self.park(now, &lease, event, ParkEnd { reference, hold, claims }, step);
                }
            }
            Verdict::Conflict => {
                self.stay_alone(&lease);
                self.run_again(&lease);
            }
            Verdict::NotStarted(_) if event.event.is_expired(now) => self.expire_delivery(now, &lease, &event, step),
            Verdict::NotStarted(_) => {
                self.stay_alone(&lease);
                self.refuse(now, &lease);
            }
        }
    }

    /// A lease ran out. An attempt failed by that, whatever its call still does; an event that did not come is asked for again.
    pub(super) fn lapse(&mut self, now: Timestamp, lease: &Lease, step: &mut Step) {
        step.actions.push(Action::Cancel { ticket: lease.ticket });
        match lease.purpose {
            Purpose::Call(_) if lease.is_shared => self.run_alone(now, lease),
            Purpose::Call(_) => self.fail(now, lease, None, BROKE, "lease lapsed".into(), step),
            Purpose::Fetch(disposal) => self.fetch_again(lease, disposal),
        }
    }

    pub(super) fn wait_of(&mut self, lease: &Lease) -> Wait {
        self.waits.remove(lease.offset).unwrap_or_else(|| Wait::new(lease.lane, lease.class))
    }

    /// An attempt failed. Without its event a delivery that used up its attempts is due at once and buried when the event was
    /// fetched.
    fn fail(
        &mut self,
        now: Timestamp,
        lease: &Lease,
        event: Option<StoredEvent>,
        fault: Fault,
        reason: String,
        step: &mut Step,
    ) {
        let policy = self.spec.retry;
        let Tried { wait, is_own_fault } = self.charged(now, lease, fault, reason, step);
        let spent = wait.row.spent;
        let is_exhausted = is_own_fault && self.is_exhausted(spent);
        let is_poison = is_own_fault && self.spec.on_exhausted != OnExhausted::Block && self.is_poison(&wait);
        match event {
            Some(event) if is_poison => self.bury(now, event, wait, POISON, None, step),
            Some(event) if is_exhausted => self.bury(now, event, wait, ATTEMPTS_EXHAUSTED, None, step),
            None if is_exhausted => self.wait_until(lease.offset, wait, now, step),
            event => {
                if let Some(event) = event {
                    let detail = wait.row.notes.last().map_or_else(String::new, |note| note.reason.clone());
                    let failed = Became { status: RecordStatus::Attempted, attempt: lease.attempt, detail };
                    self.record(now, &event, failed, step);
                }
                // Who does not pay does not wait either: the breaker says when, and it may close before its time.
                let backoff = if !is_own_fault {
                    Millis(0)
                } else if spent < policy.attempts_max {
                    self.jitter.after_failure(&policy, lease.offset, spent)
                } else {
                    policy.backoff_max
                };
                if is_own_fault && spent == policy.attempts_max {
                    let position = self.position(lease.offset);
                    step.actions.push(Action::Stuck { position, how: Stuck::Blocked });
                }
                let after = fault.retry_after.unwrap_or_default();
                self.wait_until(lease.offset, wait, now.after(backoff.max(after)), step);
            }
        }
    }

    /// Whether a delivery that may have been sent has another attempt. Resent or asked about to the last attempt and still in doubt is
    /// for a person too, not a plain dead letter.
    fn is_tried_in_doubt(&self, event: &StoredEvent, claims: &[UncertainClaim]) -> bool {
        if Origin::of(self.spec.id, self.spec.redelivery, event).is_for_a_person() {
            return false;
        }
        let spent = self.waits.get(event.position.offset).map_or(0, |wait| wait.row.spent).saturating_add(1);
        match self.spec.on_unknown {
            OnUnknown::Resend => !self.is_exhausted(spent),
            // The plugin is asked about claims; asking goes on for so long and no longer, whatever holds the key after that.
            OnUnknown::Ask => !claims.is_empty() && spent < self.spec.retry.attempts_max.max(1),
            OnUnknown::Park => false,
        }
    }

    /// Whether a delivery with so many attempts spent is given up.
    pub(super) fn is_exhausted(&self, spent: u32) -> bool {
        match self.spec.on_exhausted {
            OnExhausted::Skip | OnExhausted::ParkKey => spent >= self.spec.retry.attempts_max.max(1),
            OnExhausted::Block => false,
        }
    }

    /// Writes the waiting row of a delivery and has it tried again then.
    fn wait_until(&mut self, offset: Offset, mut wait: Wait, due: Timestamp, step: &mut Step) {
        let due = self.wakes_to_expire(offset, due);
        wait.row.due = due;
        wait.row.lane = self.mark_of(&wait);
        if !is_planted(Bug::TimerOnlyInMemory) {
            wait.is_stored = true;
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: Some(wait.row.clone()) });
        }
        let lane = wait.lane;
        if wait.is_stored && self.is_crowded(due) && !is_planted(Bug::RetryToTheTail) {
            self.spill_wait(offset, &wait, due);
            return;
        }
        self.waits.insert(offset, wait);
        if let Some(id) = lane {
            if is_planted(Bug::RetryToTheTail) && self.lanes.get(id).len() > 1 {
                self.lanes.rotate(id);
                self.proceed(id);
                return;
            }
            self.lanes.get_mut(id).state = LaneState::Waiting;
        }
        self.waits.alarm_retry(offset, due);
    }

    /// Settles a delivery and goes on with its lane.
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        offset: Offset,
        lane: Option<LaneId>,
        wait: Option<Wait>,
        hold: Option<Millis>,
        step: &mut Step,
    ) {
        self.cursor.settle(offset);
        self.staying.remove(&offset);
        self.expiries.forget(offset);
        self.take_alone(offset);
        if wait.is_some_and(|wait| wait.is_stored) {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        let Some(id) = lane else { return };
        self.lanes.pop(id);
        self.reads.is_hungry |= self.lanes.is_hungry(id);
        // The seal that will write this settlement.
        let seal = self.seals + 1;
        let lane = self.lanes.get_mut(id);
        lane.settled_in = seal;
        if let Some(hold) = hold.filter(|hold| hold.0 > 0) {
            let until = now.after(hold.min(HOLD_MAX));
            if !is_planted(Bug::HoldOnlyInMemory) {
                step.writes.push(Write::Hold {
                    subscription: self.spec.id,
                    key: lane.key().into(),
                    class: lane.class(),
                    row: Some(HoldRow { until }),
                });
            }
            self.close(id, until);
        } else {
            self.proceed(id);
        }
    }

    /// Starts the same attempt again: its commit found that others had changed what it read.
    pub(super) fn run_again(&mut self, lease: &Lease) {
        if let Some(id) = lease.lane {
            self.lanes.get_mut(id).state = LaneState::Ready;
        }
        self.make_ready(lease.class, Item { offset: lease.offset, lane: lease.lane }, Ready::push_first);
    }

    /// The call never ran: the same attempt again, soon. No row: after a restart it is simply ready.
    fn refuse(&mut self, now: Timestamp, lease: &Lease) {
        let mut wait = self.wait_of(lease);
        wait.refusals = wait.refusals.saturating_add(1);
        if is_planted(Bug::RefusalSpendsAttempt) {
            wait.row.spent = lease.attempt.0;
        }
        let backoff = self.jitter.after_refusal(lease.offset, wait.refusals);
        self.waits.insert(lease.offset, wait);
        if let Some(id) = lease.lane {
            self.lanes.get_mut(id).state = LaneState::Waiting;
        }
        self.waits.alarm_retry(lease.offset, self.wakes_to_expire(lease.offset, now.after(backoff)));
    }
}
