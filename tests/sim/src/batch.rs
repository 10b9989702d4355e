//! Calls of the scripted plugin that several deliveries share: they return together, and they break together.
//!
//! A plugin of a subscription with batches settles at the call what it settles by import. Invariant: a call that broke ends alike for
//! each delivery that was not settled before.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::attempt::{Fact, Settlement};
use bugle_core::delivery::CallEnd;
use bugle_core::ids::{Offset, Ticket};
use bugle_core::spec::Ordering;
use bugle_core::step::Invocation;

use crate::bus::{Bus, Done};
use crate::call::Call;
use crate::rule::{self, Checked, must};
use crate::settle::Held;
use crate::worker::Worker;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// How many were handed over together, by the ticket of the first.
    started: BTreeMap<Ticket, u32>,
    /// The largest bound of a definition before the one of now: a batch may have gathered under it.
    pub(super) largest: u32,
    /// Deliveries whose shared call broke: the next attempt of each is alone.
    pub(super) broken: BTreeSet<Offset>,
    /// Verdicts by import that are in the gathering step.
    pub(super) settled: Vec<(Ticket, Settlement)>,
}

impl Worker {
    /// Whether others were handed over with it.
    pub(super) fn is_shared(&self, invocation: &Invocation) -> bool {
        let started = |first| self.batches.started.get(&first).copied().unwrap_or(0);
        invocation.batch.is_some_and(|batch| started(batch.first) > 1)
    }

    /// With whom a delivery is handed over.
    pub(super) fn check_batch(&mut self, bus: &Bus, invocation: &Invocation) -> Checked {
        let offset = invocation.position.offset;
        let what = || format!("{}: {invocation:?}", self.spec.name);
        let is_alone = invocation.batch.is_none() && invocation.wants_fresh;
        let must_be_alone = self.batches.broken.contains(&offset);
        must(rule::ALONE_AFTER_A_BREAK, is_alone || !must_be_alone, what)?;
        if let Some(batch) = invocation.batch {
            let log = &bus.disk.written;
            let lane = log.lane(offset).filter(|_| self.ordering == Ordering::ByKey);
            let mut members = self.calls.iter().filter(|call| is_in(call, batch.first));
            let has_key = lane.is_some() && members.any(|call| log.lane(call.event.position.offset) == lane);
            must(rule::SHARES_FAIRLY, !has_key && !invocation.wants_fresh, what)?;
            let count = self.batches.started.get(&batch.first).copied().unwrap_or(0);
            must(rule::SHARES_FAIRLY, count < self.spec.batch_max.max(self.batches.largest), || {
                format!("{}: {count} others", what())
            })?;
            *self.batches.started.entry(batch.first).or_default() += 1;
        }
        self.batches.broken.remove(&offset);
        Ok(())
    }

    /// Advances one delivery that is with the plugin by one stage.
    pub(crate) fn advance(&mut self, bus: &mut Bus) -> Checked {
        // The plugin runs, so what started is handed over.
        self.machine.handed_over();
        let open: Vec<usize> = (0..self.calls.len()).filter(|index| self.calls[*index].result.is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let index = open[bus.random.below(open.len() as u64) as usize];
        let Some(end) = self.calls[index].advance(bus, &mut self.machine)? else {
            self.take_settling(bus, index);
            return Ok(());
        };
        let batch = self.calls[index].invocation.batch;
        match (batch, &end) {
            (None, _) => {
                let call = self.calls.swap_remove(index);
                self.finish_unsettled(bus, call, end);
            }
            (Some(batch), CallEnd::Returned(_)) => {
                self.calls[index].result = Some(end);
                self.return_together(bus, batch.first);
            }
            (Some(batch), _) => self.break_together(bus, batch.first, &end),
        }
        Ok(())
    }

    /// A verdict takes effect at the call.
    fn take_settling(&mut self, bus: &mut Bus, index: usize) {
        let call = &mut self.calls[index];
        let Some(ended) = call.settling.take() else { return };
        let call = &self.calls[index];
        let is_acked = ended.verdict == bugle_core::delivery::Verdict::Ack;
        let end = if is_acked { CallEnd::Returned(Ok(())) } else { crate::call::retry(None) };
        call.ended(bus, &end, false);
        bus.note(|| format!("{} settles {} at the call: {:?}", self.spec.name, call.event.position, ended.verdict));
        let (ticket, event) = (call.invocation.ticket, call.event.clone());
        let is_shared = self.is_shared(&call.invocation);
        self.held.push(Held { ticket, event, ended: *ended, is_stray: false, is_shared, is_answered: true });
    }

    /// Has the calls that wait for it told what became of their verdicts, once everything submitted so far is durable.
    pub(super) fn answer_settled(&mut self, bus: &mut Bus) {
        for (ticket, settlement) in std::mem::take(&mut self.batches.settled) {
            if let Some(call) = self.calls.iter_mut().find(|call| call.invocation.ticket == ticket) {
                call.pending = Some(Fact::Settled(settlement));
                bus.push(Vec::new(), None, Done::Call(self.plan.index, ticket));
            }
        }
    }

    /// The plugin returns once it has a result for each of the call; now and then the list has another length.
    fn return_together(&mut self, bus: &mut Bus, first: Ticket) {
        if self.calls.iter().any(|call| is_in(call, first) && call.result.is_none()) {
            return;
        }
        if bus.fault(5) {
            return self.break_together(bus, first, &CallEnd::Trapped("returned too few results".to_owned()));
        }
        for mut call in self.take_members(first) {
            if let Some(end) = call.result.take() {
                self.finish_unsettled(bus, call, end);
            }
        }
    }

    /// The call ends without results.
    fn break_together(&mut self, bus: &mut Bus, first: Ticket, end: &CallEnd) {
        let members = self.take_members(first);
        let has_begun = members.iter().any(Call::has_begun);
        for call in members {
            let end = match end {
                CallEnd::NotStarted(_) if has_begun => CallEnd::Trapped("unreachable".to_owned()),
                _ => end.clone(),
            };
            self.finish_unsettled(bus, call, end);
        }
    }

    fn finish_unsettled(&mut self, bus: &mut Bus, call: Call, end: CallEnd) {
        if !call.is_settled() {
            self.finish(bus, call, end);
        }
    }

    fn take_members(&mut self, first: Ticket) -> Vec<Call> {
        let (members, others) = std::mem::take(&mut self.calls).into_iter().partition(|call| is_in(call, first));
        self.calls = others;
        members
    }

    /// Half of the calls that are out end on the old revision, the others are cut off.
    pub(super) fn cut_off_some(&mut self, bus: &mut Bus) {
        let first_of = |call: &Call| call.invocation.batch.map_or(call.invocation.ticket, |batch| batch.first);
        let firsts: BTreeSet<Ticket> = self.calls.iter().map(first_of).collect();
        for first in firsts {
            if bus.random.chance(50) {
                continue;
            }
            self.break_together(bus, first, &CallEnd::NotStarted("replaced".to_owned()));
        }
    }
}

fn is_in(call: &Call, first: Ticket) -> bool {
    call.invocation.batch.map_or(call.invocation.ticket, |batch| batch.first) == first
}
