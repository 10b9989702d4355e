//! What a call has buffered: kv changes, follow-up events, send records, in call order, with marks for nested claims.
//!
//! Reads of the call see its own changes. Nothing here is visible to anybody else before it is committed.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::limits;
use crate::code::Code;
use crate::ids::TopicId;
use crate::import::{Entry, ImportError, NewEvent};
use crate::ledger::{KvEffect, KvRead, number};
use crate::row::{KvRow, RecordRow};
use crate::time::{Millis, Timestamp};
use crate::timer::TimerChange;

/// What is committed in one batch: with the confirm of a claim or with the settlement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// kv changes in order; `Ledger::kv_commit` turns them into writes.
    pub kv: Vec<(String, KvEffect)>,
    /// kv entries read, to validate.
    pub reads: Vec<KvRead>,
    /// Follow-up events to encode and append.
    pub follow_ups: Vec<FollowUp>,
    /// Timers set and ended, in order.
    pub timers: Vec<TimerChange>,
    /// Send records.
    pub records: Vec<RecordRow>,
}

/// A follow-up event with its id and its topic's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Topic.
    pub topic: TopicId,
    /// Event; its `id` is set.
    pub event: NewEvent,
    /// Length of the chain of follow-ups that ends here, for the loop guard.
    pub hops: u32,
}

/// A buffered kv change; the expiry is counted from the call that made it.
#[derive(Clone, Debug)]
pub(super) enum Local {
    Put { value: Vec<u8>, expires: Option<Timestamp> },
    Delete,
    Add { delta: i64, expires: Option<Timestamp> },
}

/// What a scan asks for.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Keys that start with this.
    pub(super) prefix: String,
    /// Only keys after this one.
    pub(super) after: Option<String>,
    /// At most this many.
    pub(super) limit: u32,
}

/// A place in the buffered effects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    kv: usize,
    follow_ups: usize,
    timers: usize,
    records: usize,
    bytes: usize,
}

/// The version a call sees of its own uncommitted entries; it matches nothing in `swap`.
const LOCAL_VERSION: u64 = 0;

#[derive(Debug, Default)]
pub(super) struct Effects {
    kv: Vec<(String, Local)>,
    reads: Vec<KvRead>,
    follow_ups: Vec<FollowUp>,
    timers: Vec<TimerChange>,
    records: Vec<RecordRow>,
    bytes: usize,
    ids_given: u32,
}

impl Effects {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            kv: self.kv.len(),
            follow_ups: self.follow_ups.len(),
            timers: self.timers.len(),
            records: self.records.len(),
            bytes: self.bytes,
        }
    }

    /// What was buffered since the mark. Without its reads: the confirm of something that has happened outside can't be undone by a
    /// conflict, so the last writer wins there.
    pub(super) fn since(&self, mark: Mark) -> Transaction {
        Transaction {
            kv: self.kv.iter().skip(mark.kv).map(|(key, local)| (key.clone(), effect(local))).collect(),
            reads: Vec::new(),
            follow_ups: self.follow_ups.iter().skip(mark.follow_ups).cloned().collect(),
            timers: self.timers.iter().skip(mark.timers).cloned().collect(),
            records: self.records.iter().skip(mark.records).cloned().collect(),
        }
    }

    /// What was buffered since the mark is on disk. Reads of the keys it wrote are dropped: their new version is our own.
    pub(super) fn committed_since(&mut self, mark: Mark) {
        let (kv, reads) = (&self.kv, &mut self.reads);
        reads.retain(|read| !kv.iter().skip(mark.kv).any(|(key, _)| *key == read.key));
        self.kv.truncate(mark.kv);
        self.follow_ups.truncate(mark.follow_ups);
        self.timers.truncate(mark.timers);
        self.records.truncate(mark.records);
        self.bytes = mark.bytes;
    }

    /// A nested transaction is given up. Send records stay: they are kept on every verdict.
    pub(super) fn discard_since(&mut self, mark: Mark) {
        self.kv.truncate(mark.kv);
        self.follow_ups.truncate(mark.follow_ups);
        self.timers.truncate(mark.timers);
    }

    pub(super) fn everything(self) -> Transaction {
        let kv = self.kv.into_iter().map(|(key, local)| (key, effect(&local))).collect();
        Transaction { kv, reads: self.reads, follow_ups: self.follow_ups, timers: self.timers, records: self.records }
    }

    pub(super) fn records_only(self) -> Transaction {
        Transaction { records: self.records, ..Transaction::default() }
    }

    pub(super) fn push_kv(&mut self, key: String, local: Local) -> Result<(), ImportError> {
        if self.kv.len() >= limits::KV_CHANGES_MAX {
            return Err(limits::error(
                Code::Quota,
                "a call may change 1024 kv entries; split the work over several events",
            ));
        }
        let value = match &local {
            Local::Put { value, .. } => value.len(),
            Local::Delete | Local::Add { .. } => 8,
        };
        self.grow(key.len() + value)?;
        self.kv.push((key, local));
        Ok(())
    }

    pub(super) fn push_follow_up(&mut self, topic: TopicId, event: NewEvent, hops: u32) -> Result<(), ImportError> {
        if self.follow_ups.len() >= limits::FOLLOW_UPS_MAX {
            return Err(limits::error(Code::Quota, "a call may publish 256 events; continue from a follow-up event"));
        }
        let texts: usize = event.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.grow(event.data.len() + texts + event.kind.len() + event.key.as_ref().map_or(0, |key| key.len()))?;
        self.follow_ups.push(FollowUp { topic, event, hops });
        Ok(())
    }

    pub(super) fn push_timer(&mut self, change: TimerChange) -> Result<(), ImportError> {
        if self.timers.len() >= limits::TIMER_CHANGES_MAX {
            return Err(limits::error(
                Code::Quota,
                "a call may set and cancel 256 timers; split the work over several events",
            ));
        }
        self.grow(change.name.len() + change.event.as_ref().map_or(0, |event| event.data.len()))?;
        self.timers.push(change);
        Ok(())
    }

    /// Whether the call has set this timer, or ended it; `None` if it did neither.
    pub(super) fn own_timer(&self, name: &str) -> Option<bool> {
        self.timers.iter().rev().find(|change| change.name == name).map(|change| change.event.is_some())
    }

    pub(super) fn push_record(&mut self, row: RecordRow) -> Result<(), ImportError> {
        if self.records.len() >= limits::NOTES_MAX {
            return Err(limits::error(
                Code::Quota,
                "a call may note 256 send records; split the work over several events",
            ));
        }
        self.grow(row.business_key.len() + row.recipient.len() + row.detail.len())?;
        self.records.push(row);
        Ok(())
    }

    /// A number for a follow-up's id: the same on each attempt that makes the same calls.
    pub(super) fn next_id(&mut self) -> u32 {
        self.ids_given += 1;
        self.ids_given
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ImportError> {
        if self.bytes + bytes > limits::TRANSACTION_BYTES_MAX {
            return Err(limits::error(
                Code::TooLarge,
                "the call has buffered 1 MiB of effects; split the work over several events",
            ));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// The entry of a key if the call's own changes decide it alone.
    pub(super) fn own(&self, key: &str) -> Option<Option<Entry>> {
        let decided = self.kv.iter().rposition(|(of, local)| of == key && !matches!(local, Local::Add { .. }))?;
        let base = match self.kv.get(decided).map(|(_, local)| local) {
            Some(Local::Put { value, .. }) => Some(value.clone()),
            Some(Local::Delete | Local::Add { .. }) | None => None,
        };
        let version = LOCAL_VERSION;
        let added = self.added(key, decided + 1);
        match (base, added) {
            (Some(value), None) => Some(Some(Entry { value, version })),
            (None, None) => Some(None),
            (base, Some(delta)) => Some(Some(sum(base.as_deref(), delta, version))),
        }
    }

    /// Sum of the call's `add`s of a key from a place on; `None` if there are none.
    fn added(&self, key: &str, from: usize) -> Option<i64> {
        let mut deltas = self.kv.iter().skip(from).filter_map(|(of, local)| match local {
            Local::Add { delta, .. } if of == key => Some(*delta),
            Local::Add { .. } | Local::Put { .. } | Local::Delete => None,
        });
        let first = deltas.next()?;
        Some(deltas.fold(first, i64::saturating_add))
    }

    /// A stored entry was looked up: remembers the read and lays the call's `add`s over it.
    pub(super) fn kv_read(&mut self, key: String, row: Option<KvRow>) -> Result<Option<Entry>, ImportError> {
        let entry = self.laid_over(&key, row.as_ref());
        self.remember(key, row.map_or(0, |row| row.version))?;
        Ok(entry)
    }

    fn laid_over(&self, key: &str, row: Option<&KvRow>) -> Option<Entry> {
        match self.added(key, 0) {
            Some(delta) => Some(sum(row.map(|row| row.value.as_slice()), delta, LOCAL_VERSION)),
            None => row.map(|row| Entry { value: row.value.clone(), version: row.version }),
        }
    }

    /// A read that could not be remembered could not be validated, so there is none. Two versions of one key are both remembered: the
    /// call has seen what never was at once, and meets a conflict.
    fn remember(&mut self, key: String, version: u64) -> Result<(), ImportError> {
        if self.reads.iter().any(|read| read.key == key && read.version == version) {
            return Ok(());
        }
        if self.reads.len() >= limits::KV_READS_MAX {
            return Err(limits::error(
                Code::Quota,
                "a call may read 4096 kv entries; split the work over several events",
            ));
        }
        self.reads.push(KvRead { key, version });
        Ok(())
    }

    /// A page of a scan came back: own changes laid over it, ended entries left out, in key order, cut at the limits. `last` is the
    /// page's last key if more follow: it says nothing about keys beyond, so own keys there wait for the next page.
    pub(super) fn kv_scanned(
        &mut self,
        now: Timestamp,
        scan: &Scan,
        rows: Vec<(String, KvRow)>,
        last: Option<&str>,
    ) -> Result<Vec<(String, Entry)>, ImportError> {
        let mut found = BTreeMap::new();
        for (key, row) in rows {
            let is_live = row.expires.is_none_or(|expires| expires > now);
            if self.own(&key).is_none() {
                let row = Some(row).filter(|_| is_live);
                let version = row.as_ref().map_or(0, |row| row.version);
                found.insert(key.clone(), (self.laid_over(&key, row.as_ref()), Some(version)));
            }
        }
        for (key, _) in &self.kv {
            let is_inside = key.starts_with(&scan.prefix)
                && scan.after.as_ref().is_none_or(|after| key > after)
                && last.is_none_or(|last| key.as_str() <= last);
            if is_inside && !found.contains_key(key) {
                let found_own = self.own(key).map(|entry| (entry, None));
                found.insert(key.clone(), found_own.unwrap_or_else(|| (self.laid_over(key, None), Some(0))));
            }
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (key, (entry, version)) in found {
            let Some(entry) = entry else { continue };
            bytes += key.len() + entry.value.len();
            if entries.len() == scan.limit as usize || (bytes > limits::SCAN_BYTES_MAX && !entries.is_empty()) {
                break;
            }
            if let Some(version) = version {
                self.remember(key.clone(), version)?;
            }
            entries.push((key, entry));
        }
        Ok(entries)
    }
}

/// When an entry written now with this time to live ends.
pub(super) fn expiry(now: Timestamp, ttl: Option<Millis>) -> Option<Timestamp> {
    ttl.map(|ttl| now.after(ttl.min(limits::KEEP_MAX)))
}

fn effect(local: &Local) -> KvEffect {
    match local {
        Local::Put { value, expires } => KvEffect::Put { value: value.clone(), expires: *expires },
        Local::Delete => KvEffect::Delete,
        Local::Add { delta, expires } => KvEffect::Add { delta: *delta, expires: *expires },
    }
}

fn sum(base: Option<&[u8]>, delta: i64, version: u64) -> Entry {
    let total = base.map_or(0, number).saturating_add(delta);
    Entry { value: total.to_string().into_bytes(), version }
}
