//! Providers call back, and plugins note what they sent: both on the committer's turn, and what must hold of the records after it.
//!
//! The simulated provider names its send by the offset of the event. Holds no decision. Invariant: what was answered is looked for on disk
//! from then on.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::callback::{Found, Progress, StatusChange, heard, noted};
use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::import::Note;
use bugle_core::row::{Follow, RecordRow, RecordStatus};
use bugle_core::step::Write;
use bugle_core::time::Timestamp;

use crate::bus::Item;
use crate::evidence::Place;
use crate::rule::{self, Checked, must};
use crate::world::World;

/// Records of the one recipient that each send of the simulated provider has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    rows: BTreeMap<Place, RecordRow>,
    /// Those that something has to follow.
    watched: BTreeSet<Place>,
}

/// What a plugin notes of a send, on each attempt that knows of it.
pub(crate) fn note((_, offset): Place) -> Note {
    Note {
        business_key: format!("order:{offset}"),
        recipient: "user".to_owned(),
        status: RecordStatus::Sent,
        provider: "provider".to_owned(),
        provider_reference: offset.to_string(),
        detail: String::new(),
    }
}

impl Notes {
    pub(crate) fn all(&self) -> impl Iterator<Item = (Place, &RecordRow)> {
        self.rows.iter().map(|(place, row)| (*place, row))
    }

    /// Those that are late.
    pub(crate) fn late(&self, now: Timestamp) -> impl Iterator<Item = (Place, &RecordRow)> {
        let rows = self.watched.iter().filter_map(|place| Some((*place, self.rows.get(place)?)));
        rows.filter(move |(_, row)| matches!(row.follow, Follow::By { at, .. } if at <= now))
    }

    pub(crate) fn get(&self, place: Place) -> Option<&RecordRow> {
        self.rows.get(&place)
    }

    /// The batch holds this record.
    pub(crate) fn apply(&mut self, subscription: SubscriptionId, position: Position, row: &RecordRow) -> Checked {
        let place = (subscription, position.offset);
        match row.follow {
            Follow::By { .. } => self.watched.insert(place),
            Follow::Unwatched | Follow::HandedOn | Follow::ForAPerson => self.watched.remove(&place),
        };
        let before = self.rows.insert(place, row.clone());
        let before = before.map_or(Progress::Open, |before| before.status.progress());
        must(rule::PROVIDER_IS_HEARD, row.status.progress() >= before, || {
            format!("the record of {position} went from {before:?} to {}", row.status.word())
        })
    }
}

impl World {
    /// A provider says something of one of its sends: right or wrong, late or twice, that is not for us to know.
    pub(crate) fn call_back(&mut self) {
        let bus = &mut self.bus;
        let sends: Vec<Place> = bus.disk.synced.notes.rows.keys().copied().collect();
        if sends.is_empty() {
            return;
        }
        let place = *bus.random.pick(&sends);
        let status = *bus.random.pick(&RecordStatus::ALL);
        let at = bus.random.chance(50).then(|| Timestamp(bus.random.below(2 * bus.now.0 + 1)));
        let (reference, recipient) = (place.1.to_string(), bus.random.chance(50).then(|| "user".to_owned()));
        let change = StatusChange { reference, recipient, status, at, detail: String::new() };
        bus.note(|| format!("the provider says {} of {place:?}", status.word()));
        bus.queue.push_back(Item::Callback { place, change });
    }

    /// The callback is on the committer's turn.
    pub(crate) fn hear(&mut self, place: Place, change: &StatusChange, batch: &mut Vec<Write>) {
        let Some(current) = self.record(place, batch) else { return };
        let (position, event) = {
            let event = &self.bus.disk.written.log[place.1.0 as usize];
            (event.position, event.clone())
        };
        let worker = self.workers.iter().find(|worker| worker.spec.id == place.0);
        let spec = &worker.expect("a send is somebody's").spec;
        let mut writes = Vec::new();
        let found = Found { spec, position, event: Some(&event), current: &current };
        if heard(self.bus.now, found, change, &mut writes).is_some() {
            self.place(writes, batch);
        }
    }

    /// The note of a plugin is on the committer's turn.
    pub(crate) fn note(
        &mut self,
        subscription: SubscriptionId,
        position: Position,
        row: RecordRow,
        batch: &mut Vec<Write>,
    ) {
        let current = self.record((subscription, position.offset), batch);
        let row = noted(current.as_ref(), row);
        batch.extend(row.map(|row| Write::Record { subscription, position, row }));
    }

    /// The record as it is, with what the batch has of it.
    fn record(&self, place: Place, batch: &[Write]) -> Option<RecordRow> {
        let of_batch = batch.iter().rev().find_map(|write| match write {
            Write::Record { subscription, position, row }
                if (*subscription, position.offset) == place && !row.recipient.is_empty() =>
            {
                Some(row.clone())
            }
            _ => None,
        });
        of_batch.or_else(|| self.bus.disk.written.notes.get(place).cloned())
    }

    /// The provider was answered that its word is kept.
    pub(crate) fn answered(&mut self, place: Place, change: &StatusChange) -> Checked {
        let told = self.bus.evidence.told_by_providers.entry(place).or_insert(Progress::Open);
        *told = (*told).max(change.status.progress());
        self.check_callback(place)
    }

    fn check_callback(&self, place: Place) -> Checked {
        let told = self.bus.evidence.told_by_providers.get(&place).copied().unwrap_or(Progress::Open);
        let row = self.bus.disk.synced.notes.get(place);
        let has = row.map_or(Progress::Open, |row| row.status.progress());
        must(rule::PROVIDER_IS_HEARD, has >= told, || {
            format!("{place:?} is {has:?} on disk, and {told:?} was answered")
        })
    }

    /// Everything that was ever answered still holds.
    pub(crate) fn check_callbacks(&self) -> Checked {
        self.bus.evidence.told_by_providers.keys().try_for_each(|place| self.check_callback(*place))
    }
}
