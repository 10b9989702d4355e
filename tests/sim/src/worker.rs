//! The worker of one subscription, driving its machine as the host does: immediate actions at once, the others after the commit.
//!
//! Invariant: the end of a call with claims or kv changes enters the queue in the ledger's order, so ends wait for the submit.

use std::sync::Arc;

use bugle_core::attempt::Ended;
use bugle_core::delivery::{CallEnd, Verdict};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Slot, Ticket};
use bugle_core::ledger::{ClaimFate, LedgerStep};
use bugle_core::spec::{Ordering, Subscription};
use bugle_core::step::{Action, Invocation, Step, Write};
use bugle_core::subscription::{Bounds, Input, Machine};

use crate::bus::{Bus, Done};
use crate::call::{Call, Script, follow_ups};

/// Steps on their way to the disk at once.
const STEPS_OUTSTANDING_MAX: u64 = 2;

/// A call that ended and waits for the submit.
#[derive(Debug)]
struct Held {
    ticket: Ticket,
    event: StoredEvent,
    ended: Ended,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    pub(crate) spec: Subscription,
    script: Script,
    bounds: Bounds,
    pub(crate) machine: Machine,
    step: Step,
    calls: Vec<Call>,
    held: Vec<Held>,
    read: Option<(Offset, u32)>,
    outstanding: u64,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        spec: Subscription,
        script: Script,
        bounds: Bounds,
        seed: u64,
        bus: &Bus,
    ) -> Worker {
        let rows = bus.store.recovered(spec.id);
        Worker {
            index,
            machine: Machine::recover_bounded(spec.clone(), Slot(0), seed, rows, bounds),
            spec,
            script,
            bounds,
            step: Step::default(),
            calls: Vec::new(),
            held: Vec::new(),
            read: None,
            outstanding: 0,
        }
    }

    /// The worker after a restart: only its definition is left.
    pub(crate) fn restarted(&self, seed: u64, bus: &Bus) -> Worker {
        Worker::new(self.index, self.spec.clone(), self.script, self.bounds, seed, bus)
    }

    /// Whether nothing is left to do with a log of this length.
    pub(crate) fn is_at_rest(&self, end: u64) -> bool {
        let is_idle = self.calls.is_empty() && self.held.is_empty() && self.outstanding == 0;
        is_idle && self.step.is_empty() && self.machine.status().floor.0 == end
    }

    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(crate) fn handle(&mut self, bus: &mut Bus, input: Input<'_>) -> Result<(), String> {
        self.machine.handle(bus.now, input, &mut self.step);
        let immediate = std::mem::take(&mut self.step.immediate);
        self.perform(bus, immediate)
    }

    fn perform(&mut self, bus: &mut Bus, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            match action {
                Action::Read { from, events_max } => self.read = Some((from, events_max)),
                Action::Invoke(invocation) => self.start(bus, invocation)?,
                Action::Load(load) => {
                    let offset = load.position.offset;
                    let row = bus.store.waiting(self.spec.id, offset);
                    let found = row.map(|row| (row, bus.store.log[offset.0 as usize].clone()));
                    self.handle(bus, Input::Loaded { number: load.number, found })?;
                }
                Action::Fetch(Invocation { ticket, position, .. }) => {
                    let event = bus.store.log.get(position.offset.0 as usize).cloned();
                    self.handle(bus, Input::Fetched { ticket, event })?;
                }
                // The call may go on; its ticket is dead.
                Action::Cancel { .. }
                | Action::Paused { .. }
                | Action::Stuck { .. }
                | Action::TrimDead
                | Action::BacklogFull { .. }
                | Action::Expired { .. } => {}
            }
        }
        Ok(())
    }

    fn start(&mut self, bus: &mut Bus, invocation: Invocation) -> Result<(), String> {
        if !self.machine.is_live(invocation.ticket) {
            return self.handle(bus, Input::NeverRan { ticket: invocation.ticket });
        }
        let event = bus.store.log[invocation.position.offset.0 as usize].clone();
        self.check_start(bus, &event)?;
        bus.attempts += 1;
        bus.note(|| format!("{} starts {} attempt {}", self.spec.name, invocation.position, invocation.attempt));
        self.calls.push(Call::new(self.index, &self.spec, self.script, invocation, event));
        Ok(())
    }

    /// Order and no second delivery, judged by what is on disk.
    fn check_start(&self, bus: &Bus, event: &StoredEvent) -> Result<(), String> {
        let offset = event.position.offset;
        if self.is_settled(bus, offset) {
            return Err(format!("{} got {offset} again although it is settled", self.spec.name));
        }
        if self.spec.ordering == Ordering::None || event.event.key().is_none() {
            return Ok(());
        }
        let is_before = |other: &&StoredEvent| {
            self.spec.topics.contains(&other.topic)
                && other.event.key() == event.event.key()
                && other.event.class() == event.event.class()
        };
        let earlier = bus.store.log[..offset.0 as usize].iter().filter(is_before);
        let unsettled = earlier.map(|other| other.position.offset).find(|other| !self.is_settled(bus, *other));
        unsettled.map_or(Ok(()), |other| {
            Err(format!("{} got {offset} before {other} of its key was settled", self.spec.name))
        })
    }

    /// Whether a row on disk says what became of the event.
    pub(crate) fn is_settled(&self, bus: &Bus, offset: Offset) -> bool {
        bus.store.is_given_up(self.spec.id, offset) || bus.store.is_acked(&self.spec.name, offset)
    }

    pub(crate) fn answer_read(&mut self, bus: &mut Bus) -> Result<(), String> {
        let Some((from, events_max)) = self.read else { return Ok(()) };
        let len = bus.random.within(1, 16).min(u64::from(events_max)) as usize;
        let start = from.0 as usize;
        let end = (start + len).min(bus.store.log.len());
        if start >= end {
            return Ok(());
        }
        self.read = None;
        let events = bus.store.log[start..end].to_vec();
        self.handle(bus, Input::Events { from, events: &events, next: Offset(end as u64) })
    }

    /// Advances one call by one stage.
    pub(crate) fn advance(&mut self, bus: &mut Bus) -> Result<(), String> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let index = bus.random.below(self.calls.len() as u64) as usize;
        if let Some(end) = self.calls[index].advance(bus)? {
            let call = self.calls.swap_remove(index);
            self.finish(bus, call, end);
        }
        Ok(())
    }

    fn finish(&mut self, bus: &mut Bus, call: Call, end: CallEnd) {
        bus.note(|| format!("{} ends {} with {end:?}", self.spec.name, call.event.position));
        let (ticket, event) = (call.invocation.ticket, call.event.clone());
        let ended = call.into_attempt().finish(bus.now, end);
        self.held.push(Held { ticket, event, ended });
    }

    /// An import of a call is durable.
    pub(crate) fn durable_import(&mut self, bus: &mut Bus, ticket: Ticket) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.invocation.ticket == ticket) {
            call.durable(bus);
        }
    }

    /// Submits what has gathered.
    pub(crate) fn submit(&mut self, bus: &mut Bus) -> Result<(), String> {
        if self.outstanding >= STEPS_OUTSTANDING_MAX {
            return Ok(());
        }
        let mut last = None;
        for held in std::mem::take(&mut self.held) {
            last = self.settle(bus, held)?.max(last);
        }
        self.machine.seal(&mut self.step);
        if self.step.writes.is_empty() && self.step.actions.is_empty() {
            return Ok(());
        }
        let writes = std::mem::take(&mut self.step.writes);
        let actions = std::mem::take(&mut self.step.actions);
        self.outstanding += 1;
        bus.push(writes, last, Done::Worker(self.index, actions));
        Ok(())
    }

    /// A step is durable.
    pub(crate) fn durable(&mut self, bus: &mut Bus, actions: Vec<Action>) -> Result<(), String> {
        self.outstanding -= 1;
        self.perform(bus, actions)
    }

    /// Hands the end of a call to ledger and machine.
    fn settle(&mut self, bus: &mut Bus, held: Held) -> Result<Option<LedgerStep>, String> {
        let Held { ticket, event, mut ended } = held;
        let is_live = self.machine.is_live(ticket);
        let mut rows = Vec::new();
        let mut last = None;
        if is_live {
            let kv = std::mem::take(&mut ended.transaction.kv);
            let stored = |key: &str| bus.store.kv(&self.spec.name, key);
            match bus.ledger.kv_commit(bus.now, &self.spec.name, &ended.transaction.reads, kv, stored) {
                Ok(Some((writes, step))) => {
                    rows.extend(writes);
                    last = Some(step);
                }
                Ok(None) => {}
                Err(_) => ended.verdict = Verdict::Conflict,
            }
        }
        let is_acked = is_live && ended.verdict == Verdict::Ack;
        let mut add = |settled: Option<(Write, LedgerStep)>| {
            if let Some((write, step)) = settled {
                rows.push(write);
                last = Some(step);
            }
        };
        for claim in ended.confirms.drain(..) {
            if is_acked {
                add(bus.ledger.confirm(bus.now, claim, None).ok());
            } else {
                add(bus.ledger.release(bus.now, claim, ClaimFate::Uncertain).unwrap_or(None));
            }
        }
        for end in ended.releases.drain(..) {
            add(bus.ledger.release(bus.now, end.claim, end.fate).unwrap_or(None));
        }
        if is_acked {
            rows.append(&mut follow_ups(&ended.transaction, &self.spec.name));
        }
        if !is_live {
            self.step.writes.append(&mut rows);
        }
        let (verdict, hold, pause) = (ended.verdict, ended.hold, ended.pause);
        self.handle(bus, Input::Finished { ticket, event, verdict, writes: rows, hold, pause })?;
        Ok(last)
    }

    /// Name, cheap to copy.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.spec.name)
    }
}
