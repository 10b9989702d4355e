//! What a crash, or a backup that comes back after one, does to the world.
//!
//! Invariant: what was synced before is there after; what was in memory only is nowhere.

use bugle_core::ids::BootId;
use bugle_core::ledger::Ledger;
use bugle_core::schedule::Releases;
use bugle_core::time::Timestamp;

use super::{WINDOW_BYTES, World};
use crate::bus::{Done, Item};
use crate::call::KEEP;
use crate::committer::{Round, recover};
use crate::rule::Checked;

/// Boots go on this far behind those of a backup.
const BOOTS_LEFT_OUT: u64 = 1 << 16;

impl World {
    /// A crash from which a backup comes back: as another store, whose boots are far away and which resumes no epoch of before.
    pub(super) fn restore(&mut self) -> Checked {
        self.bus.note(|| "RESTORE".to_owned());
        let last = self.boots.last().map_or(0, |(boot, _)| boot.0);
        self.first_boot = BootId(last + BOOTS_LEFT_OUT);
        self.crash()
    }

    /// Everything in memory is gone; a part of what was not synced is gone with it.
    pub(crate) fn crash(&mut self) -> Checked {
        self.bus.note(|| "CRASH".to_owned());
        self.crashes += 1;
        for worker in &mut self.workers {
            // It is lost anyway, so it may be sealed once more.
            worker.machine.seal(&mut worker.step);
            worker.check_recovery(&self.bus)?;
            self.comparisons += 1;
        }
        self.bus.disk.crash(&mut self.bus.random)?;
        self.lose_queue();
        let synced = &self.bus.disk.synced;
        // A hold that had its time is over, even if the clock starts again before its end: the wall may have gone back.
        let now = self.bus.now;
        let is_kept = |subscription, by, until| synced.rows(subscription).is_told(by) && until > now;
        self.bus.evidence.holds.retain(|(subscription, _), (by, until)| is_kept(*subscription, *by, *until));
        // So has a claim; its row may be gone.
        self.bus.evidence.end_claims(now, KEEP);
        self.bus.disk.end_remembered(now);
        self.slow_for = 0;
        let boot = self.boots.last().map_or(1, |(boot, _)| boot.0 + 1);
        let boot = BootId(boot).max(self.first_boot);
        self.bus.ledger = Ledger::with_window(boot, WINDOW_BYTES);
        for (scope, mark) in self.bus.disk.synced.marks() {
            self.bus.ledger.recover_mark(scope, mark.clone());
        }
        self.bus.tail = self.bus.disk.synced.end();
        let latest = self.bus.disk.synced.log.last().map_or(Timestamp(0), |event| event.received);
        self.bus.clock.restart(latest);
        self.bus.now = self.bus.clock.now();
        self.admission = recover(&self.bus, boot, self.first_boot, &self.boots, self.ids);
        self.boots.push((boot, self.bus.tail));
        self.releases = Releases::recover();
        let workers = std::mem::take(&mut self.workers);
        self.workers = workers.into_iter().map(|worker| worker.restarted(&mut self.bus)).collect();
        self.check_batch()?;
        self.check_survivors()?;
        self.connect_all();
        self.tick()
    }

    /// Attempts that were about to start may have been spent by a lease that ran out before that.
    fn lose_queue(&mut self) {
        let queued = self.bus.queue.drain(..).filter_map(|item| match item {
            Item::Writes { done, .. } => Some(done),
            Item::Publish { .. } | Item::Hello { .. } | Item::Release | Item::Cancel { .. } | Item::Callback { .. } => {
                None
            }
        });
        let round = self.round.take().map(Round::into_dones).unwrap_or_default();
        for done in queued.chain(round) {
            if let Done::Worker(worker, actions) = done {
                self.workers[worker].lose(&mut self.bus.evidence, &actions);
            }
        }
    }
}
