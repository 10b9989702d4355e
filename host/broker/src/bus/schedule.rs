//! Scheduled events, for operators: numbers, lists, and what became of one.
//!
//! Knows nothing of how they are shown. Pages are bounded, and read by a thread that may block.

use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, TopicId};
use bugle_core::row::{FateRow, ScheduledTotals};
use bugle_core::schedule::Due;
use bugle_core::time::Timestamp;
use bugle_store::EventBounds;

use super::Bus;
use crate::reads::ReadError;

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

    /// What became of a scheduled event, if it ended and its place is still in the log.
    pub fn fate(&self, offset: Offset) -> Result<Option<FateRow>, ReadError> {
        Ok(self.inside.shared.store.fate(offset)?)
    }
}
