//! What a call's attempt asks for, carried out as the host's broker does: look-ups, ledger, committer, worker.
//!
//! Holds no decision. Invariant: the ledger's steps enter the queue in the ledger's order.

use bugle_core::attempt::{Fact, FollowUp, Look, Next, Settlement, Transaction};
use bugle_core::event::{StoredEvent, Timing};
use bugle_core::ids::{ClaimId, Position, SubscriptionId, TopicId};
use bugle_core::import::{Import, ImportResult, NewEvent, Strength};
use bugle_core::ledger::ClaimAsk;
use bugle_core::schedule::{ScheduledName, ScheduledQuery};
use bugle_core::seeded::{Bug, is_planted};
use bugle_core::spec::Subscription;
use bugle_core::step::Write;
use bugle_core::subscription::Machine;
use bugle_core::time::Millis;
use bugle_core::timer::{TimerChange, timer_key};

use crate::bus::{Bus, Done};
use crate::call::{Call, FOLLOW_UPS};
use crate::definition::private;
use crate::events::Attributes;

impl Call {
    /// One import; nothing if it waits for the disk.
    pub(super) fn import(&mut self, bus: &mut Bus, machine: &mut Machine, import: Import) -> Option<ImportResult> {
        let mut next = self.attempt.handle(bus.now, import);
        loop {
            let fact = match next {
                Next::Reply(result) => return Some(result),
                Next::Look(Look::Kv { key }) => {
                    let stored = bus.disk.written.kv(&self.subscription, &key);
                    Fact::Kv(bus.ledger.kv_visible(bus.now, &self.subscription, &key, stored))
                }
                Next::Look(Look::Timers { name }) => self.timers(bus, &name),
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
                Next::Settle(ended) => {
                    self.settling = Some(ended);
                    // Until the worker knows better.
                    self.pending = Some(Fact::Settled(Settlement::Lapsed));
                    return None;
                }
                Next::Extend(by) => Fact::Extended(machine.extend(bus.now, self.invocation.ticket, by)),
                Next::Waiting => Fact::Waiting(machine.waiting_behind(self.invocation.ticket)),
                Next::Look(Look::KvScan { prefix, after, limit }) => {
                    let (rows, is_end) = bus.disk.written.scan(&self.subscription, &prefix, after.as_deref(), limit);
                    Fact::KvRows { rows, is_end }
                }
                Next::Look(Look::Records { .. }) => unreachable!("no script asks for this"),
            };
            next = self.attempt.fact(bus.now, fact);
        }
    }

    fn timers(&self, bus: &Bus, name: &str) -> Fact {
        let (key, topic) = (timer_key(name), private(self.worker));
        let schedule = &bus.disk.written.schedule;
        let is_set = schedule.of(ScheduledQuery { topic, name: ScheduledName::Key(&key) }).next().is_some();
        Fact::Timers { is_set, waiting: schedule.waiting(topic) }
    }

    /// The import that waited is durable.
    pub(crate) fn durable(&mut self, bus: &Bus) {
        if let Some(fact) = self.pending.take() {
            match self.attempt.fact(bus.now, fact) {
                Next::Reply(result) => self.reply = Some(result),
                other => unreachable!("after a durable claim or confirm there is an answer, not {other:?}"),
            }
        }
    }

    /// Waits for the disk even if there is nothing to write: a queue is a queue.
    fn open(&mut self, bus: &mut Bus, key: String, strength: Strength, keep: Millis) {
        let (scope, owner) = (self.attempt.facts().claim_scope.clone(), self.attempt.facts().subscription);
        let stored = bus.disk.written.claim(&scope, &key);
        let ask = ClaimAsk { scope, key, ticket: self.invocation.ticket, owner, strength, keep };
        let (outcome, write) = bus.ledger.claim(bus.now, ask, stored);
        let (writes, step) = write.map_or((Vec::new(), None), |(write, step)| (vec![write], Some(step)));
        bus.push(writes, step, Done::Call(self.worker, self.invocation.ticket));
        self.pending = Some(Fact::Claimed(outcome));
    }

    fn confirm(&mut self, bus: &mut Bus, claim: ClaimId, receipt: Option<Vec<u8>>, transaction: Transaction) {
        let (write, mut step) =
            bus.ledger.confirm(bus.now, claim, receipt).expect("the claim of a running call is open");
        let mut transaction = transaction;
        let mut rows = follow_ups(&transaction, &self.subscription, private(self.worker));
        let (subscription, position) = (self.attempt.facts().subscription, self.event.position);
        rows.extend(notes_of(&mut transaction, subscription, position));
        let stored = |key: &str| bus.disk.written.kv(&self.subscription, key);
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
pub(crate) fn follow_ups(transaction: &Transaction, subscription: &str, private: TopicId) -> Vec<Write> {
    let encoded = |event: &NewEvent| {
        let attributes = Attributes {
            id: event.id.as_deref().unwrap_or_default(),
            source: subscription,
            key: event.key.as_deref(),
            class: event.class,
            data: std::str::from_utf8(&event.data).unwrap_or_default(),
            timing: Timing { deliver_at: event.deliver_at, expires: event.expires, ..Timing::default() },
        };
        attributes.event()
    };
    let follow_up = |of: &FollowUp| Write::Append { topic: of.topic, event: encoded(&of.event) };
    let timer = |change: &TimerChange| Write::Timer {
        topic: private,
        key: timer_key(&change.name),
        event: change.event.as_ref().map(encoded),
    };
    transaction.follow_ups.iter().map(follow_up).chain(transaction.timers.iter().map(timer)).collect()
}

/// What a call noted, kept on every verdict: to be compared where the provider calls back.
pub(crate) fn notes(transaction: &mut Transaction, spec: &Subscription, event: &StoredEvent) -> Vec<Write> {
    notes_of(transaction, spec.id, event.position).collect()
}

fn notes_of(
    transaction: &mut Transaction,
    subscription: SubscriptionId,
    position: Position,
) -> impl Iterator<Item = Write> + use<> {
    let records = std::mem::take(&mut transaction.records);
    records.into_iter().map(move |row| Write::Note { subscription, position, row })
}
