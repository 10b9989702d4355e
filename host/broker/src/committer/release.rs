//! Releases of scheduled events, on the committer's thread, so that what is read from the store is all of the earlier rounds.
//!
//! Decides nothing; admission does. Invariant: a row that cannot be read stops no other: it stays where it is, and people are told.

use bugle_core::admission::Released;
use bugle_core::schedule::{DuePage, RELEASE_BYTES_MAX, RELEASE_EVENTS_MAX};
use bugle_core::time::{Millis, Timestamp};
use bugle_store::EventBounds;

use super::{Committer, Round};

/// How long nothing is released after the store could not be read.
const UNREADABLE_RETRY: Millis = Millis::from_secs(60);

const PAGE: EventBounds = EventBounds { events_max: RELEASE_EVENTS_MAX, bytes_max: RELEASE_BYTES_MAX };

impl Committer {
    /// Releases a page of what is due.
    pub(super) fn release(&mut self, round: &mut Round) -> Released {
        let now = self.shared.clock.now();
        let Some(page) = self.due(now) else {
            return Released { events: 0, next: Some(now.after(UNREADABLE_RETRY)) };
        };
        let released = self.admission.release(now, page, &mut round.writes);
        self.shared.counters.released.add(released.events.into());
        round.count();
        released
    }

    fn due(&self, now: Timestamp) -> Option<DuePage> {
        let unreadable = |error: bugle_store::ReadError| {
            tracing::error!(%error, "a scheduled event could not be read and is not released; restore a backup");
        };
        match self.shared.store.scheduled(self.admission.scheduled_from(), now, PAGE, unreadable) {
            Ok(page) => Some(page),
            Err(error) => {
                tracing::error!(%error, "scheduled events could not be read; nothing is released for a minute");
                None
            }
        }
    }
}
