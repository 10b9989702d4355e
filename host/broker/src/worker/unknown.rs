//! What a person says of unknown results, and records that nothing followed, on their way to the machine.
//!
//! Invariant: whoever resolves holds the port's `letters` until that is durable, so nobody acts on a row that is being changed.

use std::sync::Arc;

use bugle_core::ledger::{Ledger, LedgerStep};
use bugle_core::subscription::Resolved;

use super::{Late, Resolve, Worker};

impl Worker {
    /// Under the ledger's lock, so that no call opens a claim between the look and the change.
    pub(super) fn resolve(&mut self, resolve: Resolve, ledger: &mut Ledger) -> Option<LedgerStep> {
        let Resolve { rows, resolution, remark, mut also, resolved, done } = resolve;
        let now = self.now;
        let shared = Arc::clone(&self.port.shared);
        let mut last = None;
        let mut answers = Vec::with_capacity(rows.len());
        for row in rows {
            let told = (row, &resolution, remark.as_str());
            let stored = |scope: &str, key: &str| shared.stored_claim(scope, key);
            let answer = self.machine.resolve(now, ledger, told, stored, &mut self.step);
            if let Ok(Resolved::Now(step)) = answer {
                last = step.max(last);
            }
            answers.push(answer);
        }
        if answers.iter().any(|answer| matches!(answer, Ok(Resolved::Now(_)))) {
            self.step.writes.append(&mut also);
        }
        // Whoever asked may be gone; what was said stands.
        let _ = resolved.send(answers);
        self.after.replies.push(done);
        last
    }

    /// The same of records that are late.
    pub(super) fn hand_on_late(&mut self, late: Late, ledger: &mut Ledger) -> Option<LedgerStep> {
        let Late { sends, done } = late;
        let shared = Arc::clone(&self.port.shared);
        let mut last = None;
        for late in sends {
            let stored = |scope: &str, key: &str| shared.stored_claim(scope, key);
            last = self.machine.late(self.now, ledger, late, stored, &mut self.step).max(last);
        }
        self.after.replies.push(done);
        last
    }
}
