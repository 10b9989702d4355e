//! Submitting steps to the committer and running what follows when they are durable.
//!
//! Invariant: steps become durable in the order in which they were submitted, so a count of them is enough.

use std::sync::{Arc, PoisonError};

use bugle_core::ledger::LedgerStep;
use bugle_core::row::{ChannelRow, OpenRow};
use bugle_core::step::Write;

use super::{After, STEPS_IN_FLIGHT_MAX, Worker};
use crate::queue::{Done, Item, Writes};

impl Worker {
    /// Submits what has gathered, unless enough steps are on their way.
    pub(super) fn submit(&mut self) {
        if self.submitted.len() as u64 >= STEPS_IN_FLIGHT_MAX {
            return;
        }
        let shared = Arc::clone(&self.port.shared);
        if self.held.is_empty() && self.resolving.is_empty() && self.late.is_empty() {
            self.machine.seal(&mut self.step);
            let writes = self.gathered(None);
            self.enqueue(writes);
        } else {
            let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let mut last = None;
            for ended in std::mem::take(&mut self.held) {
                last = self.settle(ended, Some(&mut ledger)).max(last);
            }
            for resolve in std::mem::take(&mut self.resolving) {
                last = self.resolve(resolve, &mut ledger).max(last);
            }
            for late in std::mem::take(&mut self.late) {
                last = self.hand_on_late(late, &mut ledger).max(last);
            }
            self.machine.seal(&mut self.step);
            let writes = self.gathered(last);
            // Still under the lock: the order of ledger steps is the order of commits.
            self.enqueue(writes);
        }
    }

    /// The gathering step without its immediate actions.
    fn gathered(&mut self, ledger: Option<LedgerStep>) -> Option<Writes> {
        self.step_bytes = 0;
        self.after.actions.append(&mut self.step.actions);
        let writes = std::mem::take(&mut self.step.writes);
        let buried = self.machine.buried();
        self.port.counters.dead.add(buried - self.buried);
        self.buried = buried;
        let expired = self.machine.expired();
        self.port.counters.expired_deliveries.add(expired - self.expired);
        self.expired = expired;
        let late = self.machine.late_counts();
        self.port.counters.late_copies.add(late.copies - self.late_told.copies);
        self.port.counters.late_manual.add(late.for_people - self.late_told.for_people);
        self.late_told = late;
        for write in &writes {
            if let Write::Channel { row, .. } = write {
                self.tell_channel(row.as_ref());
            }
        }
        (!writes.is_empty()).then(|| Writes {
            writes,
            ledger,
            done: Done::Worker(Arc::clone(&self.port.inbox)),
            ..Writes::default()
        })
    }

    /// Tells people that the breaker opened, stayed open or closed.
    fn tell_channel(&mut self, row: Option<&ChannelRow>) {
        let subscription = &self.port.name;
        let open = row.and_then(|row| row.open.as_ref());
        match (open, self.is_sick) {
            (Some(OpenRow { culprit, until, reason, .. }), false) => {
                let culprit = culprit.word();
                tracing::warn!(%subscription, culprit, until = until.0, %reason, "the breaker opened: nothing is sent but probes, and nobody's attempts are spent");
            }
            (Some(OpenRow { until, reason, .. }), true) => {
                tracing::debug!(%subscription, until = until.0, %reason, "the breaker stays open");
            }
            (None, true) => tracing::info!(%subscription, "the breaker closed: the subscription delivers again"),
            (None, false) => {}
        }
        self.is_sick = open.is_some();
    }

    fn enqueue(&mut self, writes: Option<Writes>) {
        match writes {
            Some(writes) => {
                let after = std::mem::take(&mut self.after);
                if self.port.shared.queue.push(Item::Writes(writes)).is_err() {
                    // The committer stopped: what follows would tell of something that is not durable.
                    self.is_stopping = true;
                    return;
                }
                self.submitted.push_back(after);
            }
            // Nothing to write: what follows waits for the steps before it, if there are any.
            None if self.after.is_empty() => {}
            None => match self.submitted.back_mut() {
                Some(last) => last.join(std::mem::take(&mut self.after)),
                None => {
                    let after = std::mem::take(&mut self.after);
                    self.follow(after);
                }
            },
        }
    }

    /// Runs what follows the steps that became durable.
    pub(super) fn complete_steps(&mut self) {
        let done = self.port.inbox.steps_done();
        while self.completed < done {
            self.completed += 1;
            self.port.counters.steps.add(1);
            if let Some(after) = self.submitted.pop_front() {
                self.follow(after);
            }
        }
    }

    fn follow(&mut self, after: After) {
        let now = self.now;
        for received in after.acked {
            self.port.counters.settle_ms.count(now.since(received));
        }
        for action in after.actions {
            self.perform(action);
        }
        for (reply, settlement) in after.settled {
            // A call that was stopped meanwhile needs no answer.
            let _ = reply.send(settlement);
        }
        for reply in after.replies {
            // An operator that stopped waiting needs no answer.
            let _ = reply.send(());
        }
    }
}

impl After {
    fn join(&mut self, mut later: After) {
        self.actions.append(&mut later.actions);
        self.acked.append(&mut later.acked);
        self.settled.append(&mut later.settled);
        self.replies.append(&mut later.replies);
    }
}
