//! What an operator does to a running subscription at random moments: boost and seek; and the log's length for its backlog cap.
//!
//! Seeks go forward only: what a seek back delivers again breaks no rule, so the rules would have nothing to say of it. Holds no
//! decision. Invariant: a place that is sought is in the log.

use bugle_core::ids::Offset;
use bugle_core::subscription::{Input, LogExtent};

use crate::bus::Bus;
use crate::rule::Checked;
use crate::worker::Worker;

/// How far ahead of the floor a seek goes at most: a part of a history, so that something is left to deliver.
const SEEK_MAX: u64 = 12;

/// Largest boost that is drawn.
pub(crate) const BOOST_MAX: u64 = 3;

impl Worker {
    /// Works faster for a while, or as before; or finishes what was read, and pauses.
    pub(crate) fn drain_or_boost(&mut self, bus: &mut Bus) -> Checked {
        let input = match bus.random.within(0, BOOST_MAX) {
            0 => Input::Drain,
            factor => {
                // One that is over within this very step counts too.
                self.places = self.places.max(self.spec.concurrency as usize * factor as usize);
                self.was_boosted = true;
                Input::Boost { factor: factor as u32, until: bus.tail }
            }
        };
        bus.note(|| format!("{}: {input:?}", self.spec.name));
        self.handle(bus, input)
    }

    /// Goes on a little further ahead.
    pub(crate) fn seek(&mut self, bus: &mut Bus) -> Checked {
        let floor = self.machine.floor().0;
        let to = Offset(bus.random.within(floor, (floor + SEEK_MAX).min(bus.tail.0).max(floor)));
        bus.note(|| format!("{}: seek to {to}", self.spec.name));
        self.handle(bus, Input::Seek { to })
    }

    /// The host compares the backlog with its cap.
    pub(crate) fn tell_log(&mut self, bus: &mut Bus) -> Checked {
        let end = bus.tail;
        let bytes_from = Offset(if bus.random.chance(10) { bus.random.within(0, end.0) } else { 0 });
        let log = LogExtent { end, bytes_from, bytes_from_slack: bytes_from };
        bus.note(|| format!("{}: {log:?}", self.spec.name));
        self.handle(bus, Input::Log(log))
    }
}
