//! The transaction of one plugin call: every host import of the call is an input, and its end is one verdict with its effects.
//!
//! A driver calls [`Attempt::handle`] with each import and does what the returned [`Next`] says: reply to the guest, look something
//! up and hand the answer to [`Attempt::fact`], until there is a reply. When the call has ended it calls [`Attempt::finish`] once.
//! The attempt knows nothing of lanes and other calls: claims are the ledger's, leases the subscription machine's.
//!
//! Invariant: an effect is committed exactly once: by the confirm of the claim it was made under, or by the ack, or never.

mod buffer;
mod effects;
mod finish;
mod limits;
mod look;
mod noted;
mod reconcile;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub use effects::{FollowUp, Transaction};
pub use finish::{ClaimEnd, Ended};
pub(crate) use limits::HOPS_MAX;
pub use limits::{CLAIMS_MAX, KEY_BYTES_MAX, SCAN_BYTES_MAX, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX};
pub use look::Look;

use crate::code::Code;
use crate::delivery::{Settles, Verdict};
use crate::ids::{Attempt as Try, ClaimId, Name, Position, SubscriptionId, Ticket, TopicId};
use crate::import::{ClaimOutcome, Import, ImportError, ImportResult, Reply, Sent, Strength};
use crate::ledger::ClaimFate;
use crate::row::{KvRow, RecordRow};
use crate::seeded::{Bug, is_planted};
use crate::time::{Millis, Timestamp};
use crate::timer::TIMERS_MAX;
use effects::Effects;
use noted::Keys;

/// What the driver knows of the call before it starts.
#[derive(Clone, Debug)]
pub struct CallFacts {
    /// The lease.
    pub ticket: Ticket,
    /// Which try.
    pub attempt: Try,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The event's place.
    pub position: Position,
    /// The event's CloudEvents `id`.
    pub event_id: String,
    /// Stable over attempts; ids of follow-up events are made from it.
    pub idempotency_key: String,
    /// Scope of its claims: the subscription, or a named channel.
    pub claim_scope: Name,
    /// Its kv store.
    pub kv_store: Name,
    /// How many follow-ups led to this event; the next may have one more.
    pub hops: u32,
    /// When a verdict given by import takes effect.
    pub settles: Settles,
    /// Whether the plugin is asked about an uncertain claim before it is given.
    pub asks: bool,
    /// How long a note may stay without anything that follows it, if that is watched.
    pub late_after: Option<Millis>,
}

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Answer the guest.
    Reply(ImportResult),
    /// Look this up and hand it to [`Attempt::fact`].
    Look(Look),
    /// `Ledger::claim`, make its write durable, then [`Fact::Claimed`].
    Claim {
        /// Business key.
        key: String,
        /// Strong or weak.
        strength: Strength,
        /// Keep time of the done mark.
        keep: Millis,
    },
    /// `Ledger::confirm` and `Ledger::kv_commit` of the transaction, all writes in one batch, durable, then [`Fact::Confirmed`].
    Confirm {
        /// The claim.
        claim: ClaimId,
        /// Its receipt.
        receipt: Option<Vec<u8>>,
        /// What was buffered since the claim was opened.
        transaction: Transaction,
    },
    /// `Ledger::release`, then [`Fact::Released`]; need not be durable before the answer.
    Release(ClaimEnd),
    /// The verdict takes effect now: send this end of the attempt to the subscription's worker, and when it is durable hand in
    /// [`Fact::Settled`]. There is nothing left to finish then.
    Settle(Box<Ended>),
    /// Ask the subscription's worker for more lease, then [`Fact::Extended`].
    Extend(Millis),
    /// Ask the subscription's worker how many wait behind this ticket, then [`Fact::Waiting`].
    Waiting,
}

/// The answer to a [`Next`] that is not a reply.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The claim's outcome; if claimed and strong, its intent is durable.
    Claimed(ClaimOutcome),
    /// The confirm is durable.
    Confirmed,
    /// The claim was released.
    Released,
    /// What became of a verdict that takes effect at the call; it is durable.
    Settled(Settlement),
    /// Lease granted; `None` if the ticket is not live any more.
    Extended(Option<Millis>),
    /// How many wait; `None` if the ticket is not live any more.
    Waiting(Option<u32>),
    /// A kv entry.
    Kv(Option<KvRow>),
    /// kv entries in key order.
    KvRows {
        /// Rows as stored, those that have ended too.
        rows: Vec<(String, KvRow)>,
        /// There are no more of them. If there are, this page has at least one.
        is_end: bool,
    },
    /// Send records.
    Records(Vec<RecordRow>),
    /// Timers.
    Timers {
        /// The named one waits.
        is_set: bool,
        /// Timers of the subscription that wait.
        waiting: u64,
    },
    /// One number per name, in order; `None` for a topic that does not exist.
    Topics(Vec<Option<TopicId>>),
    /// The ledger or the store could not do it.
    Failed(ImportError),
}

/// What became of a verdict that takes effect at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It stands.
    Kept,
    /// Others had changed what the delivery read: it runs again, at no cost.
    Conflict,
    /// Its lease had ended before: it had no effect.
    Lapsed,
    /// It could not be committed as it was given: a failed attempt.
    Failed,
}

/// A claim this call has open.
#[derive(Clone, Debug)]
struct OpenClaim {
    id: ClaimId,
    key: String,
    /// As the guest was told.
    uncertain: bool,
    /// Effects made since, so those from this mark on are committed by its confirm.
    mark: effects::Mark,
    evidence: Evidence,
}

/// What is known of outgoing calls made under a claim.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    /// At least one complete response came back.
    answered: bool,
    /// Something left without a complete response.
    maybe: bool,
}

/// The import that waits for a fact.
#[derive(Clone, Debug)]
enum Pending {
    Nothing,
    Claim { key: String },
    Confirm { claim: ClaimId },
    FoundDone { claim: ClaimId, receipt: Option<Vec<u8>> },
    Release,
    Settle,
    Extend,
    Waiting,
    KvGet { key: String },
    KvSwap { key: String, expect: Option<u64>, effect: effects::Local },
    KvScan(effects::Scan),
    Find,
    SetTimer { name: String, at: Timestamp, data: Vec<u8> },
    CancelTimer { name: String },
    Publish(Vec<crate::import::NewEvent>),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Attempt {
    facts: CallFacts,
    effects: Effects,
    claims: Vec<OpenClaim>,
    confirmed: Vec<ClaimId>,
    /// The keys that this call was told of.
    keys: Keys,
    /// The plugin is asked about the innermost claim just now.
    is_asking: bool,
    settled: Option<Verdict>,
    /// The verdict took effect at the call, with this answer; it stays the same.
    answer: Option<ImportResult>,
    /// Outgoing calls under way.
    egress_open: u32,
    hold: Option<Millis>,
    pause: Option<String>,
    pending: Pending,
}

impl Attempt {
    /// The call is about to start.
    #[must_use]
    pub fn begin(facts: CallFacts) -> Attempt {
        Attempt {
            facts,
            effects: Effects::default(),
            claims: Vec::new(),
            confirmed: Vec::new(),
            keys: Keys::None,
            is_asking: false,
            settled: None,
            answer: None,
            egress_open: 0,
            hold: None,
            pause: None,
            pending: Pending::Nothing,
        }
    }

    /// The call's facts.
    #[must_use]
    pub fn facts(&self) -> &CallFacts {
        &self.facts
    }

    /// One import of the guest. At most one is under way at a time; what went before must have been replied to.
    pub fn handle(&mut self, now: Timestamp, import: Import) -> Next {
        self.pending = Pending::Nothing;
        if let Err(error) = self.admit(now, &import) {
            return Next::Reply(Err(error));
        }
        match import {
            Import::Ack => self.settle(Verdict::Ack),
            Import::Nack(retry) => self.settle(Verdict::Nack(limits::retry(retry))),
            Import::Reject(reason) => self.settle(Verdict::Reject(limits::text(reason))),
            Import::Defer(until) => self.settle(Verdict::Defer(until)),
            Import::Extend(by) => self.ask(Pending::Extend, Next::Extend(by)),
            Import::Waiting => self.ask(Pending::Waiting, Next::Waiting),
            Import::Hold(time) => self.hold(time),
            Import::PauseSubscription(reason) => {
                self.pause = Some(limits::text(reason));
                done()
            }
            Import::Claim { key, strength, keep } => self.claim(key, strength, keep),
            Import::Confirm { claim, receipt } => self.confirm(claim, receipt),
            Import::Release { claim } => self.release(claim),
            Import::Reconciled(found) => self.reconciled(found),
            Import::Note(note) => self.note(now, note),
            Import::FindRecords { business_key, recipient } => {
                self.ask(Pending::Find, Next::Look(Look::Records { business_key, recipient }))
            }
            Import::KvGet { key } => self.kv_get(key),
            Import::KvPut { key, value, ttl } => self.kv_put(now, key, value, ttl),
            Import::KvDelete { key } => self.kv_delete(key),
            Import::KvSwap { key, expect, value, ttl } => self.kv_swap(now, key, expect, value, ttl),
            Import::KvAdd { key, delta, ttl } => self.kv_add(now, key, delta, ttl),
            Import::KvScan { prefix, after, limit } => self.kv_scan(effects::Scan { prefix, after, limit }),
            Import::Publish(events) => self.publish(events),
            Import::TimerSet { name, at, data } => self.set_timer(name, at, data),
            Import::TimerCancel { name } => self.cancel_timer(name),
            Import::EgressStart => {
                self.egress_open += 1;
                done()
            }
            Import::EgressEnd(sent) => self.egress_end(sent),
        }
    }

    /// The answer to what [`Attempt::handle`] (or a fact before) asked for.
    pub fn fact(&mut self, now: Timestamp, fact: Fact) -> Next {
        let pending = core::mem::replace(&mut self.pending, Pending::Nothing);
        match (pending, fact) {
            (_, Fact::Failed(error)) => Next::Reply(Err(error)),
            (Pending::Claim { key }, Fact::Claimed(outcome)) => self.claimed(key, outcome),
            (Pending::Confirm { claim }, Fact::Confirmed) => self.confirmed(claim),
            (Pending::FoundDone { claim, receipt }, Fact::Confirmed) => self.found_done(claim, receipt),
            (Pending::Release, Fact::Released) => done(),
            (Pending::Settle, Fact::Settled(settlement)) => self.took_effect(settlement),
            (Pending::Extend, Fact::Extended(granted)) => {
                Next::Reply(granted.map(Reply::Granted).ok_or_else(limits::lapsed))
            }
            (Pending::Waiting, Fact::Waiting(count)) => Next::Reply(count.map(Reply::Count).ok_or_else(limits::lapsed)),
            (Pending::KvGet { key }, Fact::Kv(row)) => Next::Reply(self.effects.kv_read(key, row).map(Reply::Entry)),
            (Pending::KvSwap { key, expect, effect }, Fact::Kv(row)) => self.kv_swapped(key, expect, effect, row),
            (Pending::KvScan(scan), Fact::KvRows { rows, is_end }) => self.kv_scanned(now, scan, rows, is_end),
            (Pending::Find, Fact::Records(rows)) => Next::Reply(Ok(Reply::Records(rows))),
            (Pending::SetTimer { name, at, data }, Fact::Timers { is_set, waiting }) => {
                self.timer_set(name, (at, data), !is_set && waiting >= TIMERS_MAX)
            }
            (Pending::CancelTimer { name }, Fact::Timers { is_set, .. }) => self.timer_cancelled(name, is_set),
            (Pending::Publish(events), Fact::Topics(topics)) => self.published(events, topics),
            _ => unreachable!("the driver answers what was asked"),
        }
    }

    fn ask(&mut self, pending: Pending, next: Next) -> Next {
        self.pending = pending;
        next
    }

    /// After the guest gave its verdict nothing but the end of an outgoing call and the same verdict again is taken; while it is asked
    /// about a claim, nothing but outgoing calls and the answer.
    fn admit(&self, now: Timestamp, import: &Import) -> Result<(), ImportError> {
        reconcile::admit(self.is_asking, import)?;
        let Some(settled) = &self.settled else { return limits::check(now, import) };
        let is_same = match import {
            Import::EgressEnd(_) => true,
            Import::Ack => *settled == Verdict::Ack,
            Import::Nack(_) => matches!(settled, Verdict::Nack(_)),
            Import::Reject(_) => matches!(settled, Verdict::Reject(_)),
            Import::Defer(_) => matches!(settled, Verdict::Defer(_)),
            _ => false,
        };
        if is_same {
            return Ok(());
        }
        Err(limits::error(Code::Settled, "this delivery has its verdict already; stop working on it and return"))
    }

    /// The first verdict stands; the same function again gets the same answer.
    fn settle(&mut self, verdict: Verdict) -> Next {
        if let Some(answer) = &self.answer {
            return Next::Reply(answer.clone());
        }
        let is_first = self.settled.is_none();
        let verdict = self.settled.get_or_insert(verdict).clone();
        match self.facts.settles {
            Settles::AtCall if is_first => {
                // Until it is known better: the call may be stopped while this is on its way to the disk.
                self.answer = Some(Err(limits::lapsed()));
                let ended = self.end(verdict);
                self.ask(Pending::Settle, Next::Settle(Box::new(ended)))
            }
            Settles::AtCall | Settles::AtReturn => done(),
        }
    }

    fn took_effect(&mut self, settlement: Settlement) -> Next {
        let answer = match settlement {
            Settlement::Kept => Ok(Reply::Done),
            Settlement::Lapsed => Err(limits::lapsed()),
            Settlement::Conflict => Err(limits::error(
                Code::Conflict,
                "another delivery changed what this one read; it runs again by itself, go on with the next one",
            )),
            Settlement::Failed => {
                Err(limits::error(Code::Invalid, "what this delivery buffered cannot be stored; it is tried again"))
            }
        };
        self.answer = Some(answer.clone());
        Next::Reply(answer)
    }

    fn hold(&mut self, time: Millis) -> Next {
        self.hold = Some(time.min(limits::HOLD_MAX));
        done()
    }

    fn egress_end(&mut self, sent: Sent) -> Next {
        self.egress_open = self.egress_open.saturating_sub(1);
        if self.is_asking {
            // A question to the provider is no effect.
            return done();
        }
        for claim in &mut self.claims {
            match sent {
                Sent::Nothing => {}
                Sent::Maybe => claim.evidence.maybe = true,
                Sent::Answered => claim.evidence.answered = true,
            }
        }
        done()
    }

    fn claim(&mut self, key: String, strength: Strength, keep: Millis) -> Next {
        if let Some(open) = self.claims.iter().find(|open| open.key == key) {
            if open.uncertain && self.facts.asks {
                return reconcile::in_doubt(&key, "it was asked about in this call");
            }
            let outcome = ClaimOutcome::Claimed { claim: open.id, uncertain: open.uncertain };
            return Next::Reply(Ok(Reply::Claim(outcome)));
        }
        if self.claims.len() >= CLAIMS_MAX {
            return refuse(Code::Quota, format!("a call may have {CLAIMS_MAX} open claims; confirm or release one"));
        }
        if keep > limits::KEEP_MAX {
            return refuse(Code::Invalid, String::from("a claim is kept 400 days at most; ask for less"));
        }
        self.ask(Pending::Claim { key: key.clone() }, Next::Claim { key, strength, keep })
    }

    fn claimed(&mut self, key: String, outcome: ClaimOutcome) -> Next {
        match &outcome {
            ClaimOutcome::Claimed { .. } | ClaimOutcome::Done(_) => self.knows_of(&key),
            ClaimOutcome::Busy(_) => {}
        }
        if let ClaimOutcome::Claimed { claim, uncertain } = &outcome {
            let mark = self.effects.mark();
            self.claims.push(OpenClaim { id: *claim, key, uncertain: *uncertain, mark, evidence: Evidence::default() });
            if *uncertain && self.facts.asks && !is_planted(Bug::NotAskedBeforeResend) {
                self.is_asking = true;
                return Next::Reply(Ok(Reply::Ask));
            }
        }
        Next::Reply(Ok(Reply::Claim(outcome)))
    }

    /// Claims nest: only the innermost can be confirmed or released.
    fn innermost(&self, claim: ClaimId) -> Result<&OpenClaim, ImportError> {
        match self.claims.last() {
            Some(open) if open.id == claim => Ok(open),
            Some(open) if self.claims.iter().any(|other| other.id == claim) => Err(limits::error(
                Code::Invalid,
                &format!("claim `{}` was opened later and is still open; end it first", open.key),
            )),
            Some(_) | None => Err(limits::error(Code::Stale, "no such claim is open in this call")),
        }
    }

    fn confirm(&mut self, claim: ClaimId, receipt: Option<Vec<u8>>) -> Next {
        if self.confirmed.contains(&claim) {
            return done();
        }
        match self.innermost(claim) {
            Err(error) => Next::Reply(Err(error)),
            Ok(open) => {
                let mut transaction = self.effects.since(open.mark);
                if is_planted(Bug::ClaimWithoutItsEffects) {
                    transaction = Transaction::default();
                }
                self.ask(Pending::Confirm { claim }, Next::Confirm { claim, receipt, transaction })
            }
        }
    }

    fn confirmed(&mut self, claim: ClaimId) -> Next {
        let open = self.claims.pop();
        assert!(open.as_ref().is_some_and(|open| open.id == claim), "only the innermost claim is confirmed");
        if let Some(open) = open {
            self.effects.committed_since(open.mark);
            self.confirmed.push(open.id);
        }
        done()
    }

    /// The guest gives a claim back. Something left without an answer speaks against it: then the host keeps the claim (G4c).
    fn release(&mut self, claim: ClaimId) -> Next {
        match self.innermost(claim) {
            Err(error) => Next::Reply(Err(error)),
            Ok(open) if open.evidence.maybe => {
                let text =
                    format!("a request under claim `{}` left without a complete answer; return `unknown`", open.key);
                refuse(Code::Uncertain, text)
            }
            Ok(open) => {
                let end = ClaimEnd { claim, fate: ClaimFate::Released };
                let mark = open.mark;
                self.claims.pop();
                self.effects.discard_since(mark);
                self.ask(Pending::Release, Next::Release(end))
            }
        }
    }
}

fn done() -> Next {
    Next::Reply(Ok(Reply::Done))
}

fn refuse(code: Code, message: String) -> Next {
    Next::Reply(Err(limits::error(code, &message)))
}
