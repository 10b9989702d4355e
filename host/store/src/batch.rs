//! Rows of one commit, turned into one RocksDB batch as they are pushed.
//!
//! Keys and values are built in two buffers that are used again for each row, so an event costs no allocation of its own. Knows
//! nothing of when the batch is committed.
//!
//! Invariant: rows land in the order of their pushes, and all events of a batch that have one retention in one log epoch.

use std::collections::HashMap;
use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, SubscriptionId, TopicId};
use bugle_core::retention::{CLASSES_MAX, KeepClass};
use bugle_core::row::{
    Expiring, ExpiryEntry, FateRow, Follow, Forgotten, IdBlockRow, IdEntry, LateEntry, RecordRow, ScheduledTotals,
    Second,
};
use bugle_core::schedule::{Due, ScheduledName};
use bugle_core::step::Write;
use bugle_core::time::Timestamp;
use rocksdb::{BoundColumnFamily, WriteBatch};

use crate::codec::{EpochRow, Number, Row, WindowValue, encode_event, encode_ids};
use crate::family::Family;
use crate::keys::{self, Key, Kind, RecordIndex};
use crate::log::Epoch;
use crate::store::Store;

/// See the module. Made by [`Store::batch`], given to [`Store::commit`].
pub struct Batch<'s> {
    store: &'s Store,
    pub(crate) rows: WriteBatch,
    families: [Option<Arc<BoundColumnFamily<'s>>>; Family::ALL.len()],
    /// Where the events of each retention go.
    log: [Option<LogPlace<'s>>; CLASSES_MAX],
    /// Topics that have another retention than the default, as of the batch's beginning.
    classes: Arc<HashMap<TopicId, KeepClass>>,
    value: Vec<u8>,
    pub(crate) problem: Option<&'static str>,
}

/// Where the batch's events of one retention go.
struct LogPlace<'s> {
    epoch: Epoch,
    family: Arc<BoundColumnFamily<'s>>,
    /// Bytes of events so far, and the offset after the last one.
    bytes: u64,
    next: Offset,
}

/// What the events of a batch do to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) epoch: Epoch,
    pub(crate) bytes: u64,
    pub(crate) next: Offset,
}

impl<'s> Batch<'s> {
    pub(crate) fn new(store: &'s Store, capacity_bytes: usize) -> Batch<'s> {
        Batch {
            store,
            rows: WriteBatch::with_capacity_bytes(capacity_bytes),
            families: [const { None }; Family::ALL.len()],
            log: [const { None }; CLASSES_MAX],
            classes: store.classes(),
            value: Vec::new(),
            problem: None,
        }
    }

    /// Bytes of the batch so far.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.rows.size_in_bytes()
    }

    /// Rows in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row. A follow-up event must have got its place from admission before; one that has not fails the commit.
    pub fn push(&mut self, write: &Write) {
        match write {
            Write::Event(event) => self.event(event),
            Write::Erased(event) => self.erased(event),
            Write::Append { .. } | Write::Outcome { .. } | Write::Redeliver { .. } => {
                self.problem = Some("a follow-up event without a place")
            }
            Write::Timer { .. } => self.problem = Some("a timer that admission did not set"),
            Write::Note { .. } => self.problem = Some("a note that nobody compared with its record"),
            Write::ProducerSequence { producer, epoch, stream, sequence } => {
                let key = keys::sequence(producer, *epoch, *stream);
                self.put(Family::Cursor, key.as_ref(), &Number(sequence.0));
            }
            Write::Cursor { subscription, class, row } => {
                self.put(Family::Cursor, keys::cursor(*subscription, *class).as_ref(), row);
            }
            Write::Chunk { subscription, class, chunk, row } => {
                self.set(Family::Cursor, keys::chunk(*subscription, *class, *chunk).as_ref(), row.as_ref());
            }
            Write::Waiting { subscription, offset, row } => {
                self.set(Family::Lane, keys::waiting(*subscription, *offset).as_ref(), row.as_ref());
            }
            Write::Hold { subscription, key, class, row } => {
                self.set(Family::Lane, keys::hold(*subscription, *class, key).as_ref(), row.as_ref());
            }
            Write::Paused { subscription, row } => {
                self.set(Family::Lane, keys::paused(*subscription).as_ref(), row.as_ref());
            }
            Write::WaitingRange { subscription, from, to } => self.waiting_range(*subscription, *from, *to),
            Write::Run { subscription, row } => {
                self.set(Family::Lane, keys::run(*subscription).as_ref(), row.as_ref());
            }
            Write::LetGo { subscription, row } => {
                self.put(Family::Lane, keys::let_go(*subscription, row.serial).as_ref(), row);
            }
            Write::Forget { subscription, name } => self.forget(*subscription, name),
            Write::Channel { subscription, row } => {
                self.set(Family::Lane, keys::channel(*subscription).as_ref(), row.as_ref());
            }
            Write::Dead { .. }
            | Write::DeadGone { .. }
            | Write::DeadTotals { .. }
            | Write::Unknown { .. }
            | Write::UnknownGone { .. }
            | Write::UnknownTotals { .. }
            | Write::Record { .. }
            | Write::RecordGone { .. }
            | Write::LateGone(_) => self.for_people(write),
            Write::Claim { .. }
            | Write::Kv { .. }
            | Write::Window { .. }
            | Write::WindowEnded { .. }
            | Write::ExpiryGone(_)
            | Write::ExpiriesBelow { .. } => self.that_ends(write),
            Write::Catalog { kind, key, value } => {
                let key = keys::catalog(*kind, key);
                match value {
                    Some(value) => self.put_raw(Family::Meta, key.as_ref(), value),
                    None => self.delete(Family::Meta, key.as_ref()),
                }
            }
            Write::Scheduled(event) => self.scheduled(event),
            Write::ScheduleEnded { event, row } => self.schedule_ended(event, row),
            Write::ScheduledTotals { topic, row } => self.scheduled_totals(*topic, row),
            Write::FatesBelow { floor } => self.fates_below(*floor),
            Write::IdChunk { block, chunk, first, ids } => self.id_chunk(*block, *chunk, *first, ids),
            Write::IdBlock { block, row } => self.id_block(*block, row.as_ref()),
        }
    }

    /// What is kept for people: dead letters, unknown results, send records.
    fn for_people(&mut self, write: &Write) {
        match write {
            Write::Dead { subscription, position, row } => {
                self.put(Family::Dead, keys::kept_at(Kind::Dead, *subscription, *position).as_ref(), row);
            }
            Write::DeadGone { subscription, position } => {
                self.delete(Family::Dead, keys::kept_at(Kind::Dead, *subscription, *position).as_ref());
            }
            Write::DeadTotals { subscription, row } => {
                self.put(Family::Dead, keys::dead_totals(*subscription).as_ref(), row);
            }
            Write::Unknown { subscription, position, row } => {
                self.put(Family::Dead, keys::kept_at(Kind::Unknown, *subscription, *position).as_ref(), row);
            }
            Write::UnknownGone { subscription, position } => {
                self.delete(Family::Dead, keys::kept_at(Kind::Unknown, *subscription, *position).as_ref());
            }
            Write::UnknownTotals { subscription, row } => {
                self.put(Family::Dead, keys::unknown_totals(*subscription).as_ref(), row);
            }
            Write::Record { subscription, position, row } => {
                let key = keys::record(&row.business_key, *subscription, &row.recipient, *position);
                self.record(&key, row);
            }
            Write::LateGone(LateEntry { at, subscription, position, business_key, recipient }) => {
                let record = keys::record(business_key, *subscription, recipient, *position);
                self.delete(Family::Record, keys::late(*at, &record).as_ref());
            }
            Write::RecordGone { subscription, position, row, forgotten } => {
                let key = keys::record(&row.business_key, *subscription, &row.recipient, *position);
                self.record_gone(&key, row, *forgotten);
            }
            _ => self.problem = Some("a row that is not for people was taken for one that is"),
        }
    }

    /// Claims, kv entries and what ends them.
    fn that_ends(&mut self, write: &Write) {
        match write {
            Write::Claim { scope, key, row } => {
                self.set(Family::Claim, keys::claim(scope, key).as_ref(), row.as_ref());
                self.ends(Expiring::Claim, scope, key, row.as_ref().map(|row| row.expires));
            }
            Write::Kv { store, key, row } => {
                self.set(Family::Kv, keys::kv(store, key).as_ref(), row.as_ref());
                self.ends(Expiring::Kv, store, key, row.as_ref().and_then(|row| row.expires));
            }
            Write::Window { scope, mark } => {
                let value = WindowValue { key: mark.key.clone(), receipt: mark.receipt.clone() };
                self.put(Family::Claim, keys::window_mark(scope, mark.expires, mark.number).as_ref(), &value);
            }
            Write::WindowEnded { scope, expires, number } => {
                let end = keys::window_mark(scope, *expires, number.saturating_add(1));
                self.delete_range(Family::Claim, keys::window(scope).as_ref(), end.as_ref());
            }
            Write::ExpiryGone(ExpiryEntry { of, second, scope, key }) => {
                self.delete(keys::expiry_family(*of), keys::expiry(*of, *second, scope, key).as_ref());
            }
            Write::ExpiriesBelow { of, below } => {
                let (from, to) = (keys::expiries(*of), keys::expiries_at(*of, *below));
                self.delete_range(keys::expiry_family(*of), from.as_ref(), to.as_ref());
            }
            _ => self.problem = Some("a row that does not end was taken for one that does"),
        }
    }

    /// What finds a row when its time has come.
    fn ends(&mut self, of: Expiring, scope: &str, key: &str, expires: Option<Timestamp>) {
        if let Some(expires) = expires {
            let entry = keys::expiry(of, Second::from(expires), scope, key);
            self.put_raw(keys::expiry_family(of), entry.as_ref(), &[]);
        }
    }

    /// Deletes a dead letter or a parked delivery, for a replay or a decision.
    pub fn remove_kept(
        &mut self,
        kind: Kind,
        subscription: bugle_core::ids::SubscriptionId,
        position: bugle_core::ids::Position,
    ) {
        let family = self.family(Family::Dead);
        self.rows.delete_cf(&family, keys::kept_at(kind, subscription, position));
    }

    /// The record as it is now, the state by time, and what finds it.
    fn record(&mut self, key: &Key, row: &RecordRow) {
        self.put(Family::Record, key.as_ref(), row);
        self.put(Family::Record, keys::record_state(row, key).as_ref(), row);
        if let Follow::By { at, .. } = row.follow {
            self.put_raw(Family::Record, keys::late(at, key).as_ref(), &[]);
        }
        for entry in RecordIndex::ALL.into_iter().filter_map(|index| index.entry(row, key)) {
            self.put_raw(Family::Record, entry.as_ref(), &[]);
        }
    }

    fn record_gone(&mut self, key: &Key, row: &RecordRow, forgotten: Forgotten) {
        self.delete(Family::Record, keys::record_state(row, key).as_ref());
        if let Follow::By { at, .. } = row.follow {
            self.delete(Family::Record, keys::late(at, key).as_ref());
        }
        let found_by: &[RecordIndex] = match forgotten {
            Forgotten::Record => &RecordIndex::ALL,
            Forgotten::Reference => &[RecordIndex::Reference],
            Forgotten::Nothing => &[],
        };
        if forgotten == Forgotten::Record {
            self.delete(Family::Record, key.as_ref());
        }
        for entry in found_by.iter().filter_map(|index| index.entry(row, key)) {
            self.delete(Family::Record, entry.as_ref());
        }
    }

    fn event(&mut self, event: &bugle_core::event::StoredEvent) {
        let offset = event.position.offset;
        let mut value = std::mem::take(&mut self.value);
        encode_event(event, &mut value);
        let class = self.classes.get(&event.topic).copied().unwrap_or_default();
        if self.log[class.index()].is_none() {
            self.log[class.index()] = self.open_log(class, offset);
        }
        match &mut self.log[class.index()] {
            Some(log) => {
                self.rows.put_cf(&log.family, keys::event(offset), &value);
                log.bytes += value.len() as u64;
                log.next = log.next.max(offset.next());
            }
            None => self.problem = Some("the log has no family to write to"),
        }
        self.value = value;
    }

    /// Over the record that is there, in the strand that has it; none if the log was dropped up to behind it.
    fn erased(&mut self, event: &StoredEvent) {
        let key = keys::event(event.position.offset);
        let mut value = std::mem::take(&mut self.value);
        encode_event(event, &mut value);
        for epoch in self.store.log().at(event.position.offset) {
            let Some(family) = self.store.db().cf_handle(&epoch.family()) else { continue };
            match self.store.db().get_pinned_cf(&family, key) {
                Ok(Some(_)) => self.rows.put_cf(&family, key, &value),
                Ok(None) => {}
                Err(_) => self.problem = Some("the place of an event to erase cannot be read"),
            }
        }
        self.value = value;
    }

    /// The event once more, under its due time: released in that order without a look at the log, which may have been trimmed.
    fn scheduled(&mut self, event: &StoredEvent) {
        let Some(due) = Due::of(event) else {
            self.problem = Some("a scheduled event without a time");
            return;
        };
        let mut value = std::mem::take(&mut self.value);
        encode_event(event, &mut value);
        let family = self.family(Family::Due);
        self.rows.put_cf(&family, keys::scheduled(due), &value);
        for name in ScheduledName::all(&event.event) {
            // The version byte alone: the key says it all.
            self.rows.put_cf(&family, keys::scheduled_name(event.topic, name.hash(), due), [1]);
        }
        self.value = value;
    }

    fn schedule_ended(&mut self, event: &StoredEvent, row: &FateRow) {
        let Some(due) = Due::of(event) else {
            self.problem = Some("a scheduled event without a time");
            return;
        };
        self.delete(Family::Due, keys::scheduled(due).as_ref());
        for name in ScheduledName::all(&event.event) {
            self.delete(Family::Due, keys::scheduled_name(event.topic, name.hash(), due).as_ref());
        }
        self.put(Family::Due, keys::fate(due.offset).as_ref(), row);
    }

    fn scheduled_totals(&mut self, topic: TopicId, row: &ScheduledTotals) {
        self.put(Family::Due, keys::scheduled_totals(topic).as_ref(), row);
    }

    fn fates_below(&mut self, floor: Offset) {
        self.delete_range(Family::Due, keys::fates().as_ref(), keys::fate(floor).as_ref());
    }

    fn open_log(&mut self, class: KeepClass, first: Offset) -> Option<LogPlace<'s>> {
        let (epoch, is_new) = self.store.log().place(class, first);
        let family = self.store.db().cf_handle(&epoch.family())?;
        if is_new {
            self.put(Family::Meta, keys::epoch(epoch.number).as_ref(), &EpochRow { first });
        }
        Some(LogPlace { epoch, family, bytes: 0, next: first })
    }

    /// Dropping a block takes its chunks along: a few thousand neighbouring keys, so one range.
    fn id_chunk(&mut self, block: u64, chunk: u32, first: Offset, ids: &[IdEntry]) {
        let mut value = std::mem::take(&mut self.value);
        encode_ids(first, ids, &mut value);
        let family = self.family(Family::Ids);
        self.rows.put_cf(&family, keys::id_chunk(block, chunk), &value);
        self.value = value;
    }

    fn id_block(&mut self, block: u64, row: Option<&IdBlockRow>) {
        self.set(Family::Ids, keys::id_block(block).as_ref(), row);
        if row.is_none() {
            let (from, to) = (keys::id_chunks(block), keys::id_chunks(block + 1));
            self.delete_range(Family::Ids, from.as_ref(), to.as_ref());
        }
    }

    fn waiting_range(&mut self, subscription: SubscriptionId, from: Offset, to: Offset) {
        let (from, to) = (keys::waiting(subscription, from), keys::waiting(subscription, to));
        self.delete_range(Family::Lane, from.as_ref(), to.as_ref());
    }

    /// Ends everything that belongs to a subscription: a range per kind, so the batch stays small whatever there is.
    fn forget(&mut self, subscription: SubscriptionId, name: &str) {
        for (kind, family) in keys::ENDS_WITH_SUBSCRIPTION {
            self.delete_all(family, &keys::all_of(kind, subscription));
        }
        self.delete_all(Family::Claim, &keys::claims(name));
        self.delete_all(Family::Claim, &keys::window(name));
        self.delete_all(Family::Kv, &keys::kvs(name));
    }

    fn delete_all(&mut self, family: Family, prefix: &Key) {
        if let Some(end) = prefix.end() {
            self.delete_range(family, prefix.as_ref(), &end);
        }
    }

    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        let family = self.family(family);
        self.rows.delete_range_cf(&family, from, to);
    }

    pub(crate) fn put<R: Row>(&mut self, family: Family, key: &[u8], row: &R) {
        let mut value = std::mem::take(&mut self.value);
        row.encode(&mut value);
        let family = self.family(family);
        self.rows.put_cf(&family, key, &value);
        self.value = value;
    }

    /// Bytes behind a version byte.
    pub(crate) fn put_raw(&mut self, family: Family, key: &[u8], bytes: &[u8]) {
        self.value.clear();
        self.value.push(1);
        self.value.extend_from_slice(bytes);
        let family = self.family(family);
        self.rows.put_cf(&family, key, &self.value);
    }

    fn set<R: Row>(&mut self, family: Family, key: &[u8], row: Option<&R>) {
        match row {
            Some(row) => self.put(family, key, row),
            None => self.delete(family, key),
        }
    }

    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) {
        let family = self.family(family);
        self.rows.delete_cf(&family, key);
    }

    fn family(&mut self, family: Family) -> Arc<BoundColumnFamily<'s>> {
        let place = &mut self.families[family as usize];
        Arc::clone(place.get_or_insert_with(|| self.store.family(family)))
    }

    pub(crate) fn appended(&self) -> [Option<Appended>; CLASSES_MAX] {
        let appended = |log: &LogPlace<'_>| Appended { epoch: log.epoch, bytes: log.bytes, next: log.next };
        std::array::from_fn(|class| self.log[class].as_ref().map(appended))
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("rows", &self.len()).field("bytes", &self.len_bytes()).finish_non_exhaustive()
    }
}
