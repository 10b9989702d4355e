//! How large the running store is, for people: readings, taken while it is written to.
//!
//! Invariant: nothing here changes anything, and nothing decides by it.

use bugle_core::ids::{Offset, Position};
use bugle_core::retention::KeepClass;
use bugle_core::time::Timestamp;

use crate::codec::{Damaged, decode_event};
use crate::disk;
use crate::keys::{self, Kind};
use crate::log::family_of;
use crate::read::{Pair, ReadError, damaged, family_bytes, first_row_in, last_row};
use crate::store::Store;

/// One run of the log, dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFigures {
    /// Its number.
    pub number: u32,
    /// The retention of the topics in it.
    pub class: KeepClass,
    /// Its first offset; it ends where the next one of its retention begins.
    pub first: Offset,
    /// Its bytes, in memory and on disk.
    pub bytes: u64,
}

/// A store in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Epochs of the log, by retention, oldest first.
    pub epochs: Vec<EpochFigures>,
    /// Bytes of the write-ahead log, which a start replays.
    pub wal_bytes: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Store {
    /// Epochs of the log, by retention, oldest first.
    #[must_use]
    pub fn epochs(&self) -> Vec<EpochFigures> {
        let epochs = self.log().all().into_iter().map(|(epoch, _)| EpochFigures {
            number: epoch.number,
            class: epoch.class().unwrap_or_default(),
            first: epoch.first,
            bytes: family_bytes(self.db(), &epoch.family()),
        });
        epochs.collect()
    }

    /// When the first and the last event of an epoch were accepted; `None` where there is none.
    pub fn epoch_times(&self, number: u32) -> Result<(Option<Timestamp>, Option<Timestamp>), ReadError> {
        let family = family_of(number);
        let received = |row: Option<Pair>| {
            let Some((key, value)) = row else { return Ok(None) };
            let offset = keys::event_offset(&key).ok_or(Damaged("the key is not an event's")).map_err(damaged(&key))?;
            let event = decode_event(Position { slot: keys::SLOT, offset }, &value).map_err(damaged(&key))?;
            Ok::<_, ReadError>(Some(event.received))
        };
        Ok((
            received(first_row_in(self.db(), &family, Kind::Event)?)?,
            received(last_row(self.db(), &family, Kind::Event)?)?,
        ))
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
