//! The rules, each checked after every action: named for what would be wrong.

use bugle_core::ids::{Offset, Slot, TopicId};
use bugle_core::row::{DeadState, Parking, RunRow, WaitingRow};
use bugle_core::spec::{OnExhausted, Ordering};
use bugle_core::step::{Action, Step};
use bugle_core::subscription::{Bounds, Image, Input, Machine, Recovered};
use bugle_core::time::Timestamp;

use crate::world::{Call, World};

impl World {
    fn is_wanted(&self, offset: Offset) -> bool {
        let event = &self.log[offset.0 as usize];
        event.topic == TopicId(3) || event.topic == TopicId(1) && event.event.kind() == "wanted"
    }

    fn offsets(&self) -> impl Iterator<Item = Offset> + use<> {
        (0..self.log.len() as u64).map(Offset)
    }

    pub(crate) fn is_same_lane(&self, one: Offset, other: Offset) -> bool {
        let (one, other) = (&self.log[one.0 as usize].event, &self.log[other.0 as usize].event);
        self.spec.ordering == Ordering::ByKey
            && one.key().is_some()
            && one.key() == other.key()
            && one.class() == other.class()
    }

    /// An attempt is about to start.
    pub(crate) fn check_start(&self, call: Call) -> Result<(), String> {
        let offset = call.offset;
        let wrong = |what: &str| Err(format!("{call:?} started {what}"));
        if !self.is_wanted(offset) {
            return wrong("although nobody wants the event");
        }
        if self.written.has_outcome(offset) {
            return wrong("although it is settled");
        }
        if self.written.is_sought_over(offset) {
            return wrong("although a seek let go of it");
        }
        let is_cut_off = |other: &&Call| {
            let is_its = other.offset == offset || self.is_same_lane(other.offset, offset);
            is_its && !self.machine.is_live(other.ticket) && self.now < other.deadline
        };
        if let Some(other) = self.calls.iter().find(is_cut_off) {
            return wrong(&format!("while {other:?}, which a seek cancelled, may still run"));
        }
        let before = |other: &Offset| *other < offset && self.is_wanted(*other) && self.is_same_lane(*other, offset);
        if let Some(earlier) = self
            .offsets()
            .filter(before)
            .find(|earlier| !self.disk.has_outcome(*earlier) && !self.disk.is_let_go(*earlier))
        {
            return wrong(&format!("before {earlier} of its key was durably settled"));
        }
        let live: Vec<&Call> = self.calls.iter().filter(|call| self.machine.is_live(call.ticket)).collect();
        if live.iter().any(|other| other.offset == offset || self.is_same_lane(other.offset, offset)) {
            return wrong("while another of its lane is in flight");
        }
        if self.calls.iter().any(|other| other.ticket == call.ticket) {
            return wrong("under a ticket that was given before");
        }
        let spent = self.disk.waiting.get(&offset).map_or(0, WaitingRow::attempts);
        if call.attempt.0 != spent + 1 {
            return wrong(&format!("after {spent} attempts on disk"));
        }
        let parking = self.written.waiting.get(&offset).map(|row| row.parking).unwrap_or_default();
        let letter = match parking {
            Parking::Never => None,
            Parking::Parked => return wrong("although it waits for a person"),
            Parking::Released { generation } => Some(generation),
        };
        if call.letter != letter {
            return wrong(&format!("without the event of its letter: {letter:?}"));
        }
        if let Some(row) = self.disk.waiting.get(&offset).filter(|row| row.due > self.now) {
            return wrong(&format!("before it is due at {}", row.due.0));
        }
        Ok(())
    }

    /// After every input.
    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        let status = self.machine.status();
        let is_blocking = self.spec.on_exhausted == OnExhausted::Block;
        if !is_blocking && self.written.dead.values().any(|row| row.attempts > 4) {
            return Err("an event had more attempts than any limit allowed".to_owned());
        }
        if status.floor.0.max(status.read.0) as usize > self.log.len() {
            return Err(format!("the floor or the frontier passed the end of the log: {status:?}"));
        }
        let gone = status.let_go.map_or(Offset(0), |row| row.to);
        if status.run.drain_to.is_some_and(|end| status.read > end.max(gone)) {
            return Err(format!("read on although it drains: {status:?}"));
        }
        Ok(())
    }

    /// After every seal: rows and cursor tell the same story.
    pub(crate) fn check_rows(&self) -> Result<(), String> {
        let disk = &self.written;
        disk.check_totals()?;
        if self.spec.on_exhausted == OnExhausted::Block && disk.dead.values().any(|row| row.cause != "rejected") {
            return Err("a delivery that blocks was given up".to_owned());
        }
        for offset in self.offsets() {
            let (is_passed, has_outcome) = (disk.is_passed(offset), disk.has_outcome(offset));
            if is_passed && self.is_wanted(offset) && !has_outcome && !disk.is_let_go(offset) {
                return Err(format!("the cursor passed {offset}, and no row tells what became of it"));
            }
            if has_outcome && !is_passed {
                return Err(format!("{offset} is settled, and the cursor would deliver it again"));
            }
            if has_outcome && disk.waiting.contains_key(&offset) && !disk.is_parked_or_released(offset) {
                return Err(format!("{offset} is settled and waits"));
            }
            // What is let go leaves its letter as it is; a replay of that one makes a copy.
            let has_letter = disk.dead.get(&offset).is_some_and(|row| row.state == DeadState::Manual);
            if has_letter != disk.is_parked(offset) && !disk.is_let_go(offset) {
                return Err(format!(
                    "{offset} waits for a person without a letter that says so, or the other way round"
                ));
            }
            disk.check_told(offset, self.spec.settled.is_some())?;
            if disk.acked.contains(&offset) && !self.is_wanted(offset) {
                return Err(format!("{offset} was acked and nobody wants it"));
            }
        }
        Ok(())
    }

    /// After every seal: recovering from all writes so far gives the live state.
    pub(crate) fn check_recovery(&self, seed: u64, bounds: Bounds) -> Result<(), String> {
        let live = self.machine.image();
        let rows = self.written.rows();
        for (offset, row) in self.machine.waiting_rows() {
            if self.written.waiting.get(&offset) != Some(row) {
                return Err(format!(
                    "the row of {offset} is {row:?} and on disk {:?}",
                    self.written.waiting.get(&offset)
                ));
            }
        }
        if rows.paused != live.paused {
            return Err(format!("paused is {:?} and on disk {:?}", live.paused, rows.paused));
        }
        if rows.run.unwrap_or_default() != live.run {
            return Err(format!("runs as {:?} and on disk {:?}", live.run, rows.run));
        }
        let rows = Recovered { paused: None, run: None, ..rows };
        let bounds = Bounds { queued_max: 10_000, lanes_max: 10_000, waiting_max: 10_000, ready_min: 20_000, ..bounds };
        let mut recovered = Machine::recover_bounded(self.spec.clone(), Slot(0), seed, rows, bounds);
        self.read_up_to(&mut recovered, live.read);
        let image = Image { paused: live.paused.clone(), run: live.run, ..recovered.image() };
        if image == live {
            Ok(())
        } else {
            Err(format!("a restart would not find what is:\nlive      {live:?}\nrecovered {image:?}"))
        }
    }

    /// Has a recovered machine read as far as the live one, at a time when nothing is due.
    fn read_up_to(&self, machine: &mut Machine, end: Offset) {
        let mut step = Step::default();
        machine.handle(Timestamp(0), Input::Tick, &mut step);
        let from = machine.status().read;
        let asks = |action: &Action| matches!(action, Action::Read { from: asked, .. } if *asked == from);
        if from < end && step.immediate.iter().any(asks) {
            let events = &self.log[from.0 as usize..end.0 as usize];
            machine.handle(Timestamp(0), Input::Events { from, events, next: end }, &mut step);
        }
    }

    /// After the second phase.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        for offset in self.offsets() {
            if self.is_wanted(offset) != self.disk.has_outcome(offset) && !self.disk.is_let_go(offset) {
                return Err(format!(
                    "{offset}: wanted {}, settled {}",
                    self.is_wanted(offset),
                    !self.is_wanted(offset)
                ));
            }
        }
        let status = self.machine.status();
        let is_clean =
            self.disk.waiting.is_empty() && status.waiting == 0 && status.in_flight == 0 && status.ready == 0;
        let is_usual = status.run == RunRow::default();
        if is_clean && is_usual && status.queued == 0 && status.overflowed == 0 {
            Ok(())
        } else {
            Err(format!("something is left over: {status:?}"))
        }
    }
}
