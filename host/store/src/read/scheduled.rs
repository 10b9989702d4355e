//! Scheduled events: those that are due next, those of a name, and what became of one.
//!
//! Knows nothing of clocks. Invariant: a page is in the order of release and leaves nothing out between its ends.

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Position, TopicId};
use bugle_core::row::{FateRow, ScheduledTotals};
use bugle_core::schedule::{Due, DuePage, ScheduledQuery};
use bugle_core::time::Timestamp;

use super::events::EventBounds;
use super::{ReadError, damaged};
use crate::codec::{Damaged, decode_event};
use crate::family::Family;
use crate::keys::{self, Fields, Kind, SLOT};
use crate::store::Store;

impl Store {
    /// Scheduled events from a place on that are due by `until`, in the order of release. The first is returned whatever its size.
    /// A row that is damaged is left out and told to `damaged_row`: one bad row must not stop all that come after it.
    pub fn scheduled(
        &self,
        from: Due,
        until: Timestamp,
        bounds: EventBounds,
        mut damaged_row: impl FnMut(ReadError),
    ) -> Result<DuePage, ReadError> {
        let mut page = DuePage::default();
        let mut bytes = 0;
        for pair in self.rows_from(Family::Due, &keys::scheduled_all(), Some(keys::scheduled(from).as_ref())) {
            let (key, value) = pair?;
            let due = due_of(&key).map_err(damaged(&key))?;
            bytes += value.len();
            let is_full = page.events.len() >= bounds.events_max || bytes > bounds.bytes_max;
            if due.at > until || (is_full && !page.events.is_empty()) {
                page.next = Some(due);
                break;
            }
            match scheduled_event(due, &value).map_err(damaged(&key)) {
                Ok(event) => page.events.push(event),
                Err(error) => damaged_row(error),
            }
        }
        Ok(page)
    }

    /// At most `limit` scheduled events of a topic and a name, in the order of release.
    pub fn scheduled_of(&self, query: ScheduledQuery<'_>, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        let mut found = Vec::new();
        for pair in self.rows_from(Family::Due, &keys::scheduled_names(query.topic, query.name.hash()), None) {
            let (key, _) = pair?;
            let due = due_at_end(&key).map_err(damaged(&key))?;
            if found.len() == limit {
                break;
            }
            // A name's row and its event come and go in one batch.
            let event = self.scheduled_at(due)?;
            let event = event.ok_or(Damaged("it names an event that is not scheduled")).map_err(damaged(&key))?;
            // Another name can have the same hash.
            found.extend(query.is_of(&event).then_some(event));
        }
        Ok(found)
    }

    /// The scheduled event at a place, if it still waits.
    pub fn scheduled_at(&self, due: Due) -> Result<Option<StoredEvent>, ReadError> {
        let key = keys::scheduled(due);
        let value = self.db().get_pinned_cf(&self.family(Family::Due), &key)?;
        value.map(|value| scheduled_event(due, &value).map_err(damaged(key.as_ref()))).transpose()
    }

    /// What became of a scheduled event, if it ended and its place is in the log.
    pub fn fate(&self, offset: Offset) -> Result<Option<FateRow>, ReadError> {
        self.row(Family::Due, &keys::fate(offset))
    }

    /// The scheduled events of a topic in numbers; nothing if there never were any.
    pub fn scheduled_totals(&self, topic: TopicId) -> Result<ScheduledTotals, ReadError> {
        Ok(self.row(Family::Due, &keys::scheduled_totals(topic))?.unwrap_or_default())
    }
}

/// The event of a row.
pub(crate) fn scheduled_event(due: Due, value: &[u8]) -> Result<StoredEvent, Damaged> {
    let event = decode_event(Position { slot: SLOT, offset: due.offset }, value)?;
    if Due::of(&event) == Some(due) { Ok(event) } else { Err(Damaged("its event is due at another time")) }
}

/// The place in the key of a row.
pub(crate) fn due_of(key: &[u8]) -> Result<Due, Damaged> {
    let mut fields = Fields::of(key);
    let place = (|| {
        fields.slot()?;
        Some(Due { at: Timestamp(fields.u64()?), offset: Offset(fields.u64()?) })
    })();
    place.filter(|_| Kind::of(key) == Some(Kind::Scheduled)).ok_or(Damaged("its key is not of a scheduled event"))
}

/// The place at the end of a name's key.
fn due_at_end(key: &[u8]) -> Result<Due, Damaged> {
    let place = key.last_chunk::<16>().map(|bytes| u128::from_be_bytes(*bytes));
    let place = place.ok_or(Damaged("its key is too short"))?;
    Ok(Due { at: Timestamp((place >> 64) as u64), offset: Offset(place as u64) })
}
