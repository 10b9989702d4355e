//! Send records: by business key, recipient, event and the provider's reference, those that are late, and states to remove.
//!
//! Records are keyed by business key first, so "did user 42 get it for order 7" is one short scan over all subscriptions. Every state
//! a record was in has an entry by time, so late ones and old ones are ranges. Knows nothing of what a status means.
//!
//! Invariant: what an entry finds is the record as it is now; an entry of an older state finds nothing.

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::{LateEntry, RecordRow, forgets};
use bugle_core::step::Write;
use bugle_core::time::{Millis, Timestamp};

use super::{ReadError, damaged};
use crate::codec::{Damaged, Row};
use crate::family::Family;
use crate::keys::{self, Fields, Key, RecordIndex};
use crate::store::Store;

/// States of records that are passed over in one look for late ones, since others followed or they are of others: a few seconds of
/// reading.
const STATES_PASSED_MAX: usize = 1_000_000;

/// Records of one event, of all subscriptions and recipients, among which one is looked for.
const RECORDS_OF_EVENT_MAX: usize = 10_000;

/// A send record and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordEntry {
    /// Whose delivery it was.
    pub subscription: SubscriptionId,
    /// Which event's.
    pub position: Position,
    /// The record.
    pub row: RecordRow,
}

/// Records that wait for something to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateRecords {
    /// Oldest first.
    pub found: Vec<RecordEntry>,
    /// The look ended at its bound: there may be others, even if none was found.
    pub is_cut: bool,
}

/// What a record is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordLookup<'a> {
    /// What it is about.
    BusinessKey(&'a str),
    /// Whom it went to.
    Recipient(&'a str),
    /// The event's `id`.
    Event(&'a str),
    /// The provider's reference.
    Reference(&'a str),
}

impl Store {
    /// Records of a business key over all subscriptions, at most `limit`.
    pub fn records(&self, business_key: &str, limit: usize) -> Result<Vec<RecordEntry>, ReadError> {
        self.record_page(&keys::records(business_key), limit)
    }

    /// Records of a business key in one subscription, perhaps of one recipient only, at most `limit`.
    pub fn records_of(
        &self,
        subscription: SubscriptionId,
        business_key: &str,
        recipient: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RecordEntry>, ReadError> {
        let prefix = match recipient {
            Some(recipient) => keys::records_to(business_key, subscription, recipient),
            None => keys::records_of(business_key, subscription),
        };
        self.record_page(&prefix, limit)
    }

    /// One record, by all that names it.
    pub fn record(
        &self,
        subscription: SubscriptionId,
        position: Position,
        business_key: &str,
        recipient: &str,
    ) -> Result<Option<RecordRow>, ReadError> {
        let key = keys::record(business_key, subscription, recipient, position);
        Ok(self.record_at(key.as_ref())?.map(|entry| entry.row))
    }

    fn record_page(&self, prefix: &Key, limit: usize) -> Result<Vec<RecordEntry>, ReadError> {
        self.rows_from(Family::Record, prefix, None)
            .take(limit)
            .map(|pair| {
                let (key, value) = pair?;
                record_entry(&key, &value)
            })
            .collect()
    }

    /// Records that something finds, over all subscriptions, at most `limit`.
    pub fn find_records(&self, lookup: RecordLookup<'_>, limit: usize) -> Result<Vec<RecordEntry>, ReadError> {
        let (prefix, texts) = match lookup {
            RecordLookup::BusinessKey(key) => return self.records(key, limit),
            RecordLookup::Recipient(recipient) => (RecordIndex::Recipient.prefix(recipient), 1),
            RecordLookup::Event(id) => (RecordIndex::Event.prefix(id), 1),
            RecordLookup::Reference(reference) => (RecordIndex::Reference.prefix(reference), 2),
        };
        let mut found = Vec::new();
        for pair in self.rows_from(Family::Record, &prefix, None).take(limit) {
            let (key, _) = pair?;
            let key = keys::record_of(&key, texts).ok_or(Damaged("its key is too short")).map_err(damaged(&key))?;
            let Some(entry) = self.record_at(&key)? else { continue };
            // A record that has another reference now is not found by its old one.
            let is_it = match lookup {
                RecordLookup::Reference(reference) => entry.row.provider_reference == *reference,
                RecordLookup::BusinessKey(_) | RecordLookup::Recipient(_) | RecordLookup::Event(_) => true,
            };
            if is_it {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// The host's own record of a delivery, which names no recipient; looked for among those of the event's id.
    pub fn record_of_delivery(
        &self,
        subscription: SubscriptionId,
        event: &StoredEvent,
    ) -> Result<Option<RecordRow>, ReadError> {
        let of_event = self.find_records(RecordLookup::Event(event.event.id()), RECORDS_OF_EVENT_MAX)?;
        let is_it = |entry: &RecordEntry| {
            entry.subscription == subscription && entry.position == event.position && entry.row.recipient.is_empty()
        };
        Ok(of_event.into_iter().find(is_it).map(|entry| entry.row))
    }

    /// Records that have been in a state in which something had to follow since before a time, oldest first, at most `limit`; of one
    /// subscription or all.
    pub fn late_records(
        &self,
        before: Timestamp,
        subscription: Option<SubscriptionId>,
        limit: usize,
    ) -> Result<LateRecords, ReadError> {
        self.late_among(before, subscription, limit, STATES_PASSED_MAX)
    }

    pub(crate) fn late_among(
        &self,
        before: Timestamp,
        subscription: Option<SubscriptionId>,
        limit: usize,
        passed_max: usize,
    ) -> Result<LateRecords, ReadError> {
        let (mut late, mut passed) = (LateRecords::default(), 0);
        for pair in self.rows_from(Family::Record, &keys::record_states(true), None) {
            let (key, value) = pair?;
            let state = RecordRow::decode(&value).map_err(damaged(&key))?;
            if state.at >= before || late.found.len() >= limit {
                break;
            }
            let (owner, _) = place_of_state(&key).map_err(damaged(&key))?;
            let is_asked_for = subscription.is_none_or(|subscription| subscription == owner);
            let entry = if is_asked_for { self.record_of_state(&key)? } else { None };
            if let Some(entry) = entry.filter(|entry| entry.row == state) {
                late.found.push(entry);
                continue;
            }
            passed += 1;
            if passed > passed_max {
                late.is_cut = true;
                break;
            }
        }
        Ok(late)
    }

    /// Entries of records that something should have followed by now, oldest first, after one of them, at most `limit`; each with its record
    /// if that has not moved on.
    pub fn late_entries(
        &self,
        now: Timestamp,
        after: Option<&LateEntry>,
        limit: usize,
    ) -> Result<Vec<(LateEntry, Option<RecordRow>)>, ReadError> {
        let after = after.map(|entry| {
            let record = keys::record(&entry.business_key, entry.subscription, &entry.recipient, entry.position);
            keys::late(entry.at, &record)
        });
        let mut found = Vec::new();
        let from = after.as_ref().map(AsRef::as_ref);
        for pair in self.rows_from(Family::Record, &keys::lates(), from) {
            let (key, _) = pair?;
            if from == Some(&*key) {
                continue;
            }
            if found.len() == limit {
                break;
            }
            let entry =
                keys::late_entry(&key).ok_or(Damaged("its key is not a late record's")).map_err(damaged(&key))?;
            if entry.at > now {
                break;
            }
            let row = self.record(entry.subscription, entry.position, &entry.business_key, &entry.recipient)?;
            let row = row.filter(|row| entry.is_of(row));
            found.push((entry, row));
        }
        Ok(found)
    }

    /// States that are older than `kept`, as the deletes of them, at most `limit` of each kind.
    pub fn old_records(&self, now: Timestamp, kept: Millis, limit: usize) -> Result<Vec<Write>, ReadError> {
        let mut writes = Vec::new();
        for is_open in [true, false] {
            for pair in self.rows_from(Family::Record, &keys::record_states(is_open), None).take(limit) {
                let (key, value) = pair?;
                let row = RecordRow::decode(&value).map_err(damaged(&key))?;
                let latest = self.record_of_state(&key)?;
                let Some(forgotten) = forgets(now, kept, &row, latest.as_ref().map(|entry| &entry.row)) else { break };
                let (subscription, position) = place_of_state(&key).map_err(damaged(&key))?;
                writes.push(Write::RecordGone { subscription, position, row, forgotten });
            }
        }
        Ok(writes)
    }

    pub(crate) fn record_of_state(&self, entry: &[u8]) -> Result<Option<RecordEntry>, ReadError> {
        let key = keys::record_of_state(entry).ok_or(Damaged("its key is too short")).map_err(damaged(entry))?;
        self.record_at(&key)
    }

    fn record_at(&self, key: &[u8]) -> Result<Option<RecordEntry>, ReadError> {
        let value = self.db().get_pinned_cf(&self.family(Family::Record), key)?;
        value.map(|value| record_entry(key, &value)).transpose()
    }
}

pub(crate) fn place_of_state(entry: &[u8]) -> Result<(SubscriptionId, Position), Damaged> {
    let key = keys::record_of_state(entry).ok_or(Damaged("its key is too short"))?;
    place(&key).ok_or(Damaged("its key is not a record's"))
}

fn place(key: &[u8]) -> Option<(SubscriptionId, Position)> {
    let mut fields = Fields::of(key);
    fields.text()?;
    let subscription = fields.subscription()?;
    fields.text()?;
    Some((subscription, fields.position()?))
}

pub(crate) fn record_entry(key: &[u8], value: &[u8]) -> Result<RecordEntry, ReadError> {
    let (subscription, position) = place(key).ok_or(Damaged("its key is not a record's")).map_err(damaged(key))?;
    Ok(RecordEntry { subscription, position, row: RecordRow::decode(value).map_err(damaged(key))? })
}
