//! How an operator has a subscription run for a while: a drain that ends in a pause, a boost that ends when it has caught up.
//!
//! Both are one row, so both survive a restart. A drain remembers how far the machine had read, since a restarted machine reads
//! that part again. Knows nothing of rates: whoever limits one multiplies it by [`Machine::boost`].
//!
//! Invariant: while it drains, nothing at or above the drain's end is read or started.

use alloc::string::String;

use super::Machine;
use crate::ids::Offset;
use crate::row::{Boost, RunRow};
use crate::step::{Step, Write};
use crate::time::Timestamp;

/// Reason of the pause in which a drain ends.
pub const DRAINED: &str = "drained";

/// A boost beyond this is a typing mistake; what limits a subscription then is its receiver.
pub const BOOST_MAX: u32 = 64;

impl Machine {
    /// Reads nothing new, finishes what was read, then pauses. One that is paused stays paused.
    pub(super) fn drain(&mut self, step: &mut Step) {
        if self.paused.is_none() && self.run.drain_to.is_none() {
            self.run.drain_to = Some(self.reads.position().max(self.cursor.floor()));
            self.write_run(step);
        }
    }

    /// Works with `factor` times the concurrency until everything below `until` was read and nothing of it waits for a place.
    pub(super) fn boost_until(&mut self, factor: u32, until: Offset, step: &mut Step) {
        let factor = factor.min(BOOST_MAX);
        self.run.boost = (factor > 1).then_some(Boost { factor, until });
        self.write_run(step);
    }

    /// The factor of the boost under way; 1 without one.
    #[must_use]
    pub fn boost(&self) -> u32 {
        self.run.boost.map_or(1, |boost| boost.factor)
    }

    /// How many of `wanted` events may be read from an offset on.
    pub(super) fn readable(&self, from: Offset, wanted: usize) -> usize {
        match self.run.drain_to {
            None => wanted,
            Some(end) => wanted.min(usize::try_from(end.0.saturating_sub(from.0)).unwrap_or(usize::MAX)),
        }
    }

    /// Where an answer to a read ends for this machine.
    pub(super) fn readable_end(&self, next: Offset) -> Offset {
        self.run.drain_to.map_or(next, |end| next.min(end))
    }

    /// Forgets a drain: something else was asked for.
    pub(super) fn end_drain(&mut self, step: &mut Step) {
        if self.run.drain_to.take().is_some() {
            self.write_run(step);
        }
    }

    /// Ends what has reached its end.
    pub(super) fn end_run(&mut self, now: Timestamp, step: &mut Step) {
        if self.run == RunRow::default() {
            return;
        }
        if self.run.drain_to.is_some_and(|end| self.cursor.floor() >= end) {
            self.end_drain(step);
            self.pause(now, "operator".into(), String::from(DRAINED), step);
        }
        let has_caught_up = |boost: Boost| self.reads.position() >= boost.until && self.ready.len() == 0;
        if self.run.boost.is_some_and(has_caught_up) {
            self.run.boost = None;
            self.write_run(step);
        }
    }

    fn write_run(&self, step: &mut Step) {
        let row = (self.run != RunRow::default()).then_some(self.run);
        step.writes.push(Write::Run { subscription: self.spec.id, row });
    }
}
