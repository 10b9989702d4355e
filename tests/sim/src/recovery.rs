//! A restart at any moment must find what was: the live machine against one recovered from all rows written so far.
//!
//! Used after a seal, when the rows are complete. Knows nothing of what the rows mean. Invariant: it changes nothing.

use bugle_core::ids::{Offset, Slot};
use bugle_core::spec::Subscription;
use bugle_core::step::{Action, Step};
use bugle_core::subscription::{Bounds, Image, Input, Machine, Recovered};
use bugle_core::time::Timestamp;

use crate::bus::{Bus, Item};
use crate::rows::Rows;
use crate::rule::{self, Checked, broken, must};
use crate::worker::Worker;

impl Worker {
    /// After a seal: recovering from all writes so far, on disk or not, gives the live state.
    pub(crate) fn check_recovery(&self, bus: &Bus) -> Checked {
        let mut live = self.machine.image();
        let rows = self.all_rows(bus)?.recovered();
        let what = || format!("{}: paused is {:?} and on disk {:?}", self.spec.name, live.paused, rows.paused);
        must(rule::RECOVERS_AS_IT_LIVED, rows.paused == live.paused, what)?;
        let run = rows.run.unwrap_or_default();
        let what = || format!("{}: it runs as {:?} and on disk {run:?}", self.spec.name, live.run);
        must(rule::RECOVERS_AS_IT_LIVED, run == live.run, what)?;
        // Neither keeps it from reading what is compared.
        let rows = Recovered { paused: None, run: None, ..rows };
        let spec = Subscription { ordering: self.ordering, ..self.spec.clone() };
        let mut recovered = Machine::recover_bounded(spec, Slot(0), self.plan.seed, rows, self.wide_bounds());
        read_up_to(&mut recovered, live.read, bus);
        let mut image = Image { paused: live.paused.clone(), run: live.run, ..recovered.image() };
        if self.leave_out_unwanted(&mut live, bus) {
            // Without them its floor can be higher, and what is below the floor counts as read.
            image.read = image.read.min(live.read);
        }
        if image == live {
            return Ok(());
        }
        let what = format!("{}:\n  live      {live:?}\n  recovered {image:?}", self.spec.name);
        broken(rule::RECOVERS_AS_IT_LIVED, what)
    }

    /// Bounds within which a recovered machine reads the whole log at once; the queue of a lane is as short as it was.
    fn wide_bounds(&self) -> Bounds {
        Bounds { queued_max: 10_000, lanes_max: 10_000, waiting_max: 10_000, ready_min: 20_000, ..self.plan.bounds }
    }

    /// What is on disk, on the way to it, and gathered.
    fn all_rows(&self, bus: &Bus) -> Checked<Rows> {
        let mut rows = bus.disk.written.rows(self.spec.id).clone();
        let queued = bus.queue.iter().filter_map(|item| match item {
            Item::Writes { writes, .. } => Some(writes),
            Item::Publish { .. } | Item::Hello { .. } | Item::Release | Item::Cancel { .. } | Item::Callback { .. } => {
                None
            }
        });
        for write in queued.flatten().chain(&self.step.writes) {
            if write.subscription() == Some(self.spec.id) {
                rows.apply(write)?;
            }
        }
        Ok(rows)
    }

    /// What was read under an earlier filter and not tried yet is not read again under this one. Whether there was any.
    fn leave_out_unwanted(&self, live: &mut Image, bus: &Bus) -> bool {
        let before = live.unsettled.len();
        let log = &bus.disk.written.log;
        let is_wanted = |offset: &Offset| log.get(offset.0 as usize).is_some_and(|event| self.spec.wants(event));
        let waiting = &live.waiting;
        live.unsettled.retain(|offset| waiting.contains_key(offset) || is_wanted(offset));
        live.unsettled.len() < before
    }
}

/// Has a recovered machine read as far as the live one, at a time when nothing is due.
fn read_up_to(machine: &mut Machine, end: Offset, bus: &Bus) {
    let mut step = Step::default();
    machine.handle(Timestamp(0), Input::Tick, &mut step);
    let from = machine.status().read;
    let asks = |action: &Action| matches!(action, Action::Read { from: asked, .. } if *asked == from);
    if from < end && step.immediate.iter().any(asks) {
        let events = &bus.disk.written.log[from.0 as usize..end.0 as usize];
        machine.handle(Timestamp(0), Input::Events { from, events, next: end }, &mut step);
    }
}
