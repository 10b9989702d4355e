//! Classes that reading leaves behind: while the channel is sick, the events that may leave at once are found behind any number
//! of those that may not.
//!
//! The frontier goes on and takes only the classes that flow or move; of a class that is held it takes what fills the ready
//! queue, then remembers just where the rest begins. When the class flows again, catching up reads that part of the log once
//! more. Costs no memory and no row per event. Knows nothing of why a class is held.
//!
//! Invariant: of a class that is behind, every event from its mark up to the frontier is unsettled or not wanted, and none of
//! them is queued.

use super::Machine;
use crate::event::{Class, StoredEvent};
use crate::flow::Stance;
use crate::ids::Offset;
use crate::seeded::{Bug, is_planted};

/// Read-ahead per delivery that can be in flight, where the concurrency is large.
const READY_PER_DELIVERY: usize = 4;

/// The part of the concurrency that must be ready to follow before keyed events are enough.
const READY_SHARE: usize = 8;

fn index(class: Class) -> usize {
    usize::from(class.code())
}

impl Machine {
    /// Deliveries read ahead that could start at once.
    pub(super) fn ready_max(&self) -> usize {
        self.bounds.ready_min.max(READY_PER_DELIVERY * self.places()).max(1)
    }

    /// With every place taken, some to follow and plenty behind them in their lanes, more would only be read twice.
    fn is_busy(&self) -> bool {
        let places = self.places();
        self.leases.calls() >= places
            && self.ready.fresh_len() >= (places / READY_SHARE).max(1)
            && self.lanes.queued() >= self.ready_max() / 2
    }

    /// How many events may be read ahead now; none while half of the last ones are still there, so that reads stay large.
    pub(super) fn room(&self) -> usize {
        let ready_max = self.ready_max();
        if is_planted(Bug::UnboundedReading) {
            return ready_max;
        }
        if self.full_bound().is_some() || self.is_busy() {
            return 0;
        }
        let ready = if self.flow.is_plain() && self.reads.behind == [None; 3] {
            self.ready.fresh_len()
        } else {
            match self.ready_at_frontier() {
                Some(ready) => ready,
                None => return 0,
            }
        };
        if ready > ready_max / 2 { 0 } else { ready_max - ready }
    }

    /// Ready deliveries of the classes that a read at the frontier is for; `None` if it is for none.
    fn ready_at_frontier(&self) -> Option<usize> {
        let is_taken = |class: &Class| {
            self.reads.behind[index(*class)].is_none() && self.flow.stance(self.now, *class) != Stance::Hold
        };
        let taken = || Class::ALL.into_iter().filter(is_taken);
        if taken().next().is_some() {
            return Some(taken().map(|class| self.ready.class_len(class)).sum());
        }
        (self.lacks_probes() && self.reads.behind == [None; 3]).then_some(0)
    }

    /// The channel is sick or nothing may start, and nothing is at hand to be a probe: a few events must be read for that, or the channel
    /// would be sick for ever.
    fn lacks_probes(&self) -> bool {
        let is_held = |class: Class| self.flow.stance(self.now, class) == Stance::Hold;
        self.ready.len() == 0 && (self.flow.wants_probe(self.now) || Class::ALL.into_iter().all(is_held))
    }

    /// Whether the frontier passed an event without taking it.
    pub(super) fn is_behind(&self, class: Class, offset: Offset) -> bool {
        self.reads.behind[index(class)].is_some_and(|mark| mark <= offset)
    }

    /// Whether the frontier passes this event without taking it.
    pub(super) fn is_left_behind(&mut self, event: &StoredEvent) -> bool {
        if self.flow.is_plain() && self.reads.behind == [None; 3] {
            return false;
        }
        let (class, offset) = (event.event.class(), event.position.offset);
        if self.spilled.is_recovered(offset) {
            return false;
        }
        let has_enough =
            || self.flow.stance(self.now, class) == Stance::Hold && self.ready.class_len(class) > self.ready_max() / 2;
        let is_passed = self.reads.behind[index(class)].is_some() || has_enough();
        if !is_passed {
            return false;
        }
        if !self.cursor.is_settled(offset) && !self.spilled.is_stray(offset) && !self.wants(event) {
            // Nobody comes back for it.
            self.cursor.skip(offset, offset.next());
        }
        self.reads.behind[index(class)].get_or_insert(offset);
        true
    }

    /// Where to read to catch up, if a class is behind that may start and has room.
    pub(super) fn catch_up_from(&self) -> Option<Offset> {
        if self.reads.behind == [None; 3] || self.full_bound().is_some() || self.is_busy() {
            return None;
        }
        let (half, lacks_probes) = (self.ready_max() / 2, self.lacks_probes());
        let flows = |class: Class| lacks_probes || self.flow.stance(self.now, class) != Stance::Hold;
        let may = |class: &Class| flows(*class) && self.ready.class_len(*class) <= half;
        Class::ALL.into_iter().filter(may).filter_map(|class| self.reads.behind[index(class)]).min()
    }

    /// The answer to a read that catches up.
    pub(super) fn take_behind(&mut self, from: Offset, events: &[StoredEvent], next: Offset) {
        let position = self.reads.position();
        let next = next.min(position);
        let lacks_probes = self.lacks_probes();
        let is_held = Class::ALL.map(|class| !lacks_probes && self.flow.stance(self.now, class) == Stance::Hold);
        let mut taken = [false; 3];
        for at in 0..taken.len() {
            taken[at] = !is_held[at] && self.reads.behind[at].is_some_and(|mark| mark >= from && mark < next);
        }
        let ready_max = self.ready_max();
        for event in events {
            let (class, offset) = (event.event.class(), event.position.offset);
            let mark = self.reads.behind[index(class)];
            if !taken[index(class)] || offset >= next || mark.is_none_or(|mark| offset < mark) {
                continue;
            }
            if self.ready.class_len(class) >= ready_max {
                self.reads.behind[index(class)] = Some(offset);
                taken[index(class)] = false;
                continue;
            }
            self.admit(event);
        }
        for (mark, is_taken) in self.reads.behind.iter_mut().zip(taken) {
            if is_taken {
                *mark = (next < position).then_some(next);
            }
        }
    }

    /// Whether a rescan must leave an event to catching up.
    pub(super) fn is_for_catching_up(&self, event: &StoredEvent) -> bool {
        self.reads.behind[index(event.event.class())].is_some_and(|mark| event.position.offset >= mark)
    }
}
