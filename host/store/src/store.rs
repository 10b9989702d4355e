//! The open store: one way to commit, and a stop after the first failure.
//!
//! Knows nothing of what the rows mean. Readers are in [`crate::read`].
//!
//! Invariant: once a write, a sync or a background job has failed, no commit succeeds any more; the process must restart, since
//! nobody can tell what a failed sync left behind (guarantees G11).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bugle_core::ids::{Offset, TopicId};
use bugle_core::retention::KeepClass;
use rocksdb::{BoundColumnFamily, DBWithThreadMode, MultiThreaded, WriteOptions};

use crate::batch::Batch;
use crate::codec::EpochRow;
use crate::disk::{self, Room};
use crate::family::{self, Family, Memory};
use crate::keys;
use crate::lock::DirLock;
use crate::log::{Log, family_of};
use crate::mark::MarkFile;

pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// Whether a commit survives a power cut. Chosen at each call; a weaker one comes with topics that ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk when the call returns. Recovery relies on it: a commit is written only after the one before was synced.
    Synced,
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It failed, and nothing can be committed from here on: stop the process and let recovery find what is there.
    #[error("the store failed to commit: {reason}; it takes no more commits, restart the host")]
    Failed {
        /// The first failure.
        reason: String,
    },
    /// A mistake of ours: nothing was written, the store goes on.
    #[error("the batch cannot be committed: {0}")]
    Invalid(&'static str),
}

/// Why the upkeep failed. The store takes no more commits.
#[derive(Debug, thiserror::Error)]
#[error("the store failed in its upkeep: {reason}; it takes no more commits, restart the host")]
pub struct UpkeepError {
    /// The failure.
    pub reason: String,
}

/// What is known to be on disk.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    sequence: u64,
    next: Offset,
}

/// See the module. Calls in their order: [`Store::open`]; readers for recovery; then from one thread [`Store::batch`] and
/// [`Store::commit`] in turn, and from another, about once a second, [`Store::upkeep`].
pub struct Store {
    // Closed before the lock is freed: fields are dropped in their order.
    db: Db,
    log: Log,
    memory: Memory,
    mark: Mutex<MarkFile>,
    confirmed: Mutex<Confirmed>,
    next: AtomicU64,
    classes: RwLock<Arc<HashMap<TopicId, KeepClass>>>,
    failed: OnceLock<String>,
    /// Held while log epochs are made or dropped, and while the store is copied: a copy of a changing set of families could lack
    /// one.
    pub(crate) shape: Mutex<()>,
    dir: PathBuf,
    _lock: DirLock,
}

/// What [`Store::open`] puts together.
pub(crate) struct Parts {
    pub(crate) db: Db,
    pub(crate) log: Log,
    pub(crate) memory: Memory,
    pub(crate) mark: MarkFile,
    pub(crate) next: Offset,
    pub(crate) dir: PathBuf,
    pub(crate) lock: DirLock,
}

impl Store {
    pub(crate) fn assemble(parts: Parts) -> Store {
        let confirmed = Confirmed { sequence: parts.db.latest_sequence_number(), next: parts.next };
        Store {
            db: parts.db,
            log: parts.log,
            memory: parts.memory,
            mark: Mutex::new(parts.mark),
            confirmed: Mutex::new(confirmed),
            next: AtomicU64::new(parts.next.0),
            classes: RwLock::default(),
            failed: OnceLock::new(),
            shape: Mutex::new(()),
            dir: parts.dir,
            _lock: parts.lock,
        }
    }

    /// An empty batch, planned for about this many bytes.
    #[must_use]
    pub fn batch(&self, capacity_bytes: usize) -> Batch<'_> {
        Batch::new(self, capacity_bytes)
    }

    /// Commits all rows of the batch or none. After an error of kind [`CommitError::Failed`] every later commit fails at once.
    pub fn commit(&self, batch: Batch<'_>, durability: Durability) -> Result<(), CommitError> {
        self.check().map_err(|reason| CommitError::Failed { reason })?;
        if let Some(problem) = batch.problem {
            return Err(CommitError::Invalid(problem));
        }
        let appended = batch.appended();
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        options.disable_wal(false);
        if let Err(error) = self.db.write_opt(batch.rows, &options) {
            return Err(CommitError::Failed { reason: self.fail(error.to_string()) });
        }
        for appended in appended.into_iter().flatten() {
            self.log.placed(appended.epoch, appended.bytes);
            self.next.fetch_max(appended.next.0, Ordering::AcqRel);
        }
        if durability == Durability::Synced {
            let confirmed = Confirmed { sequence: self.db.latest_sequence_number(), next: self.next() };
            let mut known = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            if confirmed.sequence > known.sequence {
                *known = confirmed;
            }
        }
        Ok(())
    }

    /// Offset of the next event.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset(self.next.load(Ordering::Acquire))
    }

    /// First offset that is still in the log.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.log.floor()
    }

    /// First offset of a retention that can still be in the log; `None` if there never was one.
    #[must_use]
    pub fn floor_of(&self, class: KeepClass) -> Option<Offset> {
        self.log.floor_of(class)
    }

    /// From here on everything of a retention is in the log.
    #[must_use]
    pub fn oldest_of(&self, class: KeepClass) -> Offset {
        self.log.oldest_of(class)
    }

    /// Everything from here on is in the log; between the floor and here, some retentions have let go of theirs.
    #[must_use]
    pub fn dropped_below(&self) -> Offset {
        self.log.dropped_below()
    }

    /// The first offset from which on the log has at most this many bytes, to within a few events: inside an epoch the bytes
    /// are taken to be spread evenly. The log's floor if it has fewer.
    #[must_use]
    pub fn last_bytes_from(&self, bytes_max: u64) -> Offset {
        self.log.last_bytes_from(bytes_max, self.next())
    }

    /// Whether the store failed, and why.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// About once a second, off the commit path: notices failed background jobs, writes the commit mark, creates the next log
    /// epoch ahead.
    pub fn upkeep(&self) -> Result<(), UpkeepError> {
        let checked = self.check().and_then(|()| self.check_background()).and_then(|()| self.write_mark());
        checked.and_then(|()| self.prepare_epochs()).map_err(|reason| UpkeepError { reason })
    }

    /// Creates the next log epoch of a retention whatever the last one has: for [`Store::begin_epoch`], and so that topics can be
    /// given the retention. Not for the committer's thread.
    pub fn make_epoch(&self, class: KeepClass) -> Result<(), UpkeepError> {
        let made =
            self.check().and_then(|()| self.log.missing(class).map_or(Ok(()), |number| self.create_epoch(number)));
        made.map_err(|reason| UpkeepError { reason })
    }

    /// Has the next event of a retention go to a new log epoch, so that what there is can be dropped in its time. Does nothing, and
    /// says so, if the last epoch is empty or the next one was not created ahead. On the thread that commits.
    pub fn begin_epoch(&self, class: KeepClass) -> Result<bool, CommitError> {
        let Some(epoch) = self.log.next(class, self.next()) else { return Ok(false) };
        let mut batch = self.batch(64);
        batch.put(Family::Meta, keys::epoch(epoch.number).as_ref(), &EpochRow { first: epoch.first });
        self.commit(batch, Durability::Synced)?;
        self.log.placed(epoch, 0);
        Ok(true)
    }

    /// Says which topics have another retention than the default one, for batches that are begun from now on. Their strands must have
    /// been made.
    pub fn set_classes(&self, classes: HashMap<TopicId, KeepClass>) {
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(classes);
    }

    pub(crate) fn classes(&self) -> Arc<HashMap<TopicId, KeepClass>> {
        Arc::clone(&self.classes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last act of an orderly stop: the mark, so that nothing of the last second is left to the producers' word.
    pub fn close(self) -> Result<(), UpkeepError> {
        self.check().and_then(|()| self.write_mark()).map_err(|reason| UpkeepError { reason })
    }

    /// Drops every log epoch of a retention that lies wholly below `floor`; returns how many. The caller knows that nobody needs
    /// them. Takes tens of milliseconds each: not for the committer's thread.
    pub fn drop_log_below(&self, class: KeepClass, floor: Offset) -> Result<usize, UpkeepError> {
        // Until a copy under way is done, they stay.
        let Ok(_shape) = self.shape.try_lock() else { return Ok(0) };
        let doomed = self.log.below(class, floor);
        for epoch in &doomed {
            // The row goes first: a family without a row below the log's floor is dropped at the next open.
            let mut batch = self.batch(64);
            batch.delete(Family::Meta, keys::epoch(epoch.number).as_ref());
            self.commit(batch, Durability::Synced).map_err(|error| UpkeepError { reason: error.to_string() })?;
            self.log.dropped(epoch.number);
            let dropped = self.db.drop_cf(&epoch.family());
            dropped.map_err(|error| UpkeepError { reason: self.fail(error.to_string()) })?;
        }
        Ok(doomed.len())
    }

    /// Free room on the store's disk.
    pub fn room(&self) -> std::io::Result<Room> {
        disk::room(&self.dir)
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn family(&self, family: Family) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(family.name()).expect("every static family is opened with the store and never dropped")
    }

    /// From here on marks are written to this file.
    pub(crate) fn replace_mark(&self, mark: MarkFile) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    fn check(&self) -> Result<(), String> {
        self.failed.get().map_or(Ok(()), |reason| Err(reason.clone()))
    }

    /// Notes the first failure; returns it.
    fn fail(&self, reason: String) -> String {
        self.failed.get_or_init(|| reason).clone()
    }

    fn check_background(&self) -> Result<(), String> {
        match self.db.property_int_value("rocksdb.background-errors") {
            Ok(None | Some(0)) => Ok(()),
            Ok(Some(count)) => Err(self.fail(format!("{count} background jobs failed"))),
            Err(error) => Err(self.fail(error.to_string())),
        }
    }

    /// RocksDB's sequence number and the offset of the next event that are known to be on disk.
    pub(crate) fn confirmed(&self) -> (u64, Offset) {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        (confirmed.sequence, confirmed.next)
    }

    fn write_mark(&self) -> Result<(), String> {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.write(confirmed.sequence, confirmed.next)
            .map_err(|error| self.fail(format!("could not write the commit mark: {error}")))
    }

    fn prepare_epochs(&self) -> Result<(), String> {
        self.log.wanted().into_iter().try_for_each(|number| self.create_epoch(number))
    }

    fn create_epoch(&self, number: u32) -> Result<(), String> {
        // Until a copy under way is done, the epoch grows on.
        let Ok(_shape) = self.shape.try_lock() else { return Ok(()) };
        let options = family::log(&self.memory).map_err(|error| self.fail(error.to_string()))?;
        self.db.create_cf(family_of(number), &options).map_err(|error| self.fail(error.to_string()))?;
        self.log.created(number);
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).field("next", &self.next()).finish_non_exhaustive()
    }
}
