//! The end of a call: return value, imports and evidence become one verdict, one transaction and a fate for each open claim.
//!
//! The rule on claims is G4c: the host decides from what left the machine, not from the guest's word.

use alloc::format;
use alloc::vec::Vec;
use core::mem;

use super::{Attempt, Evidence, Transaction, limits};
use crate::delivery::{CallEnd, Failure, Verdict};
use crate::ids::ClaimId;
use crate::ledger::ClaimFate;
use crate::seeded::{Bug, is_planted};
use crate::time::{Millis, Timestamp};

/// A claim to give back, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimEnd {
    /// The claim.
    pub claim: ClaimId,
    /// How.
    pub fate: ClaimFate,
}

/// What a call came to. All of it lands in the settlement's batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Verdict for the subscription machine.
    pub verdict: Verdict,
    /// Effects: everything uncommitted on an ack, only the send records otherwise.
    pub transaction: Transaction,
    /// Claims left open by an acked call: done, without a receipt (`Ledger::confirm`).
    pub confirms: Vec<ClaimId>,
    /// Claims to give back (`Ledger::release`).
    pub releases: Vec<ClaimEnd>,
    /// Keep the lane closed after the settlement.
    pub hold: Option<Millis>,
    /// Pause the subscription.
    pub pause: Option<alloc::string::String>,
}

impl Attempt {
    /// The call has ended. Not for an attempt whose verdict took effect at the call.
    #[must_use]
    pub fn finish(mut self, now: Timestamp, end: CallEnd) -> Ended {
        let verdict = self.verdict(now, end);
        self.end(verdict)
    }

    /// Takes what is to be committed with the verdict. An outgoing call that was never reported back counts as maybe sent.
    pub(super) fn end(&mut self, verdict: Verdict) -> Ended {
        for _ in 0..self.egress_open {
            self.egress_end(crate::import::Sent::Maybe);
        }
        let is_acked = verdict == Verdict::Ack || is_planted(Bug::EffectsOfFailureKept);
        let mut confirms = Vec::new();
        let mut releases = Vec::new();
        for open in mem::take(&mut self.claims).iter().rev() {
            match fate(open.evidence, &verdict) {
                None => confirms.push(open.id),
                Some(fate) => releases.push(ClaimEnd { claim: open.id, fate }),
            }
        }
        let effects = mem::take(&mut self.effects);
        let transaction = if is_acked { effects.everything() } else { effects.records_only() };
        Ended { verdict, transaction, confirms, releases, hold: self.hold.take(), pause: self.pause.take() }
    }

    /// A settlement by import counts only when the call then returns: a trap before that is a failed attempt.
    fn verdict(&mut self, now: Timestamp, end: CallEnd) -> Verdict {
        match end {
            CallEnd::Returned(returned) => self.settled.take().unwrap_or_else(|| said(now, returned)),
            CallEnd::Trapped(_) if is_planted(Bug::AckOnCall) && self.settled == Some(Verdict::Ack) => Verdict::Ack,
            CallEnd::Trapped(reason) => Verdict::Broke(limits::text(format!("the plugin trapped: {reason}"))),
            CallEnd::TimedOut(reason) => Verdict::Broke(limits::text(format!("the plugin ran out of time: {reason}"))),
            CallEnd::LimitExceeded(reason) => {
                Verdict::Broke(limits::text(format!("the plugin went over a limit: {reason}")))
            }
            CallEnd::NotStarted(reason) => Verdict::NotStarted(limits::text(reason)),
        }
    }
}

fn said(now: Timestamp, returned: Result<(), Failure>) -> Verdict {
    match returned {
        Ok(()) => Verdict::Ack,
        Err(Failure::Retry(retry)) => Verdict::Nack(limits::retry(retry)),
        Err(Failure::Reject(reason)) => Verdict::Reject(limits::text(reason)),
        Err(Failure::Defer(by)) => Verdict::Defer(now.after(by)),
        Err(Failure::Unknown(reference)) => Verdict::Unknown(limits::text(reference)),
    }
}

/// `None`: done.
fn fate(evidence: Evidence, verdict: &Verdict) -> Option<ClaimFate> {
    if is_planted(Bug::MaybeSentClaimFreed) {
        return (*verdict != Verdict::Ack).then_some(ClaimFate::Unsent);
    }
    if evidence.maybe {
        return Some(ClaimFate::Uncertain);
    }
    match verdict {
        Verdict::Ack => None,
        Verdict::Unknown(_) => Some(ClaimFate::Uncertain),
        // The guest did not live to say what the complete answer meant.
        Verdict::Broke(_) | Verdict::Conflict if evidence.answered => Some(ClaimFate::Uncertain),
        Verdict::Nack(_)
        | Verdict::Reject(_)
        | Verdict::Defer(_)
        | Verdict::Broke(_)
        | Verdict::Conflict
        | Verdict::NotStarted(_) => Some(ClaimFate::Unsent),
    }
}
