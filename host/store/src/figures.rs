//! How large the running store is, for people: readings, taken while it is written to.
//!
//! Invariant: nothing here changes anything, and nothing decides by it.

use bugle_core::ids::Offset;

use crate::disk;
use crate::read::family_bytes;
use crate::store::Store;

/// One run of the log, dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFigures {
    /// Its number.
    pub number: u32,
    /// Its first offset; it ends where the next one begins.
    pub first: Offset,
    /// Its bytes, in memory and on disk.
    pub bytes: u64,
}

/// A store in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Epochs of the log, oldest first.
    pub epochs: Vec<EpochFigures>,
    /// Bytes of the write-ahead log, which a start replays.
    pub wal_bytes: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Store {
    /// Epochs of the log, oldest first.
    #[must_use]
    pub fn epochs(&self) -> Vec<EpochFigures> {
        let epochs = self.log().from(Offset(0)).into_iter().map(|epoch| EpochFigures {
            number: epoch.number,
            first: epoch.first,
            bytes: family_bytes(self.db(), &epoch.family()),
        });
        epochs.collect()
    }

    /// The store in numbers. Walks its folder: not for the committer's thread.
    pub fn figures(&self) -> std::io::Result<Figures> {
        Ok(Figures {
            epochs: self.epochs(),
            wal_bytes: crate::open::wal_bytes(&self.dir().join("db"))?,
            bytes: disk::files(self.dir())?.bytes,
        })
    }
}
