//! Starting attempts: which delivery is next, and whether it must wait for the disk first.
//!
//! Invariant: never more deliveries in flight than the subscription's concurrency, and none while it is paused; what follows a
//! settlement of the same key starts only after that settlement is durable.

use alloc::collections::VecDeque;

use super::leases::{Grant, LEASES_MAX};
use super::{Machine, STEPS_OUTSTANDING_MAX};
use crate::event::Class;
use crate::ids::{Attempt, Offset};
use crate::lane::{LaneId, LaneState};
use crate::seeded::{Bug, is_planted};
use crate::step::{Action, Invocation, Step, Write};
use crate::time::Timestamp;

/// While normal events keep coming, one low event starts after this many others, so that it does not starve.
const OTHERS_PER_LOW: u32 = 16;

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
        (self.spec.concurrency.max(1) as usize).min(LEASES_MAX)
    }

    /// Starts what is ready while there are free places.
    pub(super) fn start(&mut self, now: Timestamp, step: &mut Step) {
        if self.paused.is_some() {
            return;
        }
        let places = self.places();
        while self.leases.len() < places
            && let Some((class, item)) = self.ready.pop()
        {
            self.invoke(now, class, item, step);
        }
    }

    fn invoke(&mut self, now: Timestamp, class: Class, item: Item, step: &mut Step) {
        let Item { offset, lane } = item;
        let wait = self.waits.get(offset);
        let attempt = Attempt(wait.map_or(0, |wait| wait.row.spent).saturating_add(1));
        let mut must_wait = self.must_commit || wait.is_some_and(|wait| wait.is_stored);
        if let Some(id) = lane {
            let lane = self.lanes.get_mut(id);
            lane.state = LaneState::InFlight;
            let is_durable = lane.settled_in == 0 || lane.settled_in + STEPS_OUTSTANDING_MAX <= self.seals;
            must_wait |= !is_durable && !is_planted(Bug::NextBeforeDurable);
        }
        if is_planted(Bug::DueRowDeletedFirst) && wait.is_some_and(|wait| wait.is_stored) {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        let lease = self.spec.lease;
        let ticket = self.leases.grant(now, lease, Grant { offset, lane, class, attempt });
        let position = self.position(offset);
        let action = Action::Invoke(Invocation { ticket, position, attempt, deadline: now.after(lease), lease });
        if must_wait {
            step.actions.push(action);
        } else {
            step.immediate.push(action);
        }
    }

    /// A delivery's time has come. One without an attempt left (the lease of its last one lapsed, or the limit was lowered) is
    /// buried as soon as its event was read.
    pub(super) fn retry(&mut self, offset: Offset) {
        let attempts_max = self.spec.retry.attempts_max;
        let Some(wait) = self.waits.get_mut(offset).filter(|wait| wait.is_pending) else {
            return;
        };
        wait.is_pending = false;
        if wait.is_stored && wait.row.spent >= attempts_max.max(1) {
            self.doomed.push_back(offset);
            return;
        }
        let (class, lane) = (wait.class, wait.lane);
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
            self.waits.alarm_retry(offset, due);
        } else {
            lane.state = LaneState::Ready;
            self.ready.push(class, Item { offset, lane: Some(id) });
        }
    }
}
