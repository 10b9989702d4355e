//! Copies the running store into a folder, as it is at one moment between two commits, while commits go on.
//!
//! RocksDB's checkpoint links or copies its files; the copy gets a commit mark of its own, taken before the checkpoint began, so
//! that opening it applies the same rule as after a crash: less than was confirmed by then is a loss. The copy is looked at
//! before it counts. Knows nothing of what lies beside the store.
//!
//! Invariant: everything confirmed before the call is in a copy that is reported; a copy that fails is removed.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::PoisonError;

use rocksdb::checkpoint::Checkpoint;

use crate::disk;
use crate::mark::MarkFile;
use crate::open::{Depth, IncarnationId, Inspected, OpenError, inspect};
use crate::store::Store;

/// A copy that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What a look at it found.
    pub found: Inspected,
    /// Whether the large files are hard links to those of the store: the copy then took no room, and is lost with the disk.
    pub is_linked: bool,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It would be written over something.
    #[error("`{0}` exists already")]
    Exists(String),
    /// The store takes nothing any more.
    #[error("the store has failed: {0}")]
    Failed(String),
    /// RocksDB could not make the checkpoint.
    #[error("RocksDB could not make a checkpoint: {0}")]
    Checkpoint(String),
    /// A file operation failed.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The copy was made and is not good.
    #[error("the copy was made and is not good")]
    Unsound(#[source] OpenError),
}

impl Store {
    /// Copies the store into the folder `to`, which must not exist; its parent must. Takes as long as a flush of what is in
    /// memory, and on another file system as long as copying every file: not for the committer's thread. Log epochs are neither
    /// made nor dropped meanwhile.
    pub fn back_up(&self, to: &Path, incarnation: IncarnationId) -> Result<Copied, BackupError> {
        if to.exists() {
            return Err(BackupError::Exists(to.display().to_string()));
        }
        if let Some(reason) = self.failed() {
            return Err(BackupError::Failed(reason.to_owned()));
        }
        let copied = self.copy(to, incarnation);
        if copied.is_err() {
            // What is left of a failed copy is told by its lack of a mark; without it nobody takes it for one.
            let _ = fs::remove_dir_all(to);
        }
        copied
    }

    fn copy(&self, to: &Path, incarnation: IncarnationId) -> Result<Copied, BackupError> {
        let io = |action: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |source| BackupError::Io { action, path, source }
        };
        DirBuilder::new().mode(0o700).create(to).map_err(io("make", to))?;
        let _epochs_stay = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        let (sequence, next) = self.confirmed();
        let checkpoint = Checkpoint::new(self.db()).map_err(|error| BackupError::Checkpoint(error.into_string()))?;
        let db = to.join("db");
        checkpoint.create_checkpoint(&db).map_err(|error| BackupError::Checkpoint(error.into_string()))?;
        fs::set_permissions(&db, Permissions::from_mode(0o700)).map_err(io("restrict", &db))?;
        let path = to.join("mark");
        let mark = MarkFile::create(&path, incarnation.0).and_then(|mut mark| mark.write(sequence, next));
        mark.map_err(io("write", &path))?;
        for folder in [&db, to] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))?;
        }
        let files = disk::files(&db).map_err(io("count the files of", &db))?;
        let found = inspect(to, Depth::Ends).map_err(BackupError::Unsound)?;
        Ok(Copied { found, is_linked: files.shared > 0 })
    }
}
