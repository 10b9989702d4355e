//! What the end of an attempt says of channel and plugin, and who pays for it.
//!
//! Carries out what [`crate::flow`] decided: charges the event, the channel or the plugin, and gives back what events were
//! charged with before the evidence was there. Invariant: the number of attempts of a delivery never changes here, only who is
//! charged with them.

use alloc::string::String;

use super::Machine;
use super::leases::Lease;
use super::waits::Wait;
use crate::delivery::Verdict;
use crate::flow::{Called, Charge, Fault, Outcome};
use crate::ids::Offset;
use crate::row::{Culprit, WaitingRow};
use crate::seeded::{Bug, is_planted};
use crate::step::{Step, Write};
use crate::time::Timestamp;

/// What a failed attempt leaves: the delivery with the attempt charged.
pub(super) struct Tried {
    pub(super) wait: Wait,
    /// The event pays.
    pub(super) is_own_fault: bool,
}

impl Machine {
    /// Tells the channel's state of a call that did not fail.
    pub(super) fn note_outcome(&mut self, now: Timestamp, lease: &Lease, verdict: &Verdict) {
        let outcome = match verdict {
            Verdict::Ack => Outcome::Succeeded,
            Verdict::Reject(_) => Outcome::Worked,
            Verdict::Defer(_) | Verdict::Conflict | Verdict::NotStarted(_) => Outcome::Nothing,
            Verdict::Nack(_) | Verdict::Broke(_) | Verdict::Unknown(_) => return,
        };
        self.note_end(now, lease, &outcome);
    }

    /// Tells the channel's state that a call came to no answer.
    pub(super) fn note_end(&mut self, now: Timestamp, lease: &Lease, outcome: &Outcome) {
        if let Some(call) = called(lease) {
            self.flow.ended(now, call, outcome);
        }
    }

    /// The delivery with one more attempt that failed, charged to whom the evidence says.
    pub(super) fn charged(
        &mut self,
        now: Timestamp,
        lease: &Lease,
        fault: Fault,
        reason: String,
        step: &mut Step,
    ) -> Tried {
        let charge = match called(lease) {
            Some(_) if is_planted(Bug::OutageSpendsAttempts) => Charge::default(),
            Some(call) => self.flow.failed(now, call, fault, &reason),
            None => Charge::default(),
        };
        if let Some(culprit) = charge.culprit {
            for (offset, count) in charge.given_back {
                self.give_back(offset, count, culprit, step);
            }
        }
        let successes = self.flow.successes();
        let mut wait = self.wait_of(lease);
        charge_one(&mut wait.row, charge.culprit);
        if fault.is_break {
            wait.row.broke = wait.row.broke.saturating_add(1);
            wait.successes_before.get_or_insert(successes);
        } else {
            wait.row.broke = 0;
            wait.successes_before = None;
        }
        wait.refusals = 0;
        wait.revision = lease.revision;
        wait.note(lease.attempt, now, reason);
        Tried { wait, is_own_fault: charge.culprit.is_none() }
    }

    /// The delivery after an attempt that the event alone answers for, such as a reject.
    pub(super) fn tried(&mut self, now: Timestamp, lease: &Lease, reason: String) -> Wait {
        let mut wait = self.wait_of(lease);
        charge_one(&mut wait.row, None);
        wait.refusals = 0;
        wait.revision = lease.revision;
        wait.note(lease.attempt, now, reason);
        wait
    }

    /// Whether the event breaks the plugin while others are handled.
    pub(super) fn is_poison(&self, wait: &Wait) -> bool {
        let others = self.flow.successes() - wait.successes_before.unwrap_or_else(|| self.flow.successes());
        // The first of the breaks was not on a fresh instance.
        self.flow.is_poison(wait.row.broke.saturating_sub(1), others)
    }

    /// Moves attempts from the budget of an event to whoever turned out to be to blame.
    fn give_back(&mut self, offset: Offset, count: u32, culprit: Culprit, step: &mut Step) {
        let Some(wait) = self.waits.get_mut(offset) else {
            self.spilled.give_back(offset, count, culprit);
            return;
        };
        let count = discharge(&mut wait.row, count, culprit);
        if wait.is_stored && count > 0 {
            let row = Some(wait.row.clone());
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row });
        }
    }
}

/// Moves up to `count` attempts from the event's budget; returns how many.
pub(super) fn discharge(row: &mut WaitingRow, count: u32, culprit: Culprit) -> u32 {
    let count = count.min(row.spent);
    row.spent -= count;
    match culprit {
        Culprit::Channel => row.channel = row.channel.saturating_add(count),
        Culprit::Plugin => row.plugin = row.plugin.saturating_add(count),
    }
    count
}

fn called(lease: &Lease) -> Option<Called> {
    let start = lease.call()?;
    Some(Called { offset: lease.offset, start, is_first: lease.attempt.0 <= 1 })
}

fn charge_one(row: &mut WaitingRow, culprit: Option<Culprit>) {
    let charged = match culprit {
        None => &mut row.spent,
        Some(Culprit::Channel) => &mut row.channel,
        Some(Culprit::Plugin) => &mut row.plugin,
    };
    *charged = charged.saturating_add(1);
}
