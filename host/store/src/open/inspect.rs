//! A look at a store that nobody serves: a backup, or the directory of a host that is down.
//!
//! It judges by the same rules as opening (hole in the write-ahead log, commit mark, format), but changes nothing, so that a
//! backup stays what it was. Knows nothing of what the rows mean.
//!
//! Invariant: what passes here can be opened and loses nothing by it.

use std::io;
use std::path::Path;

use bugle_core::ids::{BootId, Offset};
use rocksdb::{IteratorMode, ReadOptions};

use super::identity::identity;
use super::{FORMAT, IncarnationId, OpenError, Place, beyond_losses, ladder, log_end, named, read_epochs, wal};
use crate::disk;
use crate::family::Family;
use crate::keys::{self, Fields, Kind};
use crate::log::{Epoch, Log};
use crate::mark::{Mark, MarkFile};
use crate::read::last_row;
use crate::scan::typed;
use crate::store::Db;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the store says about itself, and both ends of each log epoch.
    Ends,
    /// Every row, decoded, with the checksums of their blocks: takes as long as reading all files.
    EveryRow,
}

/// What a store was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Version of its format.
    pub format: u64,
    /// Its identity.
    pub incarnation: IncarnationId,
    /// Its last boot.
    pub boot: BootId,
    /// First offset of the log.
    pub floor: Offset,
    /// Offset after the last event.
    pub next: Offset,
    /// RocksDB's sequence number.
    pub sequence: u64,
    /// The one the commit mark says was reached; at most `sequence`.
    pub confirmed: u64,
    /// Log epochs.
    pub epochs: u64,
    /// Files of the store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the write-ahead log in it, which the next start replays.
    pub wal_bytes: u64,
    /// Rows that were read and decoded; 0 at [`Depth::Ends`].
    pub rows: u64,
}

/// Looks at the store in `dir`, which no host may serve meanwhile; the caller sees to that.
pub fn inspect(dir: &Path, depth: Depth) -> Result<Inspected, OpenError> {
    let place = Place(dir);
    let db_dir = dir.join("db");
    if !db_dir.join("CURRENT").exists() {
        return Err(OpenError::NoStore { dir: named(dir) });
    }
    let unusable = |problem| OpenError::MarkUnusable { dir: named(dir), problem };
    let mark = match MarkFile::look(&dir.join("mark")) {
        Ok(mark) => mark.ok_or_else(|| unusable("is damaged"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unusable("is missing")),
        Err(error) => return Err(place.io("read the commit mark")(error)),
    };
    if let Some(hole) = wal::find_hole(&db_dir).map_err(place.io("read the write-ahead log"))? {
        return Err(place.loss(hole.from, hole.to.max(mark.next), hole.before, hole.behind.max(mark.sequence)));
    }
    let db = ladder::open_read_only(place, &db_dir).map_err(|error| place.storage(error))?;
    let identity = identity(place, &db, mark.incarnation)?;
    if identity.is_new || identity.incarnation != mark.incarnation {
        return Err(unusable("is that of another store"));
    }
    let epochs = read_epochs(place, &db)?;
    let mut log = Log::new(&epochs.iter().map(|epoch| (*epoch, 0)).collect::<Vec<_>>(), &[], 1);
    // Behind an accepted loss the log goes on further ahead, as the mark says.
    let next = beyond_losses(place, &db, &mut log, log_end(place, &db, &epochs)?, None)?;
    reaches(place, &db, &mark, next)?;
    check_ends(place, &db, &log, &epochs)?;
    let boot = last_row(&db, Family::Meta.name(), Kind::Boot).map_err(|error| place.storage(error))?;
    let boot = boot.and_then(|(key, _)| Fields::of(&key).u64()).map_or(BootId(0), BootId);
    let files = disk::files(dir).map_err(place.io("count the files"))?;
    Ok(Inspected {
        format: FORMAT,
        incarnation: IncarnationId(identity.incarnation),
        boot,
        floor: log.floor(),
        next,
        sequence: db.latest_sequence_number(),
        confirmed: mark.sequence,
        epochs: epochs.len() as u64,
        files: files.count,
        bytes: files.bytes,
        wal_bytes: wal_bytes(&db_dir).map_err(place.io("measure the write-ahead log"))?,
        rows: match depth {
            Depth::Ends => 0,
            Depth::EveryRow => read_every_row(place, &db, &epochs)?,
        },
    })
}

/// The recovered store reaches its mark.
fn reaches(place: Place<'_>, db: &Db, mark: &Mark, next: Offset) -> Result<(), OpenError> {
    let sequence = db.latest_sequence_number();
    if sequence < mark.sequence || next < mark.next {
        return Err(place.loss(next, mark.next, sequence, mark.sequence));
    }
    Ok(())
}

/// Each epoch begins where the one before it ended; where there are several retentions, behind that.
fn check_ends(place: Place<'_>, db: &Db, log: &Log, epochs: &[Epoch]) -> Result<(), OpenError> {
    let mut expected: Option<Offset> = None;
    let (mut class, is_one) = (None, epochs.iter().all(|epoch| epoch.class() == epochs[0].class()));
    for epoch in epochs {
        if class != epoch.class() {
            (class, expected) = (epoch.class(), None);
        }
        let ends = |reverse: bool| {
            let row = match reverse {
                true => last_row(db, &epoch.family(), Kind::Event),
                false => first_row_of(db, *epoch),
            };
            let row = row.map_err(|error| place.storage(error))?;
            Ok::<_, OpenError>(row.and_then(|(key, _)| keys::event_offset(&key)))
        };
        let (Some(first), Some(last)) = (ends(false)?, ends(true)?) else { continue };
        let follows = |expected: Offset| if is_one { log.follows(expected, first) } else { expected <= first };
        if let Some(missing) = expected.filter(|expected| !follows(*expected)) {
            return Err(place.storage(format!("event {missing} is missing from its log")));
        }
        expected = Some(last.next());
    }
    Ok(())
}

type Pair = (Box<[u8]>, Box<[u8]>);

fn first_row_of(db: &Db, epoch: Epoch) -> Result<Option<Pair>, crate::ReadError> {
    let Some(handle) = db.cf_handle(&epoch.family()) else { return Ok(None) };
    Ok(db.iterator_cf(&handle, IteratorMode::Start).next().transpose()?)
}

fn read_every_row(place: Place<'_>, db: &Db, epochs: &[Epoch]) -> Result<u64, OpenError> {
    let mut rows = 0;
    let families = Family::ALL.iter().map(|family| family.name().to_owned());
    for family in epochs.iter().map(|epoch| epoch.family()).chain(families) {
        let handle = db.cf_handle(&family).ok_or_else(|| place.storage(format!("family `{family}` is missing")))?;
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        for pair in db.iterator_cf_opt(&handle, options, IteratorMode::Start) {
            let (key, value) = pair.map_err(|error| place.storage(error))?;
            typed(&key, &value).map_err(|error| place.storage(error))?;
            rows += 1;
        }
    }
    Ok(rows)
}

/// Bytes of the write-ahead log of the database in `db_dir`.
pub(crate) fn wal_bytes(db_dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in wal::files(db_dir)? {
        match std::fs::metadata(file) {
            Ok(about) => bytes += about.len(),
            // The database has let go of it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
