//! Deliveries that may have been sent: how they are parked, and what a person can say of them.
//!
//! The rows are on disk only; their numbers and bounds are in `kept`. Parking settles the delivery, so its key goes on; what is delivered
//! again is a copy in the private topic, marked late. Knows nothing of filters and people.
//!
//! Invariant: a decision, what it tells dedup and the copy are one batch.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use super::leases::Lease;
use super::records::Became;
use super::waits::cut;
use crate::event::StoredEvent;
use crate::flow::Outcome;
use crate::ids::Attempt;
use crate::ledger::{ClaimHeld, Effect, Ledger, LedgerStep};
use crate::origin::Origin;
use crate::row::{ClaimRow, ClaimState, Parking, RecordStatus, UncertainClaim, UnknownRow, UnknownState};
use crate::step::{Kept, Step, Write};
use crate::time::{Millis, Timestamp};

/// Claims of one attempt that a person's word is told to; an attempt has no more open.
const CLAIMS_MAX: usize = crate::attempt::CLAIMS_MAX;

/// What a person says of an unknown result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was sent: its claims are done.
    Sent {
        /// What later claims of the same keys are answered, as a guest gives it with its confirm.
        receipt: Option<Vec<u8>>,
    },
    /// It was not sent: its claims are free, and it is delivered again.
    NotSent,
    /// Not known either: it is delivered again under the same idempotency key, and the guest is told that it may send.
    Retry,
}

impl Resolution {
    /// The state it leads to.
    #[must_use]
    pub fn state(&self) -> UnknownState {
        match self {
            Resolution::Sent { .. } => UnknownState::Sent,
            Resolution::NotSent => UnknownState::NotSent,
            Resolution::Retry => UnknownState::Retried,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Resolution::Sent { receipt } => Effect::Happened { receipt: receipt.clone() },
            Resolution::NotSent => Effect::DidNot,
            Resolution::Retry => Effect::InDoubt,
        }
    }
}

/// What a resolution came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It was carried out, perhaps with a part in the ledger.
    Now(Option<LedgerStep>),
    /// The same was said before: nothing changed.
    Before,
}

/// Why a resolution was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Something else was said before.
    #[error("it is resolved already, as {}", .0.word())]
    Decided(UnknownState),
    /// There is no place for copies.
    #[error("the subscription has no private topic; start the host again to have it made")]
    NoPrivateTopic,
    /// A call is at it.
    #[error(transparent)]
    Held(#[from] ClaimHeld),
}

impl Machine {
    /// Parks a delivery that may have been sent; its lane goes on. The rows that its call brought are in the step already, so the
    /// claims it left uncertain are those among them.
    pub(super) fn park(&mut self, now: Timestamp, lease: &Lease, event: StoredEvent, end: ParkEnd, step: &mut Step) {
        let ParkEnd { reference, hold, claims } = end;
        let wait = if Origin::of(self.spec.id, self.spec.redelivery, &event).is_for_a_person() {
            // Nothing was sent that the channel could have answered.
            self.note_end(now, lease, &Outcome::Nothing);
            self.tried(now, lease, reference.clone())
        } else {
            self.charged(now, lease, super::finish::NO_ANSWER, reference.clone(), step).wait
        };
        let generation = match wait.row.parking {
            Parking::Released { generation } => generation,
            Parking::Never | Parking::Parked => Origin::of(self.spec.id, self.spec.redelivery, &event).generation,
        };
        let position = event.position;
        let row = UnknownRow {
            event,
            state: UnknownState::Open,
            decided: None,
            remark: String::new(),
            generation,
            revision: wait.revision,
            claims,
            reference: cut(reference),
            attempts: lease.attempt.0,
            notes: wait.row.notes.clone(),
            at: now,
        };
        self.unknowns.count(|totals| totals.add(row.state, row.cost()));
        let detail = format!("maybe sent: {}", row.reference);
        self.record(now, &row.event, Became { status: RecordStatus::Unknown, attempt: lease.attempt, detail }, step);
        step.writes.push(Write::Unknown { subscription: self.spec.id, position, row });
        self.settle(now, position.offset, lease.lane, Some(wait), hold, step);
        self.bound_kept(now, Kept::Unknown, step);
    }

    /// Carries out what a person says of an unknown result as it is on disk. `stored` looks a claim up, under the ledger's lock.
    /// Several may go into one step.
    pub fn resolve(
        &mut self,
        now: Timestamp,
        ledger: &mut Ledger,
        told: (UnknownRow, &Resolution, &str),
        stored: impl FnMut(&str, &str) -> Option<ClaimRow>,
        step: &mut Step,
    ) -> Result<Resolved, ResolveError> {
        let (mut row, resolution, remark) = told;
        let state = resolution.state();
        if row.state == state {
            return Ok(Resolved::Before);
        }
        if row.state != UnknownState::Open {
            return Err(ResolveError::Decided(row.state));
        }
        let copy_to = match resolution {
            Resolution::Sent { .. } => None,
            Resolution::NotSent | Resolution::Retry => Some(self.spec.redelivery.ok_or(ResolveError::NoPrivateTopic)?),
        };
        let (mut writes, last) = ledger.tell(now, row.at, &row.claims, &resolution.effect(), stored)?;
        step.writes.append(&mut writes);
        if let Some(topic) = copy_to {
            let origin = Origin::of(self.spec.id, self.spec.redelivery, &row.event);
            let may_resend = *resolution == Resolution::Retry;
            let origin = Origin { generation: row.generation, may_resend, late: 0, ..origin };
            let event = row.event.event.clone();
            step.writes.push(Write::Redeliver { topic, origin, is_late: true, event });
        }
        let (status, what) = match resolution {
            Resolution::Sent { .. } => (RecordStatus::Sent, "a person said that it was sent"),
            Resolution::NotSent => (RecordStatus::Suppressed, "a person said that it was not sent: a copy follows"),
            Resolution::Retry => (RecordStatus::Suppressed, "maybe sent, and a person had a copy of it sent"),
        };
        let detail = if remark.is_empty() { what.into() } else { format!("{what} ({remark})") };
        self.record(now, &row.event, Became { status, attempt: Attempt(row.attempts), detail }, step);
        let cost = row.cost();
        self.unknowns.count(|totals| {
            totals.take(row.state, cost);
            totals.add(state, cost);
        });
        (row.state, row.decided, row.remark) = (state, Some(now), cut(remark.into()));
        step.writes.push(Write::Unknown { subscription: self.spec.id, position: row.event.position, row });
        Ok(Resolved::Now(last))
    }
}

/// What the end of a call says of a delivery that is parked.
pub(super) struct ParkEnd {
    pub(super) reference: String,
    pub(super) hold: Option<Millis>,
    pub(super) claims: Vec<UncertainClaim>,
}

/// The claims that these rows of a call leave uncertain.
pub(super) fn uncertain_claims(writes: &[Write]) -> Vec<UncertainClaim> {
    let claim = |write: &Write| {
        let Write::Claim { scope, key, row: Some(ClaimRow { state: ClaimState::Uncertain, expires }) } = write else {
            return None;
        };
        Some(UncertainClaim { scope: scope.clone(), key: key.clone(), expires: *expires })
    };
    writes.iter().filter_map(claim).take(CLAIMS_MAX).collect()
}
