//! What was sent and never heard of again: the effect is in doubt, and the delivery goes on in a copy.
//!
//! The copy comes by the private topic like every other one, finds its claim uncertain, and the policy for what may have been sent decides:
//! sent again under the same idempotency key, asked about, or parked for a person. Whatever was sent under no claim that is remembered
//! is a person's at once, since a second run would send it for certain. Knows nothing of providers and of how late records are found.
//!
//! Invariant: the doubt, the copy and what the records say of it are one batch; a delivery that has not ended has no copy.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use super::waits::cut;
use crate::event::StoredEvent;
use crate::ids::{Position, TopicId};
use crate::ledger::{Ledger, LedgerStep, NoDoubt};
use crate::origin::{LATE_COPIES_MAX, Origin};
use crate::row::{ClaimRow, Follow, RecordRow};
use crate::seeded::{Bug, is_planted};
use crate::spec::OnUnknown;
use crate::step::{Step, Write};
use crate::time::{Millis, Timestamp};

/// A call holds the claim just now: looked at again after this.
const HELD_RETRY: Millis = Millis::from_secs(5);

/// Records of one delivery that nothing followed in time, as they are on disk.
#[derive(Clone, Debug)]
pub struct LateSends {
    /// Of which event.
    pub position: Position,
    /// That event, if the log still has it.
    pub event: Option<StoredEvent>,
    /// Each with [`Follow::By`].
    pub rows: Vec<RecordRow>,
}

/// What became of records that nothing followed, since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateCounts {
    /// Deliveries that go on in a copy.
    pub copies: u64,
    /// Records handed to a person.
    pub for_people: u64,
}

/// A copy that can be made.
struct CopyTo {
    topic: TopicId,
    origin: Origin,
    event: StoredEvent,
}

impl Machine {
    /// Decides what becomes of records that are late. `stored` looks a claim up, under the ledger's lock. Several deliveries may go into one
    /// step.
    pub fn late(
        &mut self,
        now: Timestamp,
        ledger: &mut Ledger,
        late: LateSends,
        mut stored: impl FnMut(&str, &str) -> Option<ClaimRow>,
        step: &mut Step,
    ) -> Option<LedgerStep> {
        let LateSends { position, event, rows } = late;
        let copy = self.copy_of_late(event);
        let (mut last, mut goes_on) = (None, false);
        for row in rows {
            let Follow::By { claim, .. } = row.follow.clone() else { continue };
            let row = match self.spec.late_after {
                None => RecordRow { follow: Follow::Unwatched, ..row },
                // It is tried on by itself.
                Some(late_after) if !self.cursor.is_settled(position.offset) => {
                    RecordRow { follow: Follow::By { at: now.after(late_after), claim }, ..row }
                }
                Some(late_after) => {
                    let doubt = match (&copy, &claim) {
                        (Ok(_), Some(claim)) => ledger.doubt(now, claim, &mut stored),
                        (Ok(_), None) | (Err(_), _) => Err(NoDoubt::Forgotten),
                    };
                    match doubt {
                        Ok(told) => {
                            goes_on = true;
                            if let Some((write, step_of)) = told {
                                step.writes.push(write);
                                last = Some(step_of);
                            }
                            self.handed_on(now, late_after, row)
                        }
                        Err(NoDoubt::Held) => {
                            RecordRow { follow: Follow::By { at: now.after(HELD_RETRY), claim }, ..row }
                        }
                        Err(NoDoubt::Forgotten) => {
                            let why =
                                copy.as_ref().err().copied().unwrap_or("it was sent under no claim that is remembered");
                            self.for_a_person(now, late_after, why, row)
                        }
                    }
                }
            };
            step.writes.push(Write::Note { subscription: self.spec.id, position, row });
        }
        if let (true, Ok(CopyTo { topic, origin, event })) = (goes_on, copy) {
            self.late.copies += 1;
            step.writes.push(Write::Redeliver { topic, origin, is_late: true, event: event.event });
        }
        last
    }

    /// What became of late records so far.
    #[must_use]
    pub fn late_counts(&self) -> LateCounts {
        self.late
    }

    /// Where a copy would go, or why there can be none.
    fn copy_of_late(&self, event: Option<StoredEvent>) -> Result<CopyTo, &'static str> {
        let event = event.filter(|event| !event.event.is_erased()).ok_or("its event has left the log")?;
        let topic = self.spec.redelivery.ok_or("the subscription has no private topic")?;
        let origin = Origin::of(self.spec.id, self.spec.redelivery, &event);
        if origin.late >= LATE_COPIES_MAX {
            return Err("it was delivered again as often as may be");
        }
        let origin = Origin { may_resend: false, late: origin.late + 1, ..origin };
        Ok(CopyTo { topic, origin, event })
    }

    fn handed_on(&self, now: Timestamp, late_after: Millis, row: RecordRow) -> RecordRow {
        if is_planted(Bug::LateHandedOnAgain) {
            return row;
        }
        let what = match self.spec.on_unknown {
            OnUnknown::Resend => "it is sent again under the same idempotency key",
            OnUnknown::Ask => "the plugin asks the provider",
            OnUnknown::Park => "a person decides (`bugle unknown list`)",
        };
        RecordRow { detail: detail(late_after, what), follow: Follow::HandedOn, at: now.max(row.at), ..row }
    }

    fn for_a_person(&mut self, now: Timestamp, late_after: Millis, why: &str, row: RecordRow) -> RecordRow {
        self.late.for_people += 1;
        let detail = detail(late_after, why);
        RecordRow { detail, follow: Follow::ForAPerson, at: now.max(row.at), ..row }
    }
}

fn detail(late_after: Millis, what: &str) -> String {
    cut(format!("nothing heard for {} s: {what}", late_after.0 / 1000))
}
