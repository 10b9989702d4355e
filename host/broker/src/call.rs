//! One started attempt, in the hands of whoever runs the plugin: the delivery, its host imports, its end.
//!
//! It drives [`bugle_core::attempt`]: looks up what that asks for, commits what it wants durable, and sends the end to the
//! subscription's worker. It decides nothing itself. A call that uses no import costs one message.
//!
//! Use: [`Call::delivery`], any number of [`Call::import`], then [`Call::finish`] once, or [`Call::finish_all`] for those that
//! shared a call of the plugin. Dropped without it, the attempt counts as never started and the delivery is run again at no cost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bugle_core::attempt::{self, Attempt, CallFacts, Fact, Look, Next, Settlement, Transaction};
use bugle_core::code::Code;
use bugle_core::delivery::{CallEnd, Delivery, Settles, Verdict};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{ClaimId, Name, Position, Revision, SubscriptionId, Ticket, TopicId};
use bugle_core::import::{Import, ImportError, ImportResult, Strength};
use bugle_core::ledger::{ClaimAsk, KvEffect, Ledger, LedgerStep};
use bugle_core::origin::Origin;
use bugle_core::schedule::{ScheduledName, ScheduledQuery};
use bugle_core::seeded::{Bug, is_planted};
use bugle_core::step::Write;
use bugle_core::time::{Millis, Timestamp};
use bugle_core::timer::{TimerChange, timer_key, timer_name};
use tokio::sync::oneshot;

use crate::counters::WorkerCounters;
use crate::invoke::{FollowUp, HOPS_ATTRIBUTE};
use crate::queue::{Done, Stopped};
use crate::reads::ReadError;
use crate::shared::Shared;
use crate::worker::{Effects, Ended, Inbox, Message};

/// What the calls of a subscription share with its worker.
pub(crate) struct Port {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) subscription: SubscriptionId,
    /// Its private topic.
    pub(crate) private: Option<TopicId>,
    pub(crate) name: Name,
    /// Scope of its claims.
    pub(crate) claim_scope: Name,
    /// Held from the read of dead letters until their change is durable.
    pub(crate) letters: tokio::sync::Mutex<()>,
    /// Held by the one operator who works on dead letters.
    pub(crate) operators: Arc<tokio::sync::Mutex<()>>,
    pub(crate) counters: WorkerCounters,
    /// Whether providers call back, so that notes are compared with what they said.
    pub(crate) inbound: AtomicBool,
    /// Dropped, and so told, with the last call once the subscription was deleted.
    pub(crate) last_call: Mutex<Option<oneshot::Sender<()>>>,
}

impl Port {
    /// Where an event that is delivered here comes from.
    pub(crate) fn origin(&self, event: &StoredEvent) -> Origin {
        Origin::of(self.subscription, self.private, event)
    }
}

/// See the module.
pub struct Call {
    port: Arc<Port>,
    /// `None` once the call has ended.
    delivery: Option<Delivery>,
    /// The worker was told how it ended.
    is_ended: bool,
    /// The plugin revision that it runs on, once that is known.
    revision: Option<Revision>,
    settles: Settles,
    /// Begun by the first import.
    attempt: Option<Box<Attempt>>,
    /// Set while a claim is being opened, so that a call stopped there leaves none behind.
    is_claiming: bool,
}

impl Call {
    pub(crate) fn new(port: Arc<Port>, delivery: Delivery) -> Call {
        let (revision, settles) = (None, Settles::default());
        Call { port, delivery: Some(delivery), is_ended: false, revision, settles, attempt: None, is_claiming: false }
    }

    /// What to hand to the plugin.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        self.delivery.as_ref().expect("the delivery is taken only by the end of the call, after which there is no call")
    }

    /// Name of the topic the event was published to, also for a copy; empty for one that is gone.
    #[must_use]
    pub fn topic(&self) -> Name {
        let topics = &self.port.shared.topics;
        let origin = self.port.origin(&self.delivery().event);
        topics.name(origin.topic).unwrap_or_else(|| Name::from(""))
    }

    /// The accepted clock, the one that deadlines are counted in.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.port.shared.clock.now()
    }

    /// Which plugin revision it runs on, for the history of a delivery that is given up; and when verdicts by import take effect
    /// there.
    pub fn runs_on(&mut self, revision: Revision, settles: Settles) {
        self.revision = Some(revision);
        self.settles = settles;
    }

    /// Whether its verdict took effect already.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_ended
    }

    /// One host import of the plugin. A future dropped half-way means that the plugin was stopped: finish the call then.
    pub async fn import(&mut self, import: Import) -> ImportResult {
        if let Import::Publish(events) = &import {
            self.check_encoding(events)?;
        }
        let now = self.port.shared.clock.now();
        let mut next = self.begun().handle(now, import);
        loop {
            let fact = match next {
                Next::Reply(result) => return result,
                Next::Look(look) => self.look(look).await,
                Next::Claim { key, strength, keep } => self.claim(key, strength, keep).await,
                Next::Confirm { claim, receipt, transaction } => self.confirm(claim, receipt, transaction).await,
                Next::Release(end) => {
                    let now = self.port.shared.clock.now();
                    let pushed = self.port.shared.ledger_step(Done::Nobody, |ledger| {
                        let step = ledger.release(now, end.claim, end.fate).unwrap_or(None);
                        ((), one(step))
                    });
                    pushed.map_or_else(failed, |()| Fact::Released)
                }
                Next::Settle(ended) => self.settle(*ended).await,
                Next::Extend(by) => self.extend(by).await,
                Next::Waiting => self.waiting().await,
            };
            let now = self.port.shared.clock.now();
            next = self.begun().fact(now, fact);
            self.is_claiming = false;
        }
    }

    /// The call has ended. One message to the worker; never blocks.
    pub fn finish(mut self, end: CallEnd) {
        if let Some(message) = self.end(end) {
            self.port.inbox.push(message);
        }
    }

    /// Calls that shared a call of the plugin have ended. One wake-up of the worker, which then finds all of their places free.
    pub fn finish_all(calls: impl IntoIterator<Item = (Call, CallEnd)>) {
        let mut inbox = None;
        let mut messages = Vec::new();
        for (mut call, end) in calls {
            messages.extend(call.end(end));
            inbox.get_or_insert_with(|| Arc::clone(&call.port.inbox));
        }
        if let Some(inbox) = inbox {
            inbox.push_all(messages);
        }
    }

    fn begun(&mut self) -> &mut Attempt {
        let Call { port, delivery, settles, attempt, .. } = self;
        attempt.get_or_insert_with(|| {
            let delivery = delivery.as_ref().expect("imports come before the end of the call");
            Box::new(Attempt::begin(facts(port, delivery, *settles)))
        })
    }

    fn ticket(&self) -> Ticket {
        self.delivery().ticket
    }

    fn position(&self) -> Position {
        self.delivery().event.position
    }

    async fn look(&self, look: Look) -> Fact {
        let shared = &self.port.shared;
        let found = match look {
            Look::Kv { key } => shared.kv_visible(&self.port.name, &key).map(Fact::Kv),
            Look::KvScan { prefix, after, limit } => {
                let page = shared.kv_scan(self.port.name.clone(), prefix, after, limit).await;
                page.map(|page| Fact::KvRows { rows: page.rows, is_end: page.is_end })
            }
            Look::Records { business_key, recipient } => {
                shared.records(self.port.subscription, business_key, recipient).await.map(Fact::Records)
            }
            Look::Timers { name } => self.timers(&name),
            Look::Topics(names) => Ok(Fact::Topics(shared.topics.numbers(&names))),
        };
        found.unwrap_or_else(|error| Fact::Failed(error.into_import()))
    }

    fn timers(&self, name: &str) -> Result<Fact, ReadError> {
        let Some(topic) = self.port.private else { return Ok(Fact::Timers { is_set: false, waiting: 0 }) };
        let (store, key) = (&self.port.shared.store, timer_key(name));
        let query = ScheduledQuery { topic, name: ScheduledName::Key(&key) };
        let is_set = !store.scheduled_of(query, 1)?.is_empty();
        Ok(Fact::Timers { is_set, waiting: store.scheduled_totals(topic)?.waiting })
    }

    /// The name of the timer that fires with it, if it is one.
    #[must_use]
    pub fn timer(&self) -> Option<&str> {
        timer_name(self.port.subscription, self.port.private, &self.delivery().event)
    }

    async fn claim(&mut self, key: String, strength: Strength, keep: Millis) -> Fact {
        let shared = &self.port.shared;
        let now = shared.clock.now();
        let (scope, owner) = (self.port.claim_scope.clone(), self.port.subscription);
        let ask = ClaimAsk { scope, key, ticket: self.ticket(), owner, strength, keep };
        let (done, durable) = oneshot::channel();
        self.is_claiming = true;
        // The row is read under the ledger's lock: read before, it could be older than what the ledger has forgotten since.
        let opened = shared.ledger_step(Done::Caller(done), |ledger| match shared.store.claim(&ask.scope, &ask.key) {
            Err(error) => (Err(ReadError::from(error)), None),
            Ok(stored) => {
                let (outcome, write) = ledger.claim(now, ask, stored);
                let must_wait = write.is_some();
                (Ok((outcome, must_wait)), one(write))
            }
        });
        match opened {
            Err(stopped) => failed(stopped),
            Ok(Err(error)) => Fact::Failed(error.into_import()),
            Ok(Ok((outcome, false))) => Fact::Claimed(outcome),
            Ok(Ok((outcome, true))) => match durable.await {
                Ok(_) => Fact::Claimed(outcome),
                Err(_) => failed(Stopped),
            },
        }
    }

    async fn confirm(&mut self, claim: ClaimId, receipt: Option<Vec<u8>>, transaction: Transaction) -> Fact {
        let shared = &self.port.shared;
        let now = shared.clock.now();
        let (kv, mut rows) = match self.plain_rows(transaction) {
            Ok((transaction, follow_ups, records)) => (transaction.kv, [follow_ups, records].concat()),
            Err(error) => return Fact::Failed(invalid(error)),
        };
        let (done, durable) = oneshot::channel();
        let store = &self.port.name;
        let mut late = None;
        let confirmed = shared.ledger_step(Done::Caller(done), |ledger| match ledger.confirm(now, claim, receipt) {
            Err(not_open) => (Err(not_open.to_string()), None),
            Ok((write, step)) => {
                if is_planted(Bug::DedupRowInSecondBatch) && !(rows.is_empty() && kv.is_empty()) {
                    late = Some(write);
                } else {
                    rows.push(write);
                }
                let step = kv_rows(shared, ledger, store, kv, &mut rows).unwrap_or(step);
                (Ok(()), Some((rows, step)))
            }
        });
        match confirmed {
            Err(stopped) => failed(stopped),
            Ok(Err(message)) => Fact::Failed(ImportError { code: Code::Stale, message, retry_after: None }),
            Ok(Ok(())) => match durable.await {
                Ok(_) => {
                    shared.queue_late(late);
                    Fact::Confirmed
                }
                Err(_) => failed(Stopped),
            },
        }
    }

    async fn extend(&self, by: Millis) -> Fact {
        let (reply, answer) = oneshot::channel();
        let ticket = self.ticket();
        self.port.inbox.push(Message::Extend { ticket, by, reply });
        Fact::Extended(answer.await.unwrap_or(None))
    }

    async fn waiting(&self) -> Fact {
        let (reply, answer) = oneshot::channel();
        let ticket = self.ticket();
        self.port.inbox.push(Message::Waiting { ticket, reply });
        Fact::Waiting(answer.await.unwrap_or(None))
    }

    /// Tells the guest at once what is wrong with a follow-up, not when its effects are committed.
    fn check_encoding(&self, events: &[bugle_core::import::NewEvent]) -> Result<(), ImportError> {
        let shared = &self.port.shared;
        for event in events {
            (shared.encode)(FollowUp { event, hops: 1, subscription: &self.port.name, now: shared.clock.now() })
                .map_err(invalid)?;
        }
        Ok(())
    }

    /// Follow-ups and records of a transaction as rows; what is left of it is the ledger's.
    fn plain_rows(&self, mut transaction: Transaction) -> Result<(Transaction, Vec<Write>, Vec<Write>), String> {
        let shared = &self.port.shared;
        let now = shared.clock.now();
        let mut follow_ups = std::mem::take(&mut transaction.follow_ups)
            .into_iter()
            .map(|follow_up| {
                let event = (shared.encode)(FollowUp {
                    event: &follow_up.event,
                    hops: follow_up.hops,
                    subscription: &self.port.name,
                    now,
                })?;
                Ok(Write::Append { topic: follow_up.topic, event })
            })
            .collect::<Result<Vec<Write>, String>>()?;
        for TimerChange { name, event, hops } in std::mem::take(&mut transaction.timers) {
            let topic = self.port.private.ok_or("its subscription has no private topic")?;
            let event = event
                .map(|event| (shared.encode)(FollowUp { event: &event, hops, subscription: &self.port.name, now }));
            follow_ups.push(Write::Timer { topic, key: timer_key(&name), event: event.transpose()? });
        }
        let (subscription, position) = (self.port.subscription, self.position());
        let is_compared = self.port.inbound.load(Ordering::Relaxed);
        let record = |row| match is_compared {
            true => Write::Note { subscription, position, row },
            false => Write::Record { subscription, position, row },
        };
        let records = std::mem::take(&mut transaction.records).into_iter().map(record).collect();
        Ok((transaction, follow_ups, records))
    }

    /// The verdict takes effect now. If the call is stopped while it waits here, that stands.
    async fn settle(&mut self, ended: attempt::Ended) -> Fact {
        let (reply, settlement) = oneshot::channel();
        let message = self.ended(ended, Some(reply));
        self.port.inbox.push(message);
        match settlement.await {
            Ok(settlement) => Fact::Settled(settlement),
            Err(_) => failed(Stopped),
        }
    }

    /// What the worker is to be told of the end; nothing if it was told.
    fn end(&mut self, end: CallEnd) -> Option<Message> {
        if self.is_ended {
            return None;
        }
        let attempt = match (self.attempt.take(), &end) {
            (None, CallEnd::Returned(Ok(()))) => return Some(self.plain_ack()),
            (Some(attempt), _) => attempt,
            (None, _) => Box::new(Attempt::begin(facts(&self.port, self.delivery(), self.settles))),
        };
        let ended = attempt.finish(self.port.shared.clock.now(), end);
        Some(self.ended(ended, None))
    }

    /// The end of a call that used no import and has nothing to commit but its ack.
    fn plain_ack(&mut self) -> Message {
        self.is_ended = true;
        let (verdict, hold, pause, effects) = (Verdict::Ack, None, None, None);
        Message::Ended(Ended { ticket: self.ticket(), verdict, hold, pause, effects, event: self.take_event() })
    }

    fn take_event(&mut self) -> StoredEvent {
        self.delivery.take().expect("a call ends once").event
    }

    fn ended(&mut self, ended: attempt::Ended, reply: Option<oneshot::Sender<Settlement>>) -> Message {
        self.is_ended = true;
        let ticket = self.ticket();
        let (transaction, confirms, releases) = (ended.transaction, ended.confirms, ended.releases);
        let (kv, writes, records, verdict) = match self.plain_rows(transaction) {
            Ok((kv, writes, records)) => (kv, writes, records, ended.verdict),
            // Every follow-up was encoded once when it was given, so only a bug of the encoder leads here.
            Err(error) => (
                Transaction::default(),
                Vec::new(),
                Vec::new(),
                Verdict::Broke(format!("a follow-up event could not be encoded: {error}")),
            ),
        };
        let revision = self.revision.filter(|_| verdict != Verdict::Ack);
        let has_stray_claim = self.is_claiming;
        let is_last = reply.is_none();
        let effects = Effects { kv, writes, records, confirms, releases, revision, has_stray_claim, reply };
        let is_empty = !effects.need_ledger()
            && effects.writes.is_empty()
            && effects.records.is_empty()
            && effects.revision.is_none()
            && effects.reply.is_none();
        // The call goes on after a verdict that takes effect before its end.
        let event = if is_last { self.take_event() } else { self.delivery().event.clone() };
        Message::Ended(Ended {
            ticket,
            event,
            verdict,
            hold: ended.hold,
            pause: ended.pause,
            effects: (!is_empty).then(|| Box::new(effects)),
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let end = if self.attempt.is_none() {
            CallEnd::NotStarted("the call was dropped before the plugin ran".to_owned())
        } else {
            CallEnd::Trapped("the call was dropped while the plugin ran".to_owned())
        };
        if let Some(message) = self.end(end) {
            self.port.inbox.push(message);
        }
    }
}

fn facts(port: &Port, delivery: &Delivery, settles: Settles) -> CallFacts {
    let event = &delivery.event.event;
    CallFacts {
        ticket: delivery.ticket,
        attempt: delivery.attempt,
        subscription: port.subscription,
        position: delivery.event.position,
        event_id: event.id().to_owned(),
        idempotency_key: delivery.idempotency_key.clone(),
        claim_scope: port.claim_scope.clone(),
        kv_store: port.name.clone(),
        hops: event.attribute(HOPS_ATTRIBUTE).and_then(|hops| hops.parse().ok()).unwrap_or(0),
        settles,
        asks: delivery.must_ask(),
        late_after: port.inbox.late_after(),
    }
}

/// Turns kv changes that depend on no read into rows.
fn kv_rows(
    shared: &Shared,
    ledger: &mut Ledger,
    store: &Name,
    kv: Vec<(String, KvEffect)>,
    rows: &mut Vec<Write>,
) -> Option<LedgerStep> {
    let stored = |key: &str| shared.stored_kv(store, key);
    let (writes, step) = ledger
        .kv_commit(shared.clock.now(), store, &[], kv, stored)
        .expect("a transaction without reads meets no conflict")?;
    rows.extend(writes);
    Some(step)
}

fn one(step: Option<(Write, LedgerStep)>) -> Option<(Vec<Write>, LedgerStep)> {
    step.map(|(write, step)| (vec![write], step))
}

fn failed(_: Stopped) -> Fact {
    Fact::Failed(ImportError { code: Code::StorageFailed, message: Stopped.to_string(), retry_after: None })
}

fn invalid(message: String) -> ImportError {
    ImportError { code: Code::Invalid, message, retry_after: None }
}
