//! The checks: of each start, of the rows after each batch, of the receipts, and of everything at the end.
//!
//! They look at evidence from outside of the core's machines. Invariant: a check names the rule that was broken and the event.

use std::collections::BTreeMap;

use bugle_core::event::StoredEvent;
use bugle_core::ids::Offset;
use bugle_core::row::WaitingRow;
use bugle_core::spec::Ordering;
use bugle_core::step::{Action, Invocation};

use crate::bus::Bus;
use crate::call::COUNTERS;
use crate::definition::CONCURRENCY_MAX;
use crate::operate::BOOST_MAX;
use crate::rule::{self, Checked, broken, must};
use crate::store::Store;
use crate::worker::Worker;
use crate::world::{ORDERS, World};

/// A machine that reads in several rounds keeps at most this many times its read-ahead.
const READ_AHEAD_TIMES: usize = 2;

impl Worker {
    /// An attempt is about to start.
    pub(crate) fn check_start(&mut self, bus: &Bus, invocation: &Invocation, event: &StoredEvent) -> Checked {
        let (written, synced) = (bus.disk.written.rows(self.spec.id), bus.disk.synced.rows(self.spec.id));
        let offset = event.position.offset;
        let what = |of: &str| format!("{} starts {offset} attempt {} {of}", self.spec.name, invocation.attempt);
        let is_settled = written.is_told(offset) || written.is_gone(offset);
        must(rule::SETTLED_STAYS_SETTLED, !is_settled, || what("although a row tells its end"))?;
        self.wishes.see(&self.spec, &bus.disk.written.log);
        must(rule::WANTED_ONLY, self.wishes.may(offset), || what("although it never wanted it"))?;
        let deliver_at = event.event.timing().deliver_at;
        let is_due = deliver_at.is_none_or(|at| at <= event.received && at <= bus.now);
        must(rule::NOT_BEFORE_ITS_TIME, is_due, || what("which is scheduled for later"))?;
        let spent = synced.waiting(offset).map_or(0, WaitingRow::attempts);
        let ran = bus.evidence.ran.get(&(self.spec.id, offset)).copied().unwrap_or(0);
        let number = invocation.attempt.0;
        must(rule::ATTEMPTS_ARE_COUNTED, number == spent + 1, || what(&format!("with {spent} spent on disk")))?;
        must(rule::ATTEMPTS_ARE_COUNTED, number <= ran + 1, || what(&format!("after {ran} that ran")))?;
        let due = synced.waiting(offset).map_or(bus.now, |row| row.due);
        must(rule::NOT_BEFORE_DUE, due <= bus.now, || what(&format!("at {} and is due at {}", bus.now.0, due.0)))?;
        let live = self.calls.iter().filter(|call| self.machine.is_live(call.invocation.ticket));
        let places = self.places.max(self.allowed());
        must(rule::WITHIN_CONCURRENCY, live.clone().count() < places, || what("beside too many others"))?;
        let lane = bus.disk.written.lane(offset).filter(|_| self.ordering == Ordering::ByKey);
        let Some(lane) = lane else { return Ok(()) };
        let is_of_lane = |other: Offset| bus.disk.written.lane(other) == Some(lane);
        let has_other = live.into_iter().any(|call| is_of_lane(call.event.position.offset));
        must(rule::ONE_PER_LANE, !has_other, || what("while another of its key is in flight"))?;
        let earlier = bus.disk.written.in_lane(lane).iter().take_while(|other| **other < offset);
        let is_settled = |other: Offset| synced.is_told(other) || synced.is_gone(other);
        let unsettled = earlier.filter(|other| self.wishes.must(**other)).find(|other| !is_settled(**other));
        if let Some(other) = unsettled {
            return broken(rule::SETTLED_BEFORE_NEXT, what(&format!("before {other} of its key is settled on disk")));
        }
        let hold = bus.evidence.holds.get(&(self.spec.id, lane));
        let held = hold.filter(|(by, until)| synced.is_told(*by) && bus.now < *until && *by != offset);
        match held {
            Some((by, until)) => {
                broken(rule::HELD_LANE_RESTS, what(&format!("while {by} keeps the lane closed until {}", until.0)))
            }
            None => Ok(()),
        }
    }

    /// After an input: no attempt was started on what is past its time, counted from this action of the step on.
    pub(crate) fn check_expiry(&self, bus: &Bus, known: usize) -> Checked {
        let new = self.step.actions.get(known..).unwrap_or_default();
        for action in new.iter().chain(&self.step.immediate) {
            let Action::Invoke(invocation) = action else { continue };
            let event = self.event(bus, invocation).event;
            // Nobody tells the machine what was erased: it hears of it with the event.
            let is_in_time = !event.is_expired(bus.now) || event.is_erased();
            must(rule::NOT_AFTER_ITS_TIME, is_in_time, || {
                format!("{} starts {} at {}", self.spec.name, invocation.position, bus.now.0)
            })?;
        }
        Ok(())
    }

    /// After each batch: rows and cursor tell the same story.
    pub(crate) fn check_rows(&mut self, store: &Store) -> Checked {
        self.wishes.see(&self.spec, &store.log);
        self.wishes.erased(&store.erased);
        let rows = store.rows(self.spec.id);
        for word in self.checked_to..store.log.len().div_ceil(64) {
            let (passed, told) = (rows.passed(word), rows.told.word(word));
            let silent = passed & self.wishes.must_word(word) & !told & !rows.let_gone.word(word);
            let open = told & !passed;
            let unwanted = told & !self.wishes.may_word(word);
            if silent | open | unwanted == 0 {
                continue;
            }
            let offset = |bits: u64| word as u64 * 64 + u64::from(bits.trailing_zeros());
            let name = &self.spec.name;
            if silent != 0 {
                let what = format!("{name}: the cursor passed {}, and no row tells of it", offset(silent));
                return broken(rule::TOLD_WHEN_PASSED, what);
            }
            if open != 0 {
                let what = format!("{name}: a row tells of {}, and the cursor would deliver it again", offset(open));
                return broken(rule::TOLD_WHEN_PASSED, what);
            }
            return broken(rule::WANTED_ONLY, format!("{name}: {} was settled, and nobody wants it", offset(unwanted)));
        }
        // Nothing below the floor changes: what is told is told once, and the floor never falls.
        self.checked_to = rows.whole_words_passed();
        Ok(())
    }

    /// After every step: the machine keeps within its bounds, give or take one read.
    pub(crate) fn check_bounds(&mut self) -> Checked {
        let (status, bounds) = (self.machine.status(), self.plan.bounds);
        let allowed = self.allowed();
        self.places = if status.in_flight <= allowed { allowed } else { self.places.max(allowed) };
        self.was_boosted |= self.machine.boost() > 1;
        let concurrency_max = if self.was_boosted { BOOST_MAX * CONCURRENCY_MAX } else { CONCURRENCY_MAX };
        let ahead = READ_AHEAD_TIMES * bounds.ready_min.max(4 * concurrency_max as usize);
        let has_room = status.ready <= ahead && status.queued <= bounds.queued_max + ahead;
        must(rule::BOUNDED_MEMORY, has_room, || format!("{}: {status:?} with {bounds:?}", self.spec.name))
    }

    /// Deliveries that may be started now beside those in flight.
    pub(crate) fn allowed(&self) -> usize {
        (self.spec.concurrency * self.machine.boost()) as usize
    }

    fn check_settled(&self, store: &Store) -> Checked {
        let (rows, name) = (store.rows(self.spec.id), &self.spec.name);
        for event in &store.log {
            let offset = event.position.offset;
            let is_settled = rows.is_told(offset) || rows.is_gone(offset) || !self.wishes.must(offset);
            must(rule::SETTLES_AT_LAST, is_settled, || format!("{name}: nothing became of {offset}"))?;
        }
        let counted: u64 = COUNTERS.iter().map(|counter| store.number(name, counter)).sum();
        let acked = rows.acked.count();
        must(rule::EFFECTS_WITH_THE_ACK, counted == acked, || {
            format!("{name} acked {acked} events and counted {counted} in its kv store")
        })
    }
}

impl World {
    /// After a batch was written.
    pub(crate) fn check_batch(&mut self) -> Checked {
        for worker in &mut self.workers {
            worker.check_rows(&self.bus.disk.written)?;
        }
        Ok(())
    }

    /// A receipt names a place: the event is there, and will be after a crash.
    pub(crate) fn check_receipt(&self, producer: usize, number: u64, place: Offset) -> Checked {
        let name = &self.producers[producer].name;
        let stored = self.bus.disk.synced.log.get(place.0 as usize);
        let is_it =
            stored.is_some_and(|event| event.event.source() == name && event.event.id().parse::<u64>() == Ok(number));
        must(rule::CONFIRMED_IS_STORED, is_it, || format!("{name}: event {number} was confirmed at {place}"))
    }

    /// After a restart: every receipt that was ever given still holds, and acks are those of calls that returned.
    pub(crate) fn check_survivors(&self) -> Checked {
        for (index, producer) in self.producers.iter().enumerate() {
            producer.confirmed.iter().try_for_each(|(number, place)| self.check_receipt(index, *number, *place))?;
        }
        self.check_callbacks()?;
        self.check_acks()
    }

    fn check_acks(&self) -> Checked {
        for worker in &self.workers {
            let rows = self.bus.disk.written.rows(worker.spec.id);
            for event in &self.bus.disk.written.log {
                let place = (worker.spec.id, event.position.offset);
                let is_right = !rows.acked.has(place.1) || self.bus.evidence.returned.contains(&place);
                let what = || format!("{}: {} is acked, and no call returned so", worker.spec.name, place.1);
                must(rule::ACK_AT_THE_RETURN, is_right, what)?;
            }
        }
        Ok(())
    }

    /// After everything settled.
    pub(crate) fn check_end(&mut self) -> Checked {
        self.check_batch()?;
        self.check_survivors()?;
        self.workers.iter().try_for_each(|worker| worker.check_settled(&self.bus.disk.synced))?;
        self.check_log()?;
        let (store, send) = (&self.bus.disk.synced, &self.workers[1].spec.name);
        let (sent, confirms) = (store.number(send, "sent"), store.confirms);
        must(rule::EFFECTS_WITH_THEIR_CLAIM, sent == confirms, || {
            format!("{confirms} claims were done, and {sent} were counted with them")
        })
    }

    /// Each event of each producer is in the log once, and those of a key in the order in which they were published.
    fn check_log(&self) -> Checked {
        for (index, producer) in self.producers.iter().enumerate() {
            let mut places: BTreeMap<u64, Offset> = BTreeMap::new();
            let mut stored: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            let is_copy = |event: &StoredEvent| event.event.timing().released_from.is_some();
            let is_its = |event: &&StoredEvent| {
                event.topic == ORDERS && event.event.source() == producer.name && !is_copy(event)
            };
            for event in self.bus.disk.synced.log.iter().filter(is_its) {
                let number: u64 = event.event.id().parse().unwrap_or(u64::MAX);
                let is_new = places.insert(number, event.position.offset).is_none();
                must(rule::ONE_EVENT_PER_ID, is_new, || format!("event {number} of {} is there twice", producer.name))?;
                let Some(key) = event.event.key() else { continue };
                let before = stored.entry(key).or_default();
                let overtaking = before.iter().find(|by| **by > number && !producer.may_be_overtaken(number, **by));
                must(rule::PUBLISHED_IN_ORDER, overtaking.is_none(), || {
                    format!("{key}: {number} of {} was stored after {overtaking:?}", producer.name)
                })?;
                before.push(number);
            }
            let is_all = places == producer.confirmed && places.len() as u64 == producer.made();
            let what = || format!("producer {index} has other receipts than the log has events");
            must(rule::CONFIRMED_IS_STORED, is_all, what)?;
        }
        Ok(())
    }
}
