//! How many events a subscription would get: asked before one is created anywhere but at the latest event.

use std::sync::Arc;

use bugle_core::ids::Offset;
use bugle_core::matcher::Matcher;
use bugle_core::spec::Subscription;
use bugle_store::{EventBounds, EventPage};

use super::topics::cover;
use super::{Bus, StartAt};
use crate::reads::ReadError;

/// Events looked at in one go; between two the thread is given back.
const PAGE: EventBounds = EventBounds { events_max: 4_096, bytes_max: 1 << 20 };
/// A count ends here: whoever is about to deliver more than a million needs no exact figure.
const LOOKED_AT_MAX: u64 = 1_000_000;

/// The answer to [`Bus::count`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Events that would be delivered, as far as was looked.
    pub events: u64,
    /// Whether the count stopped before the end of the log, so that there may be more.
    pub is_cut: bool,
}

impl Bus {
    /// How many events of the log a subscription that starts there would get.
    pub async fn count(&self, spec: &Subscription, start: StartAt) -> Result<Count, ReadError> {
        let end = self.end();
        let from = match start {
            StartAt::Latest => end,
            StartAt::Earliest => self.floor(),
            StartAt::Offset(offset) => offset,
        };
        self.count_between(spec, from, end).await
    }

    /// How many events between two places of the log a subscription would get.
    pub async fn count_between(&self, spec: &Subscription, from: Offset, end: Offset) -> Result<Count, ReadError> {
        let mut spec = spec.clone();
        cover(&mut spec, &self.topics());
        let matcher = Matcher::new(&spec.filter);
        let mut from = from;
        let mut count = Count { events: 0, is_cut: false };
        let mut looked_at = 0;
        while from < end {
            if looked_at >= LOOKED_AT_MAX {
                count.is_cut = true;
                break;
            }
            let page = self.read(from, PAGE).await?;
            if page.events.is_empty() {
                break;
            }
            from = page.next;
            looked_at += page.events.len() as u64;
            let wanted = page.events.iter().filter(|stored| {
                let is_covered = spec.topics.contains(&stored.topic) && matcher.matches(&stored.event);
                stored.position.offset < end
                    && !stored.is_scheduled()
                    && (is_covered || spec.redelivery == Some(stored.topic))
            });
            count.events += wanted.count() as u64;
        }
        Ok(count)
    }

    /// Events of the log, all topics, from an offset on.
    pub async fn read(&self, from: Offset, bounds: EventBounds) -> Result<EventPage, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.events(from, bounds);
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// The first offset that is still in the log.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.inside.shared.store.floor()
    }

    /// The offset after the last committed event.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.inside.shared.ring.end()
    }
}
