//! The second phase of a history: faults stop, and everything must settle.
//!
//! Invariant: it ends with everything at rest, or with the rule that it does not settle.

use bugle_core::step::Kept;
use bugle_core::subscription::Input;

use super::World;
use crate::rule::{self, Checked, broken};

/// Rounds of the second phase; far more than any history needs.
const CALM_ROUNDS_MAX: u32 = 50_000;

/// Stages of calls in one round in which everybody does something.
const ADVANCES_PER_ROUND: u32 = 8;

impl World {
    /// Everybody does what there is to do.
    pub(crate) fn round_of_all(&mut self) -> Checked {
        for worker in &mut self.workers {
            worker.answer_read(&mut self.bus)?;
            worker.answer_fetches(&mut self.bus)?;
            for _ in 0..ADVANCES_PER_ROUND {
                worker.advance(&mut self.bus)?;
            }
            worker.submit(&mut self.bus)?;
        }
        self.commit(usize::MAX)
    }

    /// The second phase: no more faults, nothing new, everything must settle.
    pub(super) fn calm_down(&mut self) -> Checked {
        self.bus.note(|| "NO MORE FAULTS".to_owned());
        self.bus.is_calm = true;
        for worker in &mut self.workers {
            worker.handle(&mut self.bus, Input::Resume)?;
        }
        for _ in 0..CALM_ROUNDS_MAX {
            for worker in &mut self.workers {
                worker.decide_parked(&mut self.bus)?;
                worker.answer_trim(&mut self.bus, Kept::Dead)?;
                worker.answer_trim(&mut self.bus, Kept::Unknown)?;
                if worker.machine.status().paused.is_some() {
                    worker.handle(&mut self.bus, Input::Resume)?;
                }
            }
            self.look_for_late();
            self.round_of_all()?;
            let end = self.bus.disk.synced.end();
            let has_receipts = self.producers.iter().all(|producer| !producer.is_waiting());
            let is_released = self.bus.disk.synced.schedule.is_empty();
            if has_receipts
                && is_released
                && self.bus.queue.is_empty()
                && self.workers.iter().all(|worker| worker.is_at_rest(end))
            {
                self.check_end()?;
                self.check_late()?;
                return self.check_swept();
            }
            if self.workers.iter().all(|worker| worker.calls.is_empty()) {
                self.pass_time()?;
            }
        }
        let statuses: Vec<_> = self.workers.iter().map(|worker| (worker.name(), worker.machine.status())).collect();
        broken(rule::SETTLES_AT_LAST, format!("{statuses:?}"))
    }
}
