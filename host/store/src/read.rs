//! Reading rows back, typed.
//!
//! Every reader sees a consistent state of the rows it returns, copies them out, and holds nothing of the store afterwards.
//! Knows nothing of what the rows are for.
//!
//! Invariant: a row that does not decode is an error that names its key, never left out and never guessed.

mod events;
mod expiry;
mod ids;
mod kept;
pub(crate) mod records;
mod scheduled;
mod state;

use std::sync::Arc;

use bugle_core::ids::Offset;
use rocksdb::{BoundColumnFamily, Direction, IteratorMode, ReadOptions};

use crate::codec::{Damaged, Row};
use crate::family::Family;
use crate::keys::{Key, Kind};
use crate::store::{Db, Store};

pub use events::{EventBounds, EventPage};
pub use kept::{DeadEntry, UnknownEntry};
pub(crate) use records::record_entry;
pub use records::{LateRecords, RecordEntry, RecordLookup};
pub(crate) use scheduled::{due_of, scheduled_event};
pub(crate) use state::unversioned;
pub use state::{KvPage, SubscriptionRows};

/// Why a row could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// RocksDB could not read it, for instance because a block's checksum does not fit.
    #[error("the store could not be read: {reason}")]
    Storage {
        /// RocksDB's words.
        reason: String,
    },
    /// The log has no event where one was confirmed.
    #[error("event {missing} is missing from the log; restore a backup")]
    Missing {
        /// The first that is not there.
        missing: Offset,
    },
    /// The row is not what its key says.
    #[error("the row with key `{key}` is damaged; restore a backup")]
    Damaged {
        /// The key, printable.
        key: String,
        /// What is wrong.
        source: Damaged,
    },
}

impl From<rocksdb::Error> for ReadError {
    fn from(error: rocksdb::Error) -> Self {
        ReadError::Storage { reason: error.into_string() }
    }
}

/// An error that names the key.
pub(crate) fn damaged(key: &[u8]) -> impl FnOnce(Damaged) -> ReadError {
    let key = key.escape_ascii().to_string();
    move |source| ReadError::Damaged { key, source }
}

pub(crate) type Pair = (Box<[u8]>, Box<[u8]>);

impl Store {
    /// One row by its key.
    pub(crate) fn row<R: Row>(&self, family: Family, key: &Key) -> Result<Option<R>, ReadError> {
        let value = self.db().get_pinned_cf(&self.family(family), key)?;
        value.map(|value| R::decode(&value).map_err(damaged(key.as_ref()))).transpose()
    }

    /// Rows whose keys begin with `prefix`, in key order, from `from` on (the prefix itself, if `None`).
    pub(crate) fn rows_from<'a>(
        &'a self,
        family: Family,
        prefix: &Key,
        from: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Pair, ReadError>> + use<'a> {
        iterate(self.db(), &self.family(family), prefix, from)
    }

    /// Hands each row whose key begins with `prefix` to `each`, in key order and without copying it.
    pub(crate) fn each_row(
        &self,
        family: Family,
        prefix: &Key,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut rows = self.db().raw_iterator_cf_opt(&self.family(family), within(prefix));
        rows.seek(prefix);
        while let Some((key, value)) = rows.item() {
            each(key, value)?;
            rows.next();
        }
        Ok(rows.status()?)
    }
}

fn iterate<'a>(
    db: &'a Db,
    family: &Arc<BoundColumnFamily<'a>>,
    prefix: &Key,
    from: Option<&[u8]>,
) -> impl Iterator<Item = Result<Pair, ReadError>> + use<'a> {
    let from = from.unwrap_or(prefix.as_ref());
    db.iterator_cf_opt(family, within(prefix), IteratorMode::From(from, Direction::Forward))
        .map(|pair| pair.map_err(ReadError::from))
}

/// Ends reading behind the keys that begin with `prefix`.
fn within(prefix: &Key) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = prefix.end() {
        options.set_iterate_upper_bound(end);
    }
    options
}

/// All rows whose keys begin with `prefix`; for families that are small.
pub(crate) fn rows(db: &Db, family: Family, prefix: &Key) -> Result<Vec<Pair>, ReadError> {
    match db.cf_handle(family.name()) {
        Some(handle) => iterate(db, &handle, prefix, None).collect(),
        None => Ok(Vec::new()),
    }
}

/// The first row of a kind.
pub(crate) fn first_row(db: &Db, family: Family, kind: Kind) -> Result<Option<Pair>, ReadError> {
    first_row_in(db, family.name(), kind)
}

/// The same of any family.
pub(crate) fn first_row_in(db: &Db, family: &str, kind: Kind) -> Result<Option<Pair>, ReadError> {
    match db.cf_handle(family) {
        Some(handle) => iterate(db, &handle, &Key::of(kind), None).next().transpose(),
        None => Ok(None),
    }
}

/// The last row of a kind.
pub(crate) fn last_row(db: &Db, family: &str, kind: Kind) -> Result<Option<Pair>, ReadError> {
    let Some(handle) = db.cf_handle(family) else { return Ok(None) };
    let end = Key::of(kind).end().unwrap_or_default();
    let mode = IteratorMode::From(&end, Direction::Reverse);
    let last = db.iterator_cf_opt(&handle, ReadOptions::default(), mode).next().transpose()?;
    Ok(last.filter(|(key, _)| Kind::of(key) == Some(kind)))
}

/// Bytes of a family on disk and in memtables, about.
pub(crate) fn family_bytes(db: &Db, family: &str) -> u64 {
    let Some(handle) = db.cf_handle(family) else { return 0 };
    ["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"]
        .into_iter()
        .filter_map(|name| db.property_int_value_cf(&handle, name).ok().flatten())
        .sum()
}
