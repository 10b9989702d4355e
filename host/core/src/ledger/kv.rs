//! kv versions: what a transaction read, what it changes, and the check that nobody changed what it read.
//!
//! Optimistic: a read notes the version it saw; at commit the version must still be the latest. Changes that are not on disk yet are
//! kept here and laid over the stored rows. Invariant: of a stored and a recent entry the one with the larger version is the truth.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use hashbrown::HashMap;

use super::{KvConflict, Ledger, LedgerStep};
use crate::ids::{BootId, Name};
use crate::row::KvRow;
use crate::seeded::{Bug, is_planted};
use crate::step::Write;
use crate::time::Timestamp;

/// A key a transaction read and the version it saw; 0 for a key that did not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRead {
    /// Key.
    pub key: String,
    /// Version.
    pub version: u64,
}

/// A change a transaction makes at its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvEffect {
    /// New value.
    Put {
        /// Value.
        value: Vec<u8>,
        /// Expiry.
        expires: Option<Timestamp>,
    },
    /// Gone.
    Delete,
    /// Added to the decimal number in the entry; a missing or non-numeric entry counts as zero.
    Add {
        /// Added.
        delta: i64,
        /// Expiry.
        expires: Option<Timestamp>,
    },
}

#[derive(Clone, Debug)]
struct Change {
    version: u64,
    step: LedgerStep,
    row: Option<KvRow>,
}

/// Changes on the way to the disk.
#[derive(Debug)]
pub(super) struct Recent {
    changes: HashMap<(Name, String), Change>,
    order: VecDeque<(LedgerStep, (Name, String))>,
    next_version: u64,
}

/// Versions of one boot: 2^40 writes before the next boot's begin.
const VERSIONS_PER_BOOT_BITS: u32 = 40;

impl Recent {
    pub(super) fn new(boot: BootId) -> Recent {
        Recent { changes: HashMap::new(), order: VecDeque::new(), next_version: (boot.0 << VERSIONS_PER_BOOT_BITS) + 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn durable(&mut self, step: LedgerStep) {
        while self.order.front().is_some_and(|(of, _)| *of <= step) {
            let Some((of, key)) = self.order.pop_front() else {
                break;
            };
            if self.changes.get(&key).is_some_and(|change| change.step == of) {
                self.changes.remove(&key);
            }
        }
    }
}

/// The number an entry stands for under `add`.
#[must_use]
pub(crate) fn number(value: &[u8]) -> i64 {
    core::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Ledger {
    /// The entry as of now: `stored` as looked up under the same lock, with what is on the way laid over it.
    #[must_use]
    pub fn kv_visible(&self, now: Timestamp, store: &Name, key: &str, stored: Option<KvRow>) -> Option<KvRow> {
        let stored_version = stored.as_ref().map_or(0, |row| row.version);
        let change =
            self.recent.changes.get(&(store.clone(), key.to_string())).filter(|change| change.version > stored_version);
        let row = match change {
            None => stored,
            Some(change) => change.row.clone(),
        };
        row.filter(|row| is_live(row, now))
    }

    /// Checks the reads of a transaction and, if none is stale, turns its changes into writes. `stored` gives the row on disk of a
    /// key; it is asked for each read and each `add`, under the same lock.
    pub fn kv_commit(
        &mut self,
        now: Timestamp,
        store: &Name,
        reads: &[KvRead],
        effects: Vec<(String, KvEffect)>,
        stored: impl Fn(&str) -> Option<KvRow>,
    ) -> Result<Option<(Vec<Write>, LedgerStep)>, KvConflict> {
        for read in reads {
            let latest = self.kv_visible(now, store, &read.key, stored(&read.key));
            if latest.map_or(0, |row| row.version) != read.version && !is_planted(Bug::ReadsNotValidated) {
                return Err(KvConflict { key: read.key.clone() });
            }
        }
        if effects.is_empty() {
            return Ok(None);
        }
        let step = self.step();
        let writes =
            effects.into_iter().map(|(key, effect)| self.kv_write(now, store, key, effect, step, &stored)).collect();
        Ok(Some((writes, step)))
    }

    fn kv_write(
        &mut self,
        now: Timestamp,
        store: &Name,
        key: String,
        effect: KvEffect,
        step: LedgerStep,
        stored: &impl Fn(&str) -> Option<KvRow>,
    ) -> Write {
        let version = self.recent.next_version;
        self.recent.next_version += 1;
        let row = match effect {
            // Its time has passed since the call: there is nothing to keep, nor anything to find by its end.
            KvEffect::Put { expires: Some(expires), .. } | KvEffect::Add { expires: Some(expires), .. }
                if expires <= now =>
            {
                None
            }
            KvEffect::Put { value, expires } => Some(KvRow { value, expires, version }),
            KvEffect::Delete => None,
            KvEffect::Add { delta, expires } => {
                let base = self.kv_visible(now, store, &key, stored(&key)).map_or(0, |row| number(&row.value));
                Some(KvRow { value: base.saturating_add(delta).to_string().into_bytes(), expires, version })
            }
        };
        let id = (store.clone(), key.clone());
        self.recent.changes.insert(id.clone(), Change { version, step, row: row.clone() });
        self.recent.order.push_back((step, id));
        Write::Kv { store: store.clone(), key, row }
    }
}

fn is_live(row: &KvRow, now: Timestamp) -> bool {
    row.expires.is_none_or(|expires| expires > now)
}
