//! What makes erased content leave the files: the rows to delete, and the tables to write anew.
//!
//! A row that is overwritten or deleted stays in older tables and in the write-ahead log until those are merged and dropped. Knows
//! nothing of what is to be erased and why.
//!
//! Invariant: once [`Store::rewrite`] returned, no table holds what was overwritten or deleted before the call.

use std::collections::BTreeSet;

use bugle_core::ids::Offset;
use bugle_core::row::{Forgotten, RecordRow};
use bugle_core::step::Write;
use rocksdb::{BottommostLevelCompaction, CompactOptions, FlushOptions};

use crate::codec::Row as _;
use crate::family::Family;
use crate::keys;
use crate::read::records::place_of_state;
use crate::read::{ReadError, RecordEntry, damaged};
use crate::store::{Store, UpkeepError};

/// Families in which erasing deletes rows.
const REWRITTEN: [Family; 4] = [Family::Due, Family::Lane, Family::Dead, Family::Record];

/// A page of [`Store::records_to_erase`].
#[derive(Debug, Default)]
pub struct RecordsToErase {
    /// The deletes, of every state a record was in.
    pub writes: Vec<Write>,
    /// Records among them, each counted once, however many states it was in.
    pub records: u64,
    /// Where to go on, if there is more.
    pub next: Option<Vec<u8>>,
}

impl Store {
    /// States of send records to delete, looked for among at most `states_max` from a place on; from the beginning without one.
    pub fn records_to_erase(
        &self,
        from: Option<Vec<u8>>,
        states_max: usize,
        is_meant: impl Fn(&RecordEntry) -> bool,
    ) -> Result<RecordsToErase, ReadError> {
        let mut page = RecordsToErase::default();
        let mut looked_at = 0;
        // Two ranges, in the order of their keys.
        for is_open in [false, true] {
            let prefix = keys::record_states(is_open);
            let within = from.as_deref().filter(|from| from.starts_with(prefix.as_ref()));
            if within.is_none() && from.as_deref().is_some_and(|from| from > prefix.as_ref()) {
                continue;
            }
            for pair in self.rows_from(Family::Record, &prefix, within) {
                let (key, value) = pair?;
                if looked_at == states_max {
                    page.next = Some(key.to_vec());
                    return Ok(page);
                }
                looked_at += 1;
                let row = RecordRow::decode(&value).map_err(damaged(&key))?;
                let (subscription, position) = place_of_state(&key).map_err(damaged(&key))?;
                let entry = RecordEntry { subscription, position, row };
                if is_meant(&entry) {
                    let latest = self.record_of_state(&key)?;
                    page.records += u64::from(latest.is_some_and(|latest| latest.row == entry.row));
                    let forgotten = Forgotten::Record;
                    page.writes.push(Write::RecordGone { subscription, position, row: entry.row, forgotten });
                }
            }
        }
        Ok(page)
    }

    /// Writes the tables anew that hold what was erased: those of rows, and the log epochs of these offsets. Reads and writes
    /// go on meanwhile; it takes as long as copying those tables does.
    pub fn rewrite(&self, offsets: &BTreeSet<Offset>) -> Result<(), UpkeepError> {
        let _shape = self.shape.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = |error: rocksdb::Error| UpkeepError { reason: error.to_string() };
        let epochs = self.log().holding(offsets);
        let rows = REWRITTEN.into_iter().map(|family| family.name().to_owned());
        let named: Vec<String> = rows.chain(epochs.into_iter().map(|epoch| epoch.family())).collect();
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        // All families: the write-ahead log is one, and goes when nobody needs it any more.
        let log = self.log().all().into_iter().map(|(epoch, _)| epoch.family());
        let all: Vec<_> = Family::ALL.iter().map(|family| family.name().to_owned()).chain(log).collect();
        let handles: Vec<_> = all.iter().filter_map(|name| self.db().cf_handle(name)).collect();
        let handles: Vec<_> = handles.iter().collect();
        self.db().flush_cfs_opt(&handles, &flush).map_err(failed)?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        for family in named.iter().filter_map(|name| self.db().cf_handle(name)) {
            self.db().compact_range_cf_opt(&family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    /// Whether a text is in RocksDB's list of its tables, which has the first and the last key of each, also of tables that are gone:
    /// of recipients, business keys and ordering keys, never of content. The list is written anew when the store is opened.
    pub fn is_listed(&self, text: &str) -> std::io::Result<bool> {
        let needle = text.as_bytes();
        for entry in std::fs::read_dir(self.db().path())? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("MANIFEST-") {
                continue;
            }
            match std::fs::read(entry.path()) {
                Ok(bytes) if bytes.windows(needle.len().max(1)).any(|part| part == needle) => return Ok(true),
                Ok(_) => {}
                // An older one that went meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
