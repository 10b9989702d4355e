//! The worker of one subscription, driving its machine as the host does: immediate actions at once, the others after the commit.
//!
//! `settle.rs` hands the ends of calls to ledger and machine, `check.rs` judges each start. Invariant: the end of a call with claims
//! or kv changes enters the queue in the ledger's order, so ends wait for the submit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bugle_core::delivery::{CallEnd, Verdict};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Slot, Ticket};
use bugle_core::row::UnknownRow;
use bugle_core::seeded::{Bug, is_planted};
use bugle_core::spec::{Ordering, Subscription};
use bugle_core::step::{Action, CatalogKind, Invocation, Kept, Load, Step, Write};
use bugle_core::subscription::{Bounds, Input, LateSends, Machine, Resolution};

use crate::batch::Batches;
use crate::bus::{Bus, Done};
use crate::call::{Call, Script};
use crate::evidence::Evidence;
use crate::rule::{self, Checked, must};
use crate::settle::Held;
use crate::wishes::Wishes;

/// What a worker is made of, and made of again after a restart.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) index: usize,
    pub(crate) script: Script,
    pub(crate) bounds: Bounds,
    /// Dice of its machine.
    pub(crate) seed: u64,
    /// Number of its first definition.
    pub(crate) definition: usize,
    /// Events of one answer to a read at most.
    pub(crate) read_max: u64,
    /// Steps on their way to the disk at once; the machine allows eight.
    pub(crate) steps_outstanding_max: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) plan: Plan,
    pub(crate) spec: Subscription,
    /// The ordering the machine was made with: a new one counts when it is made again.
    pub(crate) ordering: Ordering,
    pub(crate) machine: Machine,
    pub(crate) step: Step,
    pub(crate) calls: Vec<Call>,
    pub(super) held: Vec<Held>,
    pub(super) batches: Batches,
    pub(crate) read: Option<(Offset, u32)>,
    /// Waiting deliveries that are on disk only and were asked for.
    loads: Vec<Load>,
    /// Rows of this kind are to be shown to the machine, from after this one on.
    pub(super) trims: BTreeMap<Kept, Option<Offset>>,
    /// What a person says of an unknown result waits for the submit, as it has a part in the ledger.
    pub(super) resolving: Vec<(UnknownRow, Resolution)>,
    /// The same of records that nothing followed.
    pub(super) late: Vec<LateSends>,
    /// Events that were asked for, one by one.
    fetches: Vec<(Ticket, StoredEvent)>,
    outstanding: u64,
    pub(crate) wishes: Wishes,
    /// Deliveries that may be in flight: a lower concurrency counts once fewer are.
    pub(crate) places: usize,
    /// More may have been read ahead than without a boost.
    pub(crate) was_boosted: bool,
    /// Words of offsets whose rows cannot change any more.
    pub(crate) checked_to: usize,
    /// Compare with a recovered machine at the next seal.
    pub(crate) must_compare: bool,
}

impl Worker {
    pub(crate) fn new(plan: Plan, bus: &Bus) -> Worker {
        let spec = bus.definitions[plan.definition].clone();
        Worker::recovered(plan, spec, Wishes::default(), bus)
    }

    fn recovered(plan: Plan, spec: Subscription, wishes: Wishes, bus: &Bus) -> Worker {
        let rows = bus.disk.synced.rows(spec.id).recovered();
        Worker {
            machine: Machine::recover_bounded(spec.clone(), Slot(0), plan.seed, rows, plan.bounds),
            ordering: spec.ordering,
            places: spec.concurrency as usize,
            was_boosted: false,
            spec,
            plan,
            step: Step::default(),
            calls: Vec::new(),
            held: Vec::new(),
            batches: Batches::default(),
            read: None,
            loads: Vec::new(),
            trims: BTreeMap::new(),
            resolving: Vec::new(),
            late: Vec::new(),
            fetches: Vec::new(),
            outstanding: 0,
            wishes,
            checked_to: 0,
            must_compare: false,
        }
    }

    /// The worker after a restart: only what is on disk is left, and what is known from outside.
    pub(crate) fn restarted(mut self, bus: &mut Bus) -> Worker {
        for call in &self.calls {
            call.excuse(bus);
        }
        self.lose(&mut bus.evidence, &self.step.actions);
        // Their leases may have run out in a step that survived, without anybody being told.
        let held = self.held.iter().map(|held| held.event.position.offset);
        for offset in self.calls.iter().map(|call| call.event.position.offset).chain(held) {
            *bus.evidence.ran.entry((self.spec.id, offset)).or_default() += 1;
        }
        let definition = bus.disk.synced.rows(self.spec.id).definition.unwrap_or(self.plan.definition);
        let spec = bus.definitions[definition].clone();
        self.wishes.changed(&self.spec, &spec, &bus.disk.synced.log);
        Worker::recovered(self.plan, spec, self.wishes, bus)
    }

    /// Whether nothing is left to do with a log of this length.
    pub(crate) fn is_at_rest(&self, end: Offset) -> bool {
        let is_idle = self.calls.is_empty()
            && self.held.is_empty()
            && self.resolving.is_empty()
            && self.late.is_empty()
            && self.fetches.is_empty()
            && self.loads.is_empty()
            && self.outstanding == 0;
        is_idle && self.step.is_empty() && self.machine.status().floor == end
    }

    /// Whether a step of it is not durable yet.
    pub(crate) fn has_steps_out(&self) -> bool {
        self.outstanding > 0
    }

    pub(crate) fn handle(&mut self, bus: &mut Bus, input: Input<'_>) -> Checked {
        let known = self.step.actions.len();
        self.machine.handle(bus.now, input, &mut self.step);
        self.check_expiry(bus, known)?;
        let immediate = std::mem::take(&mut self.step.immediate);
        self.perform(bus, immediate)
    }

    pub(crate) fn perform(&mut self, bus: &mut Bus, actions: Vec<Action>) -> Checked {
        for action in actions {
            match action {
                Action::Read { from, events_max } => self.read = Some((from, events_max)),
                Action::Invoke(invocation) => self.start(bus, invocation)?,
                Action::Fetch(invocation) => self.fetches.push((invocation.ticket, self.event(bus, &invocation))),
                Action::Load(load) => self.loads.push(load),
                Action::Stuck { .. } | Action::BacklogFull { .. } | Action::Expired { .. } => {}
                Action::Trim(kept) => drop(self.trims.insert(kept, None)),
                // The call may go on; its ticket is dead.
                Action::Cancel { ticket } => self.lapsed(bus, ticket),
                Action::Paused { reason } => bus.note(|| format!("{} paused: {reason}", self.spec.name)),
            }
        }
        Ok(())
    }

    /// These actions are never run.
    pub(crate) fn lose(&self, evidence: &mut Evidence, actions: &[Action]) {
        for action in actions {
            if let Action::Invoke(invocation) = action {
                *evidence.ran.entry((self.spec.id, invocation.position.offset)).or_default() += 1;
            }
        }
    }

    /// The event of a delivery: as published, or as it is in the letter from which it is tried again.
    pub(crate) fn event(&self, bus: &Bus, invocation: &Invocation) -> StoredEvent {
        let offset = invocation.position.offset;
        let letter = bus.disk.written.rows(self.spec.id).dead.get(&offset).filter(|_| invocation.letter.is_some());
        letter.map_or_else(|| bus.disk.written.log[offset.0 as usize].clone(), |letter| letter.event.clone())
    }

    fn start(&mut self, bus: &mut Bus, invocation: Invocation) -> Checked {
        let event = self.event(bus, &invocation);
        if !self.machine.is_live(invocation.ticket) {
            // Its lease ran out while its step was on the way to the disk: an attempt without a call.
            *bus.evidence.ran.entry((self.spec.id, event.position.offset)).or_default() += 1;
            self.batches.broken.remove(&event.position.offset);
            return self.handle(bus, Input::NeverRan { ticket: invocation.ticket });
        }
        if event.event.is_expired(bus.now) {
            // Its step was long on the way to the disk.
            self.batches.broken.remove(&event.position.offset);
            let verdict = Verdict::NotStarted("its time has passed".to_owned());
            let (ticket, writes) = (invocation.ticket, Vec::new());
            return self.handle(bus, Input::Finished { ticket, event, verdict, writes, hold: None, pause: None });
        }
        must(rule::ERASED_IS_GONE, !event.event.is_erased(), || {
            format!("{} starts {}, which is erased", self.spec.name, event.position)
        })?;
        self.check_start(bus, &invocation, &event)?;
        self.check_batch(bus, &invocation)?;
        bus.evidence.attempts += 1;
        bus.note(|| {
            let Invocation { ticket, position, attempt, batch, .. } = &invocation;
            format!("{} starts {position} attempt {attempt} as {ticket}, batch {batch:?}", self.spec.name)
        });
        self.calls.push(Call::new(self.plan.index, &self.spec, self.plan.script, invocation, event));
        Ok(())
    }

    /// The attempt is spent, though its call runs or waits for the submit.
    fn lapsed(&mut self, bus: &mut Bus, ticket: Ticket) {
        if let Some(call) = self.calls.iter().find(|call| call.invocation.ticket == ticket) {
            *bus.evidence.ran.entry(call.place()).or_default() += u32::from(!self.is_shared(&call.invocation));
            call.excuse(bus);
        } else if let Some(held) = self.held.iter().find(|held| held.ticket == ticket) {
            let is_paid = u32::from(!held.is_shared);
            *bus.evidence.ran.entry((self.spec.id, held.event.position.offset)).or_default() += is_paid;
        }
        bus.note(|| format!("{}: the lease of {ticket} lapsed", self.spec.name));
    }

    /// Hands in events that were asked for one by one.
    pub(crate) fn answer_fetches(&mut self, bus: &mut Bus) -> Checked {
        for (ticket, event) in std::mem::take(&mut self.fetches) {
            self.needs(bus, &event)?;
            self.handle(bus, Input::Fetched { ticket, event: Some(event) })?;
        }
        for Load { number, position } in std::mem::take(&mut self.loads) {
            let row = bus.disk.synced.rows(self.spec.id).waiting(position.offset).cloned();
            if row.is_some() {
                bus.disk.needs(position.offset, &format!("{}, loading,", self.spec.name))?;
            }
            let found = row.map(|row| (row, bus.disk.synced.log[position.offset.0 as usize].clone()));
            self.handle(bus, Input::Loaded { number, found })?;
        }
        Ok(())
    }

    /// Whether there is something to read.
    pub(crate) fn can_read(&self, bus: &Bus) -> bool {
        self.read.is_some_and(|(from, _)| from < bus.tail)
    }

    /// Answers the read that was asked for, with a part of what there is.
    pub(crate) fn answer_read(&mut self, bus: &mut Bus) -> Checked {
        let Some((from, events_max)) = self.read else { return Ok(()) };
        let len = bus.random.within(1, self.plan.read_max).min(u64::from(events_max));
        let end = Offset(from.0.saturating_add(len)).min(bus.tail);
        if from >= end {
            return Ok(());
        }
        self.read = None;
        let mut events = bus.disk.written.log[from.0 as usize..end.0 as usize].to_vec();
        let covered = self.spec.covered();
        events.iter().filter(|event| covered.contains(&event.topic)).try_for_each(|event| self.needs(bus, event))?;
        events.retain(|event| bus.disk.has(event));
        self.handle(bus, Input::Events { from, events: &events, next: end })
    }

    /// The event must be there, unless it was sought past since it was asked for: the machine drops what it is told of that.
    fn needs(&self, bus: &Bus, event: &StoredEvent) -> Checked {
        let offset = event.position.offset;
        if offset < self.machine.floor() { Ok(()) } else { bus.disk.needs(offset, &self.spec.name) }
    }

    /// The read that was asked for meets a bad record: the subscription stops there.
    pub(crate) fn fail_read(&mut self, bus: &mut Bus) -> Checked {
        if let Some((ticket, _)) = self.fetches.pop() {
            return self.handle(bus, Input::Fetched { ticket, event: None });
        }
        let Some((from, _)) = self.read.filter(|(from, _)| *from < bus.tail) else { return Ok(()) };
        self.read = None;
        if is_planted(Bug::SkippedBadRecord) {
            return self.handle(bus, Input::Events { from, events: &[], next: from.next() });
        }
        let reason = format!("could not read the log at {from}");
        self.handle(bus, Input::Pause { by: "host".to_owned(), reason })
    }

    pub(super) fn finish(&mut self, bus: &mut Bus, call: Call, end: CallEnd) {
        bus.note(|| {
            format!("{} ends {} attempt {}: {end:?}", self.spec.name, call.event.position, call.invocation.attempt)
        });
        let is_shared = self.is_shared(&call.invocation);
        call.ended(bus, &end, is_shared);
        let (ticket, event, is_stray) = (call.invocation.ticket, call.event.clone(), call.is_claiming());
        let ended = call.into_attempt().finish(bus.now, end);
        self.held.push(Held { ticket, event, ended, is_stray, is_shared, is_answered: false });
    }

    /// A new revision of the plugin: some of the calls that are out end on the old one, others are cut off.
    pub(crate) fn redeploy(&mut self, bus: &mut Bus) -> Checked {
        bus.note(|| format!("{} gets a new revision with {} calls out", self.spec.name, self.calls.len()));
        self.cut_off_some(bus);
        let plugin = format!("script-{}", bus.random.below(100)).as_str().into();
        self.reconfigure(bus, Subscription { plugin, ..self.spec.clone() })
    }

    /// A new definition, written with the step that it takes effect in.
    pub(crate) fn reconfigure(&mut self, bus: &mut Bus, spec: Subscription) -> Checked {
        self.wishes.changed(&self.spec, &spec, &bus.disk.written.log);
        self.batches.largest = self.batches.largest.max(self.spec.batch_max);
        self.spec = spec.clone();
        self.places = self.places.max(self.allowed());
        bus.definitions.push(spec.clone());
        self.handle(bus, Input::Reconfigure(spec))?;
        let number = bus.definitions.len() - 1;
        self.step.writes.push(Write::Catalog {
            kind: CatalogKind::Subscription,
            key: self.spec.id.to_string(),
            value: Some(number.to_string().into_bytes()),
        });
        Ok(())
    }

    /// The import that a call waited for is durable.
    pub(crate) fn durable_import(&mut self, bus: &Bus, ticket: Ticket) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.invocation.ticket == ticket) {
            call.durable(bus);
        }
    }

    /// Submits what has gathered.
    pub(crate) fn submit(&mut self, bus: &mut Bus) -> Checked {
        if self.outstanding >= self.plan.steps_outstanding_max {
            return Ok(());
        }
        let mut last = None;
        for held in std::mem::take(&mut self.held) {
            last = self.settle(bus, held)?.max(last);
        }
        last = self.resolve_all(bus)?.max(last);
        last = self.hand_on_late(bus).max(last);
        self.machine.seal(&mut self.step);
        if std::mem::take(&mut self.must_compare) {
            self.check_recovery(bus)?;
        }
        if self.step.writes.is_empty() && self.step.actions.is_empty() {
            self.answer_settled(bus);
            return Ok(());
        }
        let writes = std::mem::take(&mut self.step.writes);
        let actions = std::mem::take(&mut self.step.actions);
        self.outstanding += 1;
        bus.push(writes, last, Done::Worker(self.plan.index, actions));
        self.answer_settled(bus);
        Ok(())
    }

    /// A step is durable.
    pub(crate) fn durable(&mut self, bus: &mut Bus, actions: Vec<Action>) -> Checked {
        self.outstanding -= 1;
        self.perform(bus, actions)
    }

    /// Name, cheap to copy.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.spec.name)
    }
}
