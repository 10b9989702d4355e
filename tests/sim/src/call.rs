//! One delivery with a scripted plugin, driven like the host drives a guest's: each import through the core's attempt and ledger.
//!
//! A call is advanced stage by stage, so that anything can happen between two of them; `import.rs` carries out what the attempt asks
//! for. Invariant: while an import waits for the disk the call stands still.

mod script;

use bugle_core::attempt::{Attempt, CallFacts, Ended, Fact};
use bugle_core::delivery::{CallEnd, Failure, Fault, Retry, Settles};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{ClaimId, Name, SubscriptionId, TopicId};
use bugle_core::import::{Import, ImportResult, Strength};
use bugle_core::origin::Origin;
use bugle_core::spec::Subscription;
use bugle_core::step::Invocation;
use bugle_core::subscription::Machine;
use bugle_core::time::Millis;

use crate::bus::Bus;
use crate::evidence::Place;
use crate::rule::{self, Checked, broken, must};

/// Where follow-ups go.
pub(crate) const FOLLOW_UPS: TopicId = TopicId(2);

/// An event of this key makes the plugin trap.
pub(crate) const POISONED: &str = "poisoned";

/// How long a claim is kept; the longest that the core allows is 400 days.
pub(crate) const KEEP: Millis = Millis::from_secs(30 * 24 * 3600);

/// Counters of the acked events; which one counts an event depends on its offset.
pub(crate) const COUNTERS: [&str; 4] = ["count-0", "count-1", "count-2", "count-3"];

/// What the scripted plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Counts the event in its kv store, reading and writing.
    Count,
    /// Sends a notification, unless the provider is gone; traps on a poisoned event.
    Notify,
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
    Notify,
    Claiming,
    /// The provider was asked what became of an earlier send, and the answer is on its way.
    Asked,
    Send,
    Answer(Answer),
    Confirming,
    Count,
    /// A weak claim is being opened.
    Remembering,
    /// And confirmed.
    Remembered,
    Return,
    /// It gave its verdict by import.
    Said,
    /// Its verdict takes effect at the call.
    Settling,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) invocation: Invocation,
    pub(crate) event: StoredEvent,
    pub(super) worker: usize,
    pub(super) subscription: Name,
    script: Script,
    pub(super) attempt: Attempt,
    stage: Stage,
    claim: Option<ClaimId>,
    /// It was sent so often without a word that a person has to decide.
    is_for_a_person: bool,
    /// The answer to an import that waits for the disk.
    pub(super) pending: Option<Fact>,
    pub(super) reply: Option<ImportResult>,
    /// Its verdict takes effect at the call: to be handed to the worker.
    pub(super) settling: Option<Box<Ended>>,
    /// What the plugin returns for it, once it returns for all that share the call.
    pub(super) result: Option<CallEnd>,
}

/// The business key of an event.
pub(crate) fn business_key(event: &StoredEvent) -> String {
    format!("{}/{}", event.event.source(), event.event.id())
}

impl Call {
    pub(crate) fn new(
        worker: usize,
        spec: &Subscription,
        script: Script,
        invocation: Invocation,
        event: StoredEvent,
    ) -> Call {
        let origin = Origin::of(spec.id, spec.redelivery, &event);
        let facts = CallFacts {
            // What a person had sent again is.
            asks: invocation.asks.is_some() && !origin.may_resend && !origin.is_for_a_person(),
            late_after: spec.late_after,
            ticket: invocation.ticket,
            attempt: invocation.attempt,
            subscription: spec.id,
            position: invocation.position,
            event_id: event.event.id().to_owned(),
            idempotency_key: format!("{}-{}", spec.id, invocation.position),
            claim_scope: spec.claim_scope(),
            kv_store: spec.name.clone(),
            hops: 0,
            settles: if spec.batch_max > 1 { Settles::AtCall } else { Settles::AtReturn },
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
            is_for_a_person: origin.is_for_a_person(),
            pending: None,
            reply: None,
            settling: None,
            result: None,
        }
    }

    /// The attempt, to be finished.
    pub(crate) fn into_attempt(self) -> Attempt {
        self.attempt
    }

    pub(crate) fn place(&self) -> Place {
        (self.attempt.facts().subscription, self.event.position.offset)
    }

    fn claim_key(&self) -> (SubscriptionId, String) {
        (self.attempt.facts().subscription, business_key(&self.event))
    }

    /// Whether the plugin ran at all.
    pub(crate) fn has_begun(&self) -> bool {
        self.stage != Stage::Begin
    }

    /// Whether it waits for its claim to be opened: then the claim is nobody's if the call is stopped now.
    pub(crate) fn is_claiming(&self) -> bool {
        matches!(self.stage, Stage::Claiming | Stage::Remembering) && self.pending.is_some()
    }

    /// Runs one stage; the end of the call if it was the last one.
    pub(crate) fn advance(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked<Option<CallEnd>> {
        if self.pending.is_some() {
            return Ok(None);
        }
        if self.stage == Stage::Begin && self.event.event.is_expired(bus.now) {
            return Ok(Some(CallEnd::NotStarted("its time has passed".to_owned())));
        }
        if self.stage == Stage::Begin && bus.fault(3) {
            return Ok(Some(CallEnd::NotStarted("no instance".to_owned())));
        }
        if bus.fault(3) {
            return Ok(Some(CallEnd::Trapped("unreachable".to_owned())));
        }
        match self.stage {
            Stage::Begin => self.begin(bus, machine)?,
            Stage::Notify => return self.notify(bus, machine).map(Some),
            Stage::Claiming | Stage::Asked => return self.claimed(bus, machine),
            Stage::Send => self.send(bus, machine)?,
            Stage::Answer(answer) => return self.answered(bus, machine, answer),
            Stage::Confirming => {
                match self.reply.take() {
                    Some(Ok(_)) => bus.evidence.resolve(&self.claim_key()),
                    other => return broken(rule::DRIVER_IS_SOUND, format!("a confirm was answered {other:?}")),
                }
                self.stage = Stage::Count;
            }
            Stage::Count => self.count(bus, machine)?,
            Stage::Remembering => return self.remember(bus, machine),
            Stage::Remembered => {
                let reply = self.reply.take();
                let is_done = matches!(reply, Some(Ok(_)));
                must(rule::DRIVER_IS_SOUND, is_done, || format!("a confirm was answered {reply:?}"))?;
                self.stage = Stage::Count;
            }
            Stage::Return => return self.end(bus, machine),
            Stage::Said => return Ok(Some(said(bus))),
            Stage::Settling => return Ok(Some(CallEnd::Returned(Ok(())))),
        }
        Ok(None)
    }

    fn begin(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked {
        if bus.fault(5) {
            self.import(bus, machine, Import::Extend(Millis(100)));
            self.import(bus, machine, Import::Waiting);
        }
        match self.script {
            Script::Count if self.event.position.offset.0.is_multiple_of(3) => {
                self.stage = Stage::Remembering;
                let (key, keep) = self.weak();
                self.reply = self.import(bus, machine, Import::Claim { key, strength: Strength::Weak, keep });
            }
            Script::Count => self.stage = Stage::Count,
            Script::Notify => self.stage = Stage::Notify,
            Script::Send => {
                let key = business_key(&self.event);
                self.stage = Stage::Claiming;
                self.reply = self.import(bus, machine, Import::Claim { key, strength: Strength::Strong, keep: KEEP });
            }
        }
        Ok(())
    }

    /// How a call that did all its work ends: with a verdict as its value, or first by import.
    fn end(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked<Option<CallEnd>> {
        if bus.fault(20) {
            return self.say(bus, machine);
        }
        let end = match bus.random.below(25) {
            _ if bus.is_calm => CallEnd::Returned(Ok(())),
            0..19 => CallEnd::Returned(Ok(())),
            19 | 20 => retry(Some(Millis(20))),
            21 => CallEnd::Returned(Err(Failure::Reject("bad address".to_owned()))),
            22 => CallEnd::Returned(Err(Failure::Defer(Millis(30)))),
            23 => CallEnd::TimedOut("wall limit".to_owned()),
            _ => CallEnd::Trapped("out of bounds".to_owned()),
        };
        Ok(Some(end))
    }

    /// Gives its verdict by import.
    fn say(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked<Option<CallEnd>> {
        let verdict = if self.attempt.facts().settles == Settles::AtCall && bus.random.chance(20) {
            Import::Nack(Retry { after: None, reason: "busy".to_owned(), fault: Fault::Channel })
        } else {
            Import::Ack
        };
        self.stage = match self.import(bus, machine, verdict) {
            Some(Ok(_)) => Stage::Said,
            None => Stage::Settling,
            other => return broken(rule::DRIVER_IS_SOUND, format!("a verdict was answered {other:?}")),
        };
        Ok(None)
    }

    /// Whether its verdict took effect at the call.
    pub(crate) fn is_settled(&self) -> bool {
        self.stage == Stage::Settling
    }

    pub(super) fn expect(&mut self, bus: &mut Bus, machine: &mut Machine, import: Import) -> Checked {
        match self.import(bus, machine, import.clone()) {
            Some(Ok(_)) => Ok(()),
            other => broken(rule::DRIVER_IS_SOUND, format!("{import:?} was answered {other:?}")),
        }
    }

    /// The call is not heard of again, or failed: what it sent and did not confirm may come again.
    pub(crate) fn excuse(&self, bus: &mut Bus) {
        if self.claim.is_some() {
            bus.evidence.excuse(self.place());
        }
    }

    /// How the call ended is taken note of. `is_shared`: others were in it, so nobody pays if it broke.
    pub(crate) fn ended(&self, bus: &mut Bus, end: &CallEnd, is_shared: bool) {
        self.excuse(bus);
        match end {
            CallEnd::NotStarted(_) => return,
            CallEnd::Returned(result) if result.is_ok() || self.stage == Stage::Said => {
                bus.evidence.returned.insert(self.place());
            }
            CallEnd::Returned(_) => {}
            CallEnd::Trapped(_) | CallEnd::TimedOut(_) | CallEnd::LimitExceeded(_) if is_shared => return,
            CallEnd::Trapped(_) | CallEnd::TimedOut(_) | CallEnd::LimitExceeded(_) => {}
        }
        *bus.evidence.ran.entry(self.place()).or_default() += 1;
    }
}

pub(crate) fn retry(after: Option<Millis>) -> CallEnd {
    let retry = Retry { after, reason: "busy".to_owned(), fault: Fault::Channel };
    CallEnd::Returned(Err(Failure::Retry(retry)))
}

/// After a verdict by import the value does not matter, but a trap does.
fn said(bus: &mut Bus) -> CallEnd {
    match bus.random.below(8) {
        _ if bus.is_calm => CallEnd::Returned(Ok(())),
        0 => CallEnd::Trapped("after the ack".to_owned()),
        1 => retry(None),
        _ => CallEnd::Returned(Ok(())),
    }
}
