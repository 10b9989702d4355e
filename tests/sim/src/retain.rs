//! Letting go of the beginning of the simulated log: the core's rules, over runs drawn by dice.
//!
//! The events stay in memory for the checks; that nobody reads one again is a rule. Admission keeps their ids here, since producers
//! send again at any time; that it forgets them first is tested with admission. Invariant: as in the host, what is needed is what
//! the rows on disk say.

use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::retention::{Retention, Run};
use bugle_core::time::Millis;

use crate::rule::Checked;
use crate::world::World;

/// Events of a run at most.
const RUN_EVENTS_MAX: u64 = 4;

impl World {
    /// One look of the host at its log.
    pub(crate) fn retain(&mut self) -> Checked {
        let end = self.bus.disk.synced.end();
        let ids = (1..=self.workers.len() as u32).map(SubscriptionId);
        let needed = ids.map(|id| self.bus.disk.synced.rows(id).claims().needed()).min().unwrap_or(end);
        let (random, log) = (&mut self.bus.random, &self.bus.disk.synced.log);
        let received = |offset: u64| log.get(offset as usize).map(|event| event.received);
        let mut runs = Vec::new();
        let mut first = self.bus.disk.floor;
        while first < end {
            let next = Offset(first.0 + random.within(1, RUN_EVENTS_MAX)).min(end);
            let bytes = next.0 - first.0;
            runs.push(Run { first, bytes, oldest: received(first.0), newest: received(next.0 - 1) });
            first = next;
        }
        let rules = Retention {
            age: Millis(random.within(0, 60_000)),
            bytes: random.within(0, 200),
            when_done: random.chance(60),
        };
        let floor = rules.judge(self.bus.now, &runs, needed).drop_below;
        if floor > self.bus.disk.floor {
            self.bus.note(|| format!("the log is let go of below {floor}"));
            self.bus.disk.floor = floor;
        }
        Ok(())
    }
}
