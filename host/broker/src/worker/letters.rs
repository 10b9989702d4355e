//! Dead letters on their way between the disk and the machine: decisions of a person, and pages to trim.
//!
//! Invariant: whoever decides or trims holds the port's `letters` until that is durable, so nobody acts on a letter that is
//! being changed.

use std::sync::Arc;

use bugle_core::ids::Position;
use bugle_core::step::Stuck;
use bugle_core::subscription::{DeadFacts, Input, Trimmed};
use tokio::sync::oneshot;

use super::inbox::Decide;
use super::{Message, Worker};
use crate::call::Port;

/// Letters read at once: they carry their events.
const PAGE: usize = 64;

impl Worker {
    pub(super) fn decide(&mut self, decide: Decide) {
        let Decide { letters, mut also, decided, done } = decide;
        let now = self.now;
        let mut answers = Vec::with_capacity(letters.len());
        for (letter, decision) in letters {
            answers.push(self.machine.decide(now, letter, decision, &mut self.step));
        }
        if answers.iter().any(Result::is_ok) {
            self.step.writes.append(&mut also);
        }
        // Whoever asked may be gone; what was decided stands.
        let _ = decided.send(answers);
        self.after.replies.push(done);
        self.handle(Input::Tick);
    }

    pub(super) fn trim(&mut self, page: &[DeadFacts], is_last: bool) -> Trimmed {
        let now = self.now;
        let trimmed = self.machine.trim(now, page, is_last, &mut self.step);
        if trimmed.removed > 0 {
            tracing::warn!(
                subscription = %self.port.name,
                removed = trimmed.removed,
                "dead letters that nobody had decided about were removed, since there were too many or they were too old"
            );
        }
        trimmed
    }

    /// Shows letters to the machine until it has removed what it wants.
    pub(super) fn show_letters(&mut self) {
        let port = Arc::clone(&self.port);
        self.tasks.spawn(async move {
            let _alone = port.letters.lock().await;
            let mut after = None;
            while let Some(last) = show_page(&port, after).await {
                after = Some(last);
            }
        });
    }

    pub(super) fn stuck(&self, position: Position, how: Stuck) {
        let subscription = &self.port.name;
        match how {
            Stuck::Blocked => {
                tracing::warn!(%subscription, %position, "a delivery used up its attempts and blocks its key; it is tried on at the longest backoff");
            }
            Stuck::Parked => {
                tracing::warn!(%subscription, %position, "a delivery was given up and its key waits; replay or dismiss its dead letter");
            }
        }
    }
}

/// Shows one page; the last place of it if another one is wanted.
async fn show_page(port: &Port, after: Option<Position>) -> Option<Position> {
    let (store, subscription) = (Arc::clone(&port.shared.store), port.subscription);
    let read = port.shared.blocking.run(move || store.dead(subscription, after, PAGE)).await;
    let entries = read.unwrap_or_else(|error| {
        tracing::error!(subscription = %port.name, %error, "could not read dead letters to remove old ones");
        Vec::new()
    });
    let last = entries.last().map(|entry| entry.position);
    let page = entries.iter().map(|entry| DeadFacts::of(&entry.row)).collect();
    let (trimmed, answer) = oneshot::channel();
    let (done, durable) = oneshot::channel();
    port.inbox.push(Message::Trim { page, is_last: entries.len() < PAGE, trimmed, done });
    let is_done = answer.await.map_or(true, |trimmed| trimmed.is_done);
    // An error says that the worker has ended: then nothing is decided any more.
    let _ = durable.await;
    if is_done { None } else { last }
}
