//! Shows dead letters and unknown results to the machine, page by page, until it has removed what it wants.
//!
//! Invariant: a page is shown under the port's `letters`, which is held until what was removed is durable, so nobody acts on a row
//! that is being removed.

use std::sync::Arc;

use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::step::Kept;
use bugle_core::subscription::{KeptFacts, Trimmed};
use bugle_store::{ReadError, Store};
use tokio::sync::oneshot;

use super::{Message, Worker};
use crate::call::Port;

/// Rows read at once: they carry their events.
const PAGE: usize = 64;

impl Worker {
    pub(super) fn trim(&mut self, kept: Kept, page: &[KeptFacts], is_last: bool) -> Trimmed {
        let now = self.now;
        let trimmed = self.machine.trim(now, kept, page, is_last, &mut self.step);
        if trimmed.removed > 0 {
            tracing::warn!(
                subscription = %self.port.name,
                removed = trimmed.removed,
                "{} that nobody had decided about were removed, since there were too many or they were too old",
                word(kept)
            );
        }
        trimmed
    }

    pub(super) fn show_kept(&mut self, kept: Kept) {
        let port = Arc::clone(&self.port);
        self.tasks.spawn(async move {
            let _alone = port.letters.lock().await;
            let mut after = None;
            while let Some(last) = show_page(&port, kept, after).await {
                after = Some(last);
            }
        });
    }
}

fn word(kept: Kept) -> &'static str {
    match kept {
        Kept::Dead => "dead letters",
        Kept::Unknown => "unknown results",
    }
}

fn page(
    store: &Store,
    kept: Kept,
    subscription: SubscriptionId,
    after: Option<Position>,
) -> Result<Vec<KeptFacts>, ReadError> {
    Ok(match kept {
        Kept::Dead => store.dead(subscription, after, PAGE)?.iter().map(|entry| KeptFacts::from(&entry.row)).collect(),
        Kept::Unknown => {
            store.unknown(subscription, after, PAGE)?.iter().map(|entry| KeptFacts::from(&entry.row)).collect()
        }
    })
}

/// Shows one page; the last place of it if another one is wanted.
async fn show_page(port: &Port, kept: Kept, after: Option<Position>) -> Option<Position> {
    let (store, subscription) = (Arc::clone(&port.shared.store), port.subscription);
    let read = port.shared.blocking.run(move || page(&store, kept, subscription, after)).await;
    let page = read.unwrap_or_else(|error| {
        tracing::error!(subscription = %port.name, %error, "could not read {} to remove old ones", word(kept));
        Vec::new()
    });
    let last = page.last().map(|facts| facts.position);
    let (trimmed, answer) = oneshot::channel();
    let (done, durable) = oneshot::channel();
    port.inbox.push(Message::Trim { kept, is_last: page.len() < PAGE, page, trimmed, done });
    let is_done = answer.await.map_or(true, |trimmed| trimmed.is_done);
    // An error says that the worker has ended: then nothing is decided any more.
    let _ = durable.await;
    if is_done { None } else { last }
}
