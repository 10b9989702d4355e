//! Events from the log: a run from an offset on, or one by its place.
//!
//! Runs are read by a plain forward iterator over the epochs, without filling the block cache, so that a reader far behind does
//! not push out what others use. Knows nothing of topics.
//!
//! Invariant: a page holds every event of the log from the asked offset up to `next`, in order, or there is an error: a missing
//! event is noticed by its offset (guarantees G2).

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Position};
use rocksdb::ReadOptions;

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
    /// Events, at least one.
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
    /// Events from `from` on; from the log's floor on, if that is higher. An empty page means that there are none yet.
    pub fn events(&self, from: Offset, bounds: EventBounds) -> Result<EventPage, ReadError> {
        let tail = self.next();
        let mut page = EventPage { events: Vec::new(), next: from.max(self.floor()) };
        let mut bytes = 0;
        for epoch in self.log().from(page.next) {
            if self.read_epoch(epoch, bounds, &mut page, &mut bytes)? == Reached::Bound {
                return Ok(page);
            }
        }
        if page.next < tail && !self.log().follows(page.next, tail) {
            return Err(ReadError::Missing { missing: page.next });
        }
        page.next = page.next.max(from);
        Ok(page)
    }

    fn read_epoch(
        &self,
        epoch: Epoch,
        bounds: EventBounds,
        page: &mut EventPage,
        bytes: &mut usize,
    ) -> Result<Reached, ReadError> {
        let Some(family) = self.db().cf_handle(&epoch.family()) else {
            // Dropped since the epochs were listed: its events are below everybody's floor.
            page.next = page.next.max(self.floor());
            return Ok(Reached::End);
        };
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        if bounds.bytes_max >= LARGE_PAGE_BYTES {
            options.set_readahead_size(READAHEAD_BYTES);
        }
        // Borrows keys and values where the usual iterator copies each into a box of its own.
        let mut rows = self.db().raw_iterator_cf_opt(&family, options);
        rows.seek(keys::event(page.next));
        while let Some((key, value)) = rows.item() {
            let is_full = page.events.len() >= bounds.events_max || *bytes + value.len() > bounds.bytes_max;
            if is_full && !page.events.is_empty() {
                return Ok(Reached::Bound);
            }
            let Some(offset) = keys::event_offset(key) else {
                return Err(damaged(key)(Damaged("the key is not an event's")));
            };
            if !self.log().follows(page.next, offset) {
                return Err(ReadError::Missing { missing: page.next });
            }
            *bytes += value.len();
            page.events.push(decode_event(Position { slot: SLOT, offset }, value).map_err(damaged(key))?);
            page.next = offset.next();
            rows.next();
        }
        rows.status()?;
        Ok(Reached::End)
    }

    /// The event at a place, if the log still has it.
    pub fn event(&self, position: Position) -> Result<Option<StoredEvent>, ReadError> {
        let (offset, tail) = (position.offset, self.next());
        let epochs = self.log().from(offset);
        let Some(epoch) = epochs.first().filter(|epoch| position.slot == SLOT && epoch.first <= offset) else {
            return Ok(None);
        };
        let Some(family) = self.db().cf_handle(&epoch.family()) else { return Ok(None) };
        let key = keys::event(offset);
        let value = self.db().get_pinned_cf(&family, key)?;
        if value.is_none() && offset >= self.floor() && offset < tail && !self.log().is_gap(offset) {
            return Err(ReadError::Missing { missing: offset });
        }
        value.map(|value| decode_event(position, &value).map_err(damaged(&key))).transpose()
    }
}

/// Why a read of an epoch stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// One of the page's bounds.
    Bound,
    /// The epoch's end.
    End,
}
