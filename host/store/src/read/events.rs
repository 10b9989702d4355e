//! Events from the log: a run from an offset on, or one by its place.
//!
//! Runs are read by a plain forward iterator over the epochs, without filling the block cache, so that a reader far behind does
//! not push out what others use. Knows nothing of topics.
//!
//! Invariant: a page holds every event of the log from the asked offset up to `next`, in order, or there is an error: a missing
//! event is noticed by its offset (guarantees G2).

use std::ops::ControlFlow;

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
        let mut events = Vec::new();
        let mut bytes = 0;
        let is_large = bounds.bytes_max >= LARGE_PAGE_BYTES;
        let next = self.walk(from, is_large, |offset, value| {
            bytes += value.len();
            let is_full = events.len() >= bounds.events_max || bytes > bounds.bytes_max;
            if is_full && !events.is_empty() {
                return Ok(ControlFlow::Break(()));
            }
            events.push(decode_event(Position { slot: SLOT, offset }, value)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(EventPage { events, next })
    }

    /// Visits the records of the log from `from` on, until the visitor breaks off; returns the offset it broke off at, or the
    /// one behind the last.
    pub(super) fn walk(
        &self,
        from: Offset,
        is_large: bool,
        mut visit: impl FnMut(Offset, &[u8]) -> Result<ControlFlow<()>, Damaged>,
    ) -> Result<Offset, ReadError> {
        // Looked at before the rows, so that every event below it must be found.
        let tail = self.next();
        let mut next = from.max(self.floor());
        for epoch in self.log().from(next) {
            if self.walk_epoch(epoch, is_large, &mut next, &mut visit)?.is_break() {
                return Ok(next);
            }
        }
        if next < tail && !self.log().follows(next, tail) {
            return Err(ReadError::Missing { missing: next });
        }
        Ok(next.max(from))
    }

    fn walk_epoch(
        &self,
        epoch: Epoch,
        is_large: bool,
        next: &mut Offset,
        visit: &mut impl FnMut(Offset, &[u8]) -> Result<ControlFlow<()>, Damaged>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let Some(family) = self.db().cf_handle(&epoch.family()) else {
            // Dropped since the epochs were listed: its events are below everybody's floor.
            *next = (*next).max(self.floor());
            return Ok(ControlFlow::Continue(()));
        };
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        if is_large {
            options.set_readahead_size(READAHEAD_BYTES);
        }
        // Borrows keys and values where the usual iterator copies each into a box of its own.
        let mut rows = self.db().raw_iterator_cf_opt(&family, options);
        rows.seek(keys::event(*next));
        while let Some((key, value)) = rows.item() {
            let offset = keys::event_offset(key).ok_or(Damaged("the key is not an event's")).map_err(damaged(key))?;
            if !self.log().follows(*next, offset) {
                return Err(ReadError::Missing { missing: *next });
            }
            if visit(offset, value).map_err(damaged(key))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            *next = offset.next();
            rows.next();
        }
        rows.status()?;
        Ok(ControlFlow::Continue(()))
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
