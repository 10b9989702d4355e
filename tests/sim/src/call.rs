//! One call of a scripted plugin, driven like the host drives a guest's: each import through the core's attempt and ledger.
//!
//! A call is advanced stage by stage, so that anything can happen between two of them. Invariant: while an import waits for the
//! disk the call stands still.

use bugle_core::attempt::{Attempt, CallFacts, Fact, Look, Next, Transaction};
use bugle_core::delivery::{CallEnd, Failure, Fault, Retry};
use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{ClaimId, Name, TopicId};
use bugle_core::import::{ClaimOutcome, Import, ImportResult, NewEvent, Reply, Sent, Strength};
use bugle_core::ledger::ClaimAsk;
use bugle_core::seeded::{Bug, is_planted};
use bugle_core::step::{Invocation, Write};
use bugle_core::time::Millis;

use crate::bus::{Bus, Done};
use crate::events::Attributes;
use crate::store::ACKED;

/// Where follow-ups go.
pub(crate) const FOLLOW_UPS: TopicId = TopicId(2);

/// What the scripted plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Counts the event in its kv store, reading and writing.
    Count,
    /// Sends something under a strong claim, counts it, publishes a follow-up; then like `Count`.
    Send,
}

/// How an outgoing call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    NotSent,
    Accepted,
    Refused,
    /// No complete answer; the receiver may have seen it.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Claiming,
    Send,
    Answer(Answer),
    Confirming,
    Count,
    Return,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) invocation: Invocation,
    pub(crate) event: StoredEvent,
    worker: usize,
    subscription: Name,
    script: Script,
    attempt: Attempt,
    stage: Stage,
    claim: Option<ClaimId>,
    /// The answer to an import that waits for the disk.
    pending: Option<Fact>,
    reply: Option<ImportResult>,
}

/// The business key of an event.
pub(crate) fn business_key(event: &StoredEvent) -> String {
    format!("{}/{}", event.event.source(), event.event.id())
}

impl Call {
    pub(crate) fn new(
        worker: usize,
        spec: &bugle_core::spec::Subscription,
        script: Script,
        invocation: Invocation,
        event: StoredEvent,
    ) -> Call {
        let facts = CallFacts {
            ticket: invocation.ticket,
            attempt: invocation.attempt,
            subscription: spec.id,
            position: invocation.position,
            event_id: event.event.id().to_owned(),
            idempotency_key: format!("{}-{}", spec.id, invocation.position),
            claim_scope: spec.name.clone(),
            kv_store: spec.name.clone(),
            hops: 0,
        };
        Call {
            attempt: Attempt::begin(facts),
            invocation,
            event,
            worker,
            subscription: spec.name.clone(),
            script,
            stage: Stage::Begin,
            claim: None,
            pending: None,
            reply: None,
        }
    }

    /// The attempt, to be finished.
    pub(crate) fn into_attempt(self) -> Attempt {
        self.attempt
    }

    /// The import that waited is durable.
    pub(crate) fn durable(&mut self, bus: &mut Bus) {
        if let Some(fact) = self.pending.take() {
            let next = self.attempt.fact(bus.now, fact);
            self.reply = self.drive(bus, next);
        }
    }

    /// Runs one stage; the end of the call if it was the last one.
    pub(crate) fn advance(&mut self, bus: &mut Bus) -> Result<Option<CallEnd>, String> {
        if self.pending.is_some() {
            return Ok(None);
        }
        if self.stage == Stage::Begin && bus.fault(3) {
            return Ok(Some(CallEnd::NotStarted("no instance".to_owned())));
        }
        if bus.fault(3) {
            return Ok(Some(CallEnd::Trapped("unreachable".to_owned())));
        }
        match self.stage {
            Stage::Begin => self.begin(bus),
            Stage::Claiming => return self.claimed(),
            Stage::Send => return self.send(bus).map(|()| None),
            Stage::Answer(answer) => return self.answered(bus, answer),
            Stage::Confirming => match self.reply.take() {
                Some(Ok(_)) => self.stage = Stage::Count,
                other => return Err(format!("a confirm was answered {other:?}")),
            },
            Stage::Count => return self.count(bus).map(|()| None),
            Stage::Return => return Ok(Some(verdict(bus))),
        }
        Ok(None)
    }

    fn begin(&mut self, bus: &mut Bus) {
        match self.script {
            Script::Count => self.stage = Stage::Count,
            Script::Send => {
                let key = business_key(&self.event);
                let claim = Import::Claim { key, strength: Strength::Strong, keep: Millis::from_secs(1_000_000) };
                self.stage = Stage::Claiming;
                self.reply = self.import(bus, claim);
            }
        }
    }

    fn claimed(&mut self) -> Result<Option<CallEnd>, String> {
        match self.reply.take() {
            Some(Ok(Reply::Claim(ClaimOutcome::Claimed { claim, .. }))) => {
                self.claim = Some(claim);
                self.stage = Stage::Send;
            }
            Some(Ok(Reply::Claim(ClaimOutcome::Done(_)))) => self.stage = Stage::Count,
            Some(Ok(Reply::Claim(ClaimOutcome::Busy(after)))) => return Ok(Some(retry(Some(after)))),
            other => return Err(format!("a claim was answered {other:?}")),
        }
        Ok(None)
    }

    fn send(&mut self, bus: &mut Bus) -> Result<(), String> {
        self.expect(bus, Import::EgressStart)?;
        let answer = match bus.random.below(20) {
            _ if bus.is_calm => Answer::Accepted,
            0..14 => Answer::Accepted,
            14..16 => Answer::Refused,
            16 => Answer::NotSent,
            _ => Answer::Lost,
        };
        let has_effect = answer == Answer::Accepted || answer == Answer::Lost && bus.random.chance(50);
        if has_effect {
            if bus.store.is_done(&self.subscription, &business_key(&self.event)) {
                return Err(format!(
                    "{} sent {} again although its claim is done",
                    self.subscription, self.event.position
                ));
            }
            let key = (self.attempt.facts().subscription, self.event.position.offset);
            *bus.received.entry(key).or_default() += 1;
        }
        self.stage = Stage::Answer(answer);
        Ok(())
    }

    fn answered(&mut self, bus: &mut Bus, answer: Answer) -> Result<Option<CallEnd>, String> {
        let sent = match answer {
            Answer::NotSent => Sent::Nothing,
            Answer::Accepted | Answer::Refused => Sent::Answered,
            Answer::Lost => Sent::Maybe,
        };
        self.expect(bus, Import::EgressEnd(sent))?;
        let claim = self.claim.ok_or("nothing is sent without a claim")?;
        match answer {
            Answer::NotSent | Answer::Refused => {
                self.expect(bus, Import::Release { claim })?;
                Ok(Some(retry(None)))
            }
            Answer::Lost => Ok(Some(CallEnd::Returned(Err(Failure::Unknown("no answer".to_owned()))))),
            Answer::Accepted => {
                self.expect(bus, Import::KvAdd { key: "sent".to_owned(), delta: 1, ttl: None })?;
                self.expect(bus, Import::Publish(vec![self.follow_up()]))?;
                self.stage = Stage::Confirming;
                self.reply = self.import(bus, Import::Confirm { claim, receipt: Some(b"250 ok".to_vec()) });
                Ok(None)
            }
        }
    }

    fn follow_up(&self) -> NewEvent {
        NewEvent {
            topic: "sent".to_owned(),
            kind: "sent".to_owned(),
            subject: None,
            key: self.event.event.key().map(str::to_owned),
            id: None,
            class: Class::Normal,
            content_type: None,
            attributes: Vec::new(),
            data: self.event.position.offset.to_string().into_bytes(),
        }
    }

    /// Reads and writes one counter of the subscription, so that deliveries conflict; and marks the event as acked.
    fn count(&mut self, bus: &mut Bus) -> Result<(), String> {
        let count = match self.import(bus, Import::KvGet { key: "count".to_owned() }) {
            Some(Ok(Reply::Entry(entry))) => {
                entry.and_then(|entry| String::from_utf8(entry.value).ok()?.parse::<u64>().ok()).unwrap_or(0)
            }
            other => return Err(format!("a kv read was answered {other:?}")),
        };
        let value = (count + 1).to_string().into_bytes();
        self.expect(bus, Import::KvPut { key: "count".to_owned(), value, ttl: None })?;
        let key = format!("{ACKED}{}", self.event.position.offset);
        self.expect(bus, Import::KvPut { key, value: Vec::new(), ttl: None })?;
        self.stage = Stage::Return;
        Ok(())
    }

    fn expect(&mut self, bus: &mut Bus, import: Import) -> Result<(), String> {
        match self.import(bus, import.clone()) {
            Some(Ok(_)) => Ok(()),
            other => Err(format!("{import:?} was answered {other:?}")),
        }
    }

    fn import(&mut self, bus: &mut Bus, import: Import) -> Option<ImportResult> {
        let next = self.attempt.handle(bus.now, import);
        self.drive(bus, next)
    }

    /// Does what the attempt asks for; nothing if that waits for the disk.
    fn drive(&mut self, bus: &mut Bus, mut next: Next) -> Option<ImportResult> {
        loop {
            let fact = match next {
                Next::Reply(result) => return Some(result),
                Next::Look(Look::Kv { key }) => {
                    let stored = bus.store.kv(&self.subscription, &key);
                    Fact::Kv(bus.ledger.kv_visible(bus.now, &self.subscription, &key, stored))
                }
                Next::Look(Look::Topics(names)) => {
                    Fact::Topics(names.iter().map(|name| (name == "sent").then_some(FOLLOW_UPS)).collect())
                }
                Next::Claim { key, strength, keep } => {
                    self.open(bus, key, strength, keep);
                    return None;
                }
                Next::Confirm { claim, receipt, transaction } => {
                    self.confirm(bus, claim, receipt, transaction);
                    return None;
                }
                Next::Release(end) => {
                    if let Ok(Some((write, step))) = bus.ledger.release(bus.now, end.claim, end.fate) {
                        bus.push(vec![write], Some(step), Done::Nobody);
                    }
                    Fact::Released
                }
                Next::Look(_) | Next::Extend(_) | Next::Waiting => unreachable!("no script asks for this"),
            };
            next = self.attempt.fact(bus.now, fact);
        }
    }

    /// Waits for the disk even if there is nothing to write: a queue is a queue.
    fn open(&mut self, bus: &mut Bus, key: String, strength: Strength, keep: Millis) {
        let stored = bus.store.claim(&self.subscription, &key);
        let ask = ClaimAsk { scope: self.subscription.clone(), key, ticket: self.invocation.ticket, strength, keep };
        let (outcome, write) = bus.ledger.claim(bus.now, ask, stored);
        let (writes, step) = write.map_or((Vec::new(), None), |(write, step)| (vec![write], Some(step)));
        bus.push(writes, step, Done::Call(self.worker, self.invocation.ticket));
        self.pending = Some(Fact::Claimed(outcome));
    }

    fn confirm(&mut self, bus: &mut Bus, claim: ClaimId, receipt: Option<Vec<u8>>, transaction: Transaction) {
        let (write, mut step) =
            bus.ledger.confirm(bus.now, claim, receipt).expect("the claim of a running call is open");
        let mut rows = follow_ups(&transaction, &self.subscription);
        let stored = |key: &str| bus.store.kv(&self.subscription, key);
        let kv = bus.ledger.kv_commit(bus.now, &self.subscription, &[], transaction.kv, stored);
        if let Some((writes, later)) = kv.expect("without reads there is no conflict") {
            rows.extend(writes);
            step = later;
        }
        let done = Done::Call(self.worker, self.invocation.ticket);
        if is_planted(Bug::DedupRowInSecondBatch) {
            bus.push(rows, Some(step), done);
            bus.push(vec![write], None, Done::Nobody);
        } else {
            rows.push(write);
            bus.push(rows, Some(step), done);
        }
        self.pending = Some(Fact::Confirmed);
    }
}

/// The follow-ups of a transaction as rows.
pub(crate) fn follow_ups(transaction: &Transaction, subscription: &str) -> Vec<Write> {
    let row = |follow_up: &bugle_core::attempt::FollowUp| {
        let event = &follow_up.event;
        let attributes = Attributes {
            id: event.id.as_deref().unwrap_or_default(),
            source: subscription,
            key: event.key.as_deref(),
            class: event.class,
            data: std::str::from_utf8(&event.data).unwrap_or_default(),
        };
        Write::Append { topic: follow_up.topic, event: attributes.event() }
    };
    transaction.follow_ups.iter().map(row).collect()
}

fn retry(after: Option<Millis>) -> CallEnd {
    let retry = Retry { after, reason: "busy".to_owned(), fault: Fault::Channel };
    CallEnd::Returned(Err(Failure::Retry(retry)))
}

/// How a call that did all its work ends.
fn verdict(bus: &mut Bus) -> CallEnd {
    match bus.random.below(25) {
        _ if bus.is_calm => CallEnd::Returned(Ok(())),
        0..19 => CallEnd::Returned(Ok(())),
        19 | 20 => retry(Some(Millis(20))),
        21 => CallEnd::Returned(Err(Failure::Reject("bad address".to_owned()))),
        22 => CallEnd::Returned(Err(Failure::Defer(Millis(30)))),
        23 => CallEnd::TimedOut("wall limit".to_owned()),
        _ => CallEnd::Trapped("out of bounds".to_owned()),
    }
}
