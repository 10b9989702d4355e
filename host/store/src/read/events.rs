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
use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::{ReadError, damaged};
use crate::codec::{Damaged, decode_event};
use crate::keys::{self, SLOT};
use crate::log::Epoch;
use crate::store::{Db, Store};

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
        // Looked at before the rows, so that every event below it must be found; behind it one strand may show what another one
        // does not yet.
        let tail = self.next();
        let mut next = from.max(self.floor());
        let mut strands = Vec::new();
        for epochs in self.log().from(next) {
            strands.push(Strand::new(self.db(), epochs, is_large, next)?);
        }
        while let Some(strand) = first_of(&mut strands).filter(|strand| strand.head.is_some_and(|head| head < tail)) {
            let Some((key, value)) = strand.rows.as_ref().and_then(|rows| rows.item()) else { break };
            let offset = keys::event_offset(key).ok_or(Damaged("the key is not an event's")).map_err(damaged(key))?;
            if !self.log().follows(next, offset) {
                return Err(ReadError::Missing { missing: next });
            }
            if visit(offset, value).map_err(damaged(key))?.is_break() {
                return Ok(next);
            }
            next = offset.next();
            strand.go_on()?;
        }
        if next < tail && !self.log().follows(next, tail) {
            return Err(ReadError::Missing { missing: next });
        }
        Ok(next.max(from))
    }

    /// The event at a place, if the log still has it.
    pub fn event(&self, position: Position) -> Result<Option<StoredEvent>, ReadError> {
        let (offset, tail) = (position.offset, self.next());
        if position.slot != SLOT || offset < self.floor() {
            return Ok(None);
        }
        let (key, mut value) = (keys::event(offset), None);
        for epoch in self.log().at(offset) {
            // Dropped since the epochs were listed: its events are below everybody's floor.
            let Some(family) = self.db().cf_handle(&epoch.family()) else { continue };
            value = self.db().get_pinned_cf(&family, key)?;
            if value.is_some() {
                break;
            }
        }
        if value.is_none() && offset < tail && !self.log().is_gap(offset) {
            return Err(ReadError::Missing { missing: offset });
        }
        value.map(|value| decode_event(position, &value).map_err(damaged(&key))).transpose()
    }
}

/// The rows of one retention, epoch after epoch.
struct Strand<'a> {
    db: &'a Db,
    epochs: std::vec::IntoIter<Epoch>,
    is_large: bool,
    from: Offset,
    // Borrows keys and values where the usual iterator copies each into a box of its own.
    rows: Option<DBRawIteratorWithThreadMode<'a, Db>>,
    /// The offset it is at.
    head: Option<Offset>,
}

/// The one whose event is next.
fn first_of<'s, 'a>(strands: &'s mut [Strand<'a>]) -> Option<&'s mut Strand<'a>> {
    strands.iter_mut().filter(|strand| strand.head.is_some()).min_by_key(|strand| strand.head)
}

impl<'a> Strand<'a> {
    fn new(db: &'a Db, epochs: Vec<Epoch>, is_large: bool, from: Offset) -> Result<Strand<'a>, ReadError> {
        let mut strand = Strand { db, epochs: epochs.into_iter(), is_large, from, rows: None, head: None };
        strand.look()?;
        Ok(strand)
    }

    fn go_on(&mut self) -> Result<(), ReadError> {
        if let Some(rows) = &mut self.rows {
            rows.next();
        }
        self.look()
    }

    /// Finds where it is, in the next epoch if need be.
    fn look(&mut self) -> Result<(), ReadError> {
        loop {
            if let Some(rows) = &self.rows {
                if let Some(key) = rows.key() {
                    let offset = keys::event_offset(key).ok_or(Damaged("the key is not an event's"));
                    self.head = Some(offset.map_err(damaged(key))?);
                    return Ok(());
                }
                rows.status()?;
            }
            let Some(epoch) = self.epochs.next() else {
                (self.rows, self.head) = (None, None);
                return Ok(());
            };
            self.rows = self.open(epoch);
        }
    }

    /// `None` if it was dropped since the epochs were listed: its events are below everybody's floor.
    fn open(&self, epoch: Epoch) -> Option<DBRawIteratorWithThreadMode<'a, Db>> {
        let family = self.db.cf_handle(&epoch.family())?;
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        if self.is_large {
            options.set_readahead_size(READAHEAD_BYTES);
        }
        let mut rows = self.db.raw_iterator_cf_opt(&family, options);
        rows.seek(keys::event(self.from));
        Some(rows)
    }
}
