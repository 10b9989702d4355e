//! Starting attempts: which delivery is next, and whether it must wait for the disk first.
//!
//! Invariant: never more deliveries in flight than the subscription's concurrency, and none while it is paused; what follows a
//! settlement of the same key starts only after that settlement is durable.

use alloc::collections::VecDeque;

use super::leases::{Disposal, Grant, LEASES_MAX, Purpose};
use super::{Machine, STEPS_OUTSTANDING_MAX};
use crate::event::Class;
use crate::ids::{Attempt, KeyGeneration, Offset};
use crate::lane::{LaneId, LaneState};
use crate::row::Parking;
use crate::step::{Action, Invocation, Step};
use crate::time::Timestamp;

/// While normal events keep coming, one low event starts after this many others, so that it does not starve.
const OTHERS_PER_LOW: u32 = 16;

/// Events fetched at once to dispose of their deliveries: they take no place of the concurrency, only memory.
const FETCHES_MAX: usize = 64;

/// A delivery that could start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) offset: Offset,
    pub(crate) lane: Option<LaneId>,
}

/// Deliveries that only wait for a free place, by class.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    critical: VecDeque<Item>,
    normal: VecDeque<Item>,
    low: VecDeque<Item>,
    /// Starts since the last low one.
    since_low: u32,
}

impl Ready {
    pub(crate) fn len(&self) -> usize {
        self.critical.len() + self.normal.len() + self.low.len()
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<Item> {
        match class {
            Class::Critical => &mut self.critical,
            Class::Normal => &mut self.normal,
            Class::Low => &mut self.low,
        }
    }

    pub(crate) fn push(&mut self, class: Class, item: Item) {
        self.queue(class).push_back(item);
    }

    /// Puts a delivery before all others of its class.
    pub(crate) fn push_first(&mut self, class: Class, item: Item) {
        self.queue(class).push_front(item);
    }

    /// Keeps the deliveries of these offsets only.
    pub(crate) fn retain(&mut self, keep: impl Fn(Offset) -> bool) {
        for queue in [&mut self.critical, &mut self.normal, &mut self.low] {
            queue.retain(|item| keep(item.offset));
        }
    }

    /// How many start before this one: those before it in its class and all of the more urgent classes.
    pub(crate) fn ahead_of(&self, offset: Offset) -> Option<usize> {
        let mut ahead = 0;
        for queue in [&self.critical, &self.normal, &self.low] {
            if let Some(place) = queue.iter().position(|item| item.offset == offset) {
                return Some(ahead + place);
            }
            ahead += queue.len();
        }
        None
    }

    fn pop(&mut self) -> Option<(Class, Item)> {
        let is_low_due = self.since_low >= OTHERS_PER_LOW && !self.low.is_empty();
        let order = if is_low_due {
            [Class::Low, Class::Critical, Class::Normal]
        } else {
            [Class::Critical, Class::Normal, Class::Low]
        };
        for class in order {
            if let Some(item) = self.queue(class).pop_front() {
                self.since_low = if class == Class::Low { 0 } else { self.since_low.saturating_add(1) };
                return Some((class, item));
            }
        }
        None
    }
}

impl Machine {
    /// How many deliveries may be in flight at once.
    pub(super) fn places(&self) -> usize {
        let wanted = u64::from(self.spec.concurrency.max(1)) * u64::from(self.boost());
        usize::try_from(wanted).unwrap_or(LEASES_MAX).min(LEASES_MAX)
    }

    /// Starts what is ready while there are free places.
    pub(super) fn start(&mut self, now: Timestamp, step: &mut Step) {
        if self.paused.is_some() || self.has_cancelled() {
            return;
        }
        while self.leases.fetching() < FETCHES_MAX
            && let Some((offset, disposal)) = self.disposals.pop_front()
        {
            self.fetch(now, offset, disposal, step);
        }
        let places = self.places();
        while self.leases.calls() < places
            && let Some((class, item)) = self.ready.pop()
        {
            self.invoke(now, class, item, step);
        }
    }

    fn invoke(&mut self, now: Timestamp, class: Class, item: Item, step: &mut Step) {
        let Item { offset, lane } = item;
        let wait = self.waits.get(offset);
        let attempt = Attempt(wait.map_or(0, |wait| wait.row.spent).saturating_add(1));
        let is_moved = self.moved_in.is_some_and(|seal| seal + STEPS_OUTSTANDING_MAX > self.seals);
        let mut must_wait = self.must_commit || is_moved || wait.is_some_and(|wait| wait.is_stored);
        if let Some(id) = lane {
            let lane = self.lanes.get_mut(id);
            lane.state = LaneState::InFlight;
            let is_durable = lane.settled_in == 0 || lane.settled_in + STEPS_OUTSTANDING_MAX <= self.seals;
            must_wait |= !is_durable;
        }
        let lease = self.spec.lease;
        let ticket = self.leases.grant(now, lease, Grant { purpose: Purpose::Call, offset, lane, class, attempt });
        let position = self.position(offset);
        let letter = self.letter_of(offset);
        let action =
            Action::Invoke(Invocation { ticket, position, attempt, deadline: now.after(lease), lease, letter });
        if must_wait {
            step.actions.push(action);
        } else {
            step.immediate.push(action);
        }
    }

    /// Asks for the event of a delivery that is not to be attempted. Nothing leaves the host by it, so it need not wait for the
    /// disk.
    fn fetch(&mut self, now: Timestamp, offset: Offset, disposal: Disposal, step: &mut Step) {
        let Some(wait) = self.waits.get(offset) else { return };
        let (lane, class, attempt) = (wait.lane, wait.class, Attempt(wait.row.spent));
        let (purpose, lease) = (Purpose::Fetch(disposal), self.spec.lease);
        let ticket = self.leases.grant(now, lease, Grant { purpose, offset, lane, class, attempt });
        let position = self.position(offset);
        let letter = self.letter_of(offset);
        let deadline = now.after(lease);
        step.immediate.push(Action::Fetch(Invocation { ticket, position, attempt, deadline, lease, letter }));
    }

    /// The key generation of a delivery whose event is in its dead letter.
    fn letter_of(&self, offset: Offset) -> Option<KeyGeneration> {
        match self.waits.get(offset)?.row.parking {
            Parking::Released { generation } => Some(generation),
            Parking::Never | Parking::Parked => None,
        }
    }

    /// A delivery's time has come. One without an attempt left (the lease of its last one lapsed, or the limit was lowered) is
    /// buried as soon as its event was fetched.
    pub(super) fn retry(&mut self, offset: Offset) {
        let Some(wait) = self.waits.get_mut(offset).filter(|wait| wait.is_pending) else {
            return;
        };
        wait.is_pending = false;
        let (is_stored, spent) = (wait.is_stored, wait.row.spent);
        let (class, lane) = (wait.class, wait.lane);
        if is_stored && self.is_exhausted(spent) {
            self.disposals.push_back((offset, Disposal::Bury));
            return;
        }
        if let Some(id) = lane {
            self.lanes.get_mut(id).state = LaneState::Ready;
        }
        self.ready.push(class, Item { offset, lane });
    }

    /// Goes on with a lane whose head was settled, or that opens: its new head is ready, or waits for its time.
    pub(super) fn proceed(&mut self, id: LaneId) {
        let lane = self.lanes.get_mut(id);
        let Some(offset) = lane.head() else {
            lane.state = LaneState::Idle;
            self.lanes.end(id);
            return;
        };
        let class = lane.class();
        if let Some(wait) = self.waits.get(offset) {
            lane.state = LaneState::Waiting;
            let due = wait.row.due;
            if wait.row.parking != Parking::Parked {
                self.waits.alarm_retry(offset, due);
            }
        } else {
            lane.state = LaneState::Ready;
            self.ready.push(class, Item { offset, lane: Some(id) });
        }
    }
}
