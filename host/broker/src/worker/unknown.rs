//! Unknown results on their way between the disk and the machine: what a person says of them, and pages to trim.
//!
//! Invariant: whoever resolves or trims holds the port's `letters` until that is durable, so nobody acts on a row that is being
//! changed.

use std::sync::Arc;

use bugle_core::ids::Position;
use bugle_core::ledger::{Ledger, LedgerStep};
use bugle_core::subscription::{Resolved, Trimmed, UnknownFacts};
use tokio::sync::oneshot;

use super::{Message, Resolve, Worker};
use crate::call::Port;

/// Rows read at once: they carry their events.
const PAGE: usize = 64;

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

    pub(super) fn trim_unknown(&mut self, page: &[UnknownFacts], is_last: bool) -> Trimmed {
        let now = self.now;
        let trimmed = self.machine.trim_unknown(now, page, is_last, &mut self.step);
        if trimmed.removed > 0 {
            tracing::warn!(
                subscription = %self.port.name,
                removed = trimmed.removed,
                "unknown results that nobody had resolved were removed, since there were too many or they were too old"
            );
        }
        trimmed
    }

    /// Shows unknown results to the machine until it has removed what it wants.
    pub(super) fn show_unknown(&mut self) {
        let port = Arc::clone(&self.port);
        self.tasks.spawn(async move {
            let _alone = port.letters.lock().await;
            let mut after = None;
            while let Some(last) = show_page(&port, after).await {
                after = Some(last);
            }
        });
    }
}

/// Shows one page; the last place of it if another one is wanted.
async fn show_page(port: &Port, after: Option<Position>) -> Option<Position> {
    let (store, subscription) = (Arc::clone(&port.shared.store), port.subscription);
    let read = port.shared.blocking.run(move || store.unknown(subscription, after, PAGE)).await;
    let entries = read.unwrap_or_else(|error| {
        tracing::error!(subscription = %port.name, %error, "could not read unknown results to remove old ones");
        Vec::new()
    });
    let last = entries.last().map(|entry| entry.position);
    let page = entries.iter().map(|entry| UnknownFacts::of(&entry.row)).collect();
    let (trimmed, answer) = oneshot::channel();
    let (done, durable) = oneshot::channel();
    port.inbox.push(Message::TrimUnknown { page, is_last: entries.len() < PAGE, trimmed, done });
    let is_done = answer.await.map_or(true, |trimmed| trimmed.is_done);
    // An error says that the worker has ended: then nothing is decided any more.
    let _ = durable.await;
    if is_done { None } else { last }
}
