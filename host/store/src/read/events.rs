//! Events from the log: a run from an offset on, or one by its place.
//!
//! Runs are read by a plain forward iterator over the epochs, without filling the block cache, so that a reader far behind does
//! not push out what others use. Knows nothing of topics.
//!
//! Invariant: a page holds every event of the log from the asked offset up to `next`, in order, or there is an error.

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Position};
use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::{ReadError, damaged};
use crate::codec::{Damaged, decode_event};
use crate::keys::{self, SLOT};
use crate::log::Epoch;
use crate::store::Store;

/// Reads ahead in pieces of this size when a page is large, which is when a reader is far behind.
const READAHEAD_BYTES: usize = 2 << 20;
/// A page of at least this many bytes counts as large.
const LARGE_PAGE_BYTES: usize = 512 << 10;

/// How much to read at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    /// Events.
    pub events_max: usize,
    /// Bytes of events. The first event is returned whatever its size.
    pub bytes_max: usize,
}

/// A run of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<StoredEvent>,
    /// Where to go on: every event of the log from the asked offset up to here is in the page.
    pub next: Offset,
}

impl Store {
    /// Events from `from` on. An empty page means that there are none yet.
    pub fn events(&self, from: Offset, bounds: EventBounds) -> Result<EventPage, ReadError> {
        let mut page = EventPage { events: Vec::new(), next: from };
        let mut bytes = 0;
        for epoch in self.log().from(from) {
            if !self.read_epoch(epoch, bounds, &mut page, &mut bytes)? {
                break;
            }
        }
        Ok(page)
    }

    /// False once a bound is reached.
    fn read_epoch(
        &self,
        epoch: Epoch,
        bounds: EventBounds,
        page: &mut EventPage,
        bytes: &mut usize,
    ) -> Result<bool, ReadError> {
        // Dropped since the epochs were listed: its events are below everybody's floor.
        let Some(family) = self.db().cf_handle(&epoch.family()) else { return Ok(true) };
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        if bounds.bytes_max >= LARGE_PAGE_BYTES {
            options.set_readahead_size(READAHEAD_BYTES);
        }
        let start = keys::event(page.next);
        let mode = IteratorMode::From(&start, Direction::Forward);
        for pair in self.db().iterator_cf_opt(&family, options, mode) {
            if page.events.len() >= bounds.events_max || *bytes >= bounds.bytes_max {
                return Ok(false);
            }
            let (key, value) = pair?;
            let Some(offset) = keys::event_offset(&key) else {
                return Err(damaged(&key)(Damaged("the key is not an event's")));
            };
            if *bytes + value.len() > bounds.bytes_max && !page.events.is_empty() {
                return Ok(false);
            }
            *bytes += value.len();
            page.events.push(decode_event(Position { slot: SLOT, offset }, &value).map_err(damaged(&key))?);
            page.next = offset.next();
        }
        Ok(true)
    }

    /// The event at a place, if the log still has it.
    pub fn event(&self, position: Position) -> Result<Option<StoredEvent>, ReadError> {
        let epochs = self.log().from(position.offset);
        let Some(epoch) = epochs.first().filter(|epoch| position.slot == SLOT && epoch.first <= position.offset) else {
            return Ok(None);
        };
        let Some(family) = self.db().cf_handle(&epoch.family()) else { return Ok(None) };
        let key = keys::event(position.offset);
        let value = self.db().get_pinned_cf(&family, key)?;
        value.map(|value| decode_event(position, &value).map_err(damaged(&key))).transpose()
    }
}
