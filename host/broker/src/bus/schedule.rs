//! Scheduled events, for operators: numbers, lists, and what became of one.
//!
//! Knows nothing of how they are shown. Pages are bounded, and read by a thread that may block.

use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Name, Offset, TopicId};
use bugle_core::row::{FateRow, ScheduledTotals};
use bugle_core::schedule::{Cancelled, Due};
use bugle_core::time::Timestamp;
use bugle_store::EventBounds;

use tokio::sync::oneshot;

use super::{Bus, Definition};
use crate::committer::{Also, Cancel, What};
use crate::queue::{Item, Stopped};
use crate::reads::ReadError;

/// Names what is to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelWhat {
    /// The event of this CloudEvents name.
    Id {
        /// `source`.
        source: String,
        /// `id`.
        id: String,
    },
    /// Every event of this ordering key.
    Key(String),
}

/// Why it is not known whether anything was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The caller: the name.
    #[error("there is no topic `{0}`; `bugle topic list` shows them")]
    UnknownTopic(String),
    /// The operator: the disk.
    #[error("could not look for scheduled events")]
    Read(#[from] ReadError),
    /// The host stops.
    #[error("could not cancel scheduled events")]
    Stopped(#[from] Stopped),
}

/// Scheduled events of all topics that are looked at for one page of one topic.
const LOOKED_AT_MAX: usize = 100_000;
/// Read at once.
const PAGE: EventBounds = EventBounds { events_max: 1_000, bytes_max: 4 << 20 };

/// Scheduled events of one topic, in the order of release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduledPage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Where to go on, if there may be more; a page may be empty and still have this, where other topics have many.
    pub next: Option<Due>,
}

impl Bus {
    /// The scheduled events of a topic in numbers.
    pub fn scheduled_totals(&self, topic: TopicId) -> Result<ScheduledTotals, ReadError> {
        Ok(self.inside.shared.store.scheduled_totals(topic)?)
    }

    /// At most `limit` scheduled events of a topic from a place on.
    pub async fn scheduled(&self, topic: TopicId, from: Due, limit: usize) -> Result<ScheduledPage, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let limit = limit.clamp(1, PAGE.events_max);
        let read = move || {
            let mut found = ScheduledPage { events: Vec::new(), next: Some(from) };
            let mut looked_at = 0;
            while let Some(from) = found.next
                && found.events.len() < limit
                && looked_at < LOOKED_AT_MAX
            {
                let mut damaged = None;
                let page = store.scheduled(from, Timestamp::NEVER, PAGE, |error| damaged = Some(error))?;
                if let Some(error) = damaged {
                    return Err(error);
                }
                looked_at += page.events.len();
                found.next = page.next;
                for event in page.events.into_iter().filter(|event| event.topic == topic) {
                    if found.events.len() == limit {
                        found.next = Due::of(&event);
                        break;
                    }
                    found.events.push(event);
                }
            }
            Ok(found)
        };
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// Cancels scheduled events; returns when that is durable. `also` makes rows for the same batch from the number of events; it
    /// is not asked if there were none.
    pub async fn cancel_scheduled(
        &self,
        topic: &str,
        what: CancelWhat,
        also: impl FnOnce(u32) -> Vec<Definition> + Send + 'static,
    ) -> Result<Cancelled, CancelError> {
        let id = self.topic(topic).ok_or_else(|| CancelError::UnknownTopic(topic.to_owned()))?;
        let what = match what {
            CancelWhat::Id { source, id } => What::Id { source, id },
            CancelWhat::Key(key) => What::Key(key),
        };
        let also: Also = Box::new(move |events| also(events).into_iter().map(Definition::into_write).collect());
        let (reply, answer) = oneshot::channel();
        let cancel = Cancel { topic: id, topic_name: Name::from(topic), what, also, reply };
        self.inside.shared.queue.push(Item::Cancel(Box::new(cancel)))?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// What became of a scheduled event, if it ended and its place is still in the log.
    pub fn fate(&self, offset: Offset) -> Result<Option<FateRow>, ReadError> {
        Ok(self.inside.shared.store.fate(offset)?)
    }
}
