//! How operators have a subscription run: drain, boost, seek. Each is durable when it returns.
//!
//! Knows nothing of how a machine does it.

use bugle_core::ids::Offset;
use bugle_core::time::Timestamp;

use super::{Bus, Definition, SubscriptionError};
use crate::reads::ReadError;
use crate::worker::Operator;
use bugle_store::EventBounds;

const ONE: EventBounds = EventBounds { events_max: 1, bytes_max: 1 };

impl Bus {
    /// Reads nothing new, finishes what was read, then pauses; nothing to one that is paused.
    pub async fn drain(&self, name: &str, also: Vec<Definition>) -> Result<(), SubscriptionError> {
        self.inside.operate(name, Operator::Drain, also).await
    }

    /// Multiplies concurrency and rate until the backlog of now is worked off; a factor of 1 ends a boost.
    pub async fn boost(&self, name: &str, factor: u32, also: Vec<Definition>) -> Result<(), SubscriptionError> {
        self.inside.operate(name, Operator::Boost { factor }, also).await
    }

    /// Goes on at another place of the log, clamped to what the log has. See `bugle_core::subscription::Input::Seek`.
    pub async fn seek(&self, name: &str, to: Offset, also: Vec<Definition>) -> Result<(), SubscriptionError> {
        let to = to.max(self.floor()).min(self.end());
        self.inside.operate(name, Operator::Seek { to }, also).await
    }

    /// The first event that was accepted at this time or later; the end of the log if there is none.
    pub async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let (mut low, mut high) = (self.floor(), self.end());
        // Everything below `low` is older, everything from `high` on is not: the accepted clock never steps back.
        while low < high {
            let middle = Offset(low.0 + (high.0 - low.0) / 2);
            let page = self.read(middle, ONE).await?;
            match page.events.first().map(|event| (event.position.offset, event.received)) {
                Some((found, received)) if received < time => low = found.next(),
                // A gap that an accepted loss left: nothing between the two.
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}
