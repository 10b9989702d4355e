//! kv stores as the admin API uses them: the same entries, versions and conflicts that plugins see.
//!
//! Knows nothing of what an entry means. Invariant: a write is durable when its call returns.

use bugle_core::ids::Name;
use bugle_core::import::Entry;
use bugle_core::ledger::{KvEffect, KvRead};
use bugle_core::row::KvRow;
use bugle_core::time::Timestamp;
use tokio::sync::oneshot;

use super::{Bus, Definition};
use crate::queue::{Done, Stopped};
use crate::reads::ReadError;

/// Entries of one page of a scan.
const SCAN_MAX: u32 = 1000;

/// A write that is done only if nobody else changed the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvSwap {
    /// Key.
    pub key: String,
    /// Version the caller saw; `None`: the key must not exist.
    pub expect: Option<u64>,
    /// New value; `None` deletes.
    pub value: Option<Vec<u8>>,
    /// After this the entry is gone.
    pub expires: Option<Timestamp>,
}

/// Why a kv operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum KvWriteError {
    /// The operator: the disk.
    #[error("could not read kv entry `{key}`")]
    Read {
        /// Key.
        key: String,
        /// Why.
        source: ReadError,
    },
    /// The host stops.
    #[error("could not write kv entry `{key}`")]
    Stopped {
        /// Key.
        key: String,
        /// Why.
        source: Stopped,
    },
}

impl Bus {
    /// An entry.
    pub fn kv_get(&self, store: &Name, key: &str) -> Result<Option<Entry>, ReadError> {
        let row = self.inside.shared.kv_visible(store, key)?;
        Ok(row.map(|row| Entry { value: row.value, version: row.version }))
    }

    /// Writes an entry, or deletes it, with further rows in the same batch.
    pub async fn kv_put(
        &self,
        store: &Name,
        key: String,
        value: Option<Vec<u8>>,
        expires: Option<Timestamp>,
        also: Vec<Definition>,
    ) -> Result<(), KvWriteError> {
        self.kv_commit(store, None, key, (value, expires), also).await.map(|_| ())
    }

    /// Writes an entry if it is as the caller saw it; says whether it was.
    pub async fn kv_swap(&self, store: &Name, swap: KvSwap, also: Vec<Definition>) -> Result<bool, KvWriteError> {
        let read = KvRead { key: swap.key.clone(), version: swap.expect.unwrap_or(0) };
        self.kv_commit(store, Some(read), swap.key, (swap.value, swap.expires), also).await
    }

    async fn kv_commit(
        &self,
        store: &Name,
        read: Option<KvRead>,
        key: String,
        (value, expires): (Option<Vec<u8>>, Option<Timestamp>),
        also: Vec<Definition>,
    ) -> Result<bool, KvWriteError> {
        let shared = &self.inside.shared;
        let effect = match value {
            Some(value) => KvEffect::Put { value, expires },
            None => KvEffect::Delete,
        };
        let also: Vec<_> = also.into_iter().map(Definition::into_write).collect();
        let now = shared.clock.now();
        let stopped = |source| KvWriteError::Stopped { key: key.clone(), source };
        let (done, durable) = oneshot::channel();
        let is_done = shared
            .ledger_step(Done::Caller(done), |ledger| {
                let stored = |key: &str| shared.stored_kv(store, key);
                let effects = vec![(key.clone(), effect)];
                match ledger.kv_commit(now, store, read.as_slice(), effects, stored) {
                    Ok(step) => (true, step.map(|(writes, step)| (writes.into_iter().chain(also).collect(), step))),
                    Err(_conflict) => (false, None),
                }
            })
            .map_err(stopped)?;
        if is_done {
            durable.await.map_err(|_| stopped(Stopped))?;
        }
        Ok(is_done)
    }

    /// Entries whose key starts with `prefix` and comes after `after`, in key order, at most `limit` (and 1,000), and after which key
    /// to go on if there may be more.
    pub async fn kv_scan(
        &self,
        store: &Name,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<(Vec<(String, Entry)>, Option<String>), ReadError> {
        let now = self.now();
        let limit = limit.clamp(1, SCAN_MAX);
        let page = self.inside.shared.kv_scan(store.clone(), prefix, after, limit).await?;
        let next = page.rows.last().filter(|_| !page.is_end).map(|(key, _)| key.clone());
        let is_live = |row: &KvRow| row.expires.is_none_or(|expires| expires > now);
        let entries = page.rows.into_iter().filter(|(_, row)| is_live(row));
        Ok((entries.map(|(key, row)| (key, Entry { value: row.value, version: row.version })).collect(), next))
    }
}
