//! The two steps of recovery: as strict as an ordinary power cut allows, then with the damaged log set aside.
//!
//! Knows nothing of marks and rows; whether what came back is enough is judged above.
//!
//! Invariant: before a recovery that may drop damaged parts of the write-ahead log runs, a copy of the log is on disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{ColumnFamilyDescriptor, DBRecoveryMode, ErrorKind};

use super::wal::{self, Hole};
use super::{OpenError, Place, Repair};
use crate::family::{self, Family, Memory};
use crate::keys::Kind;
use crate::log::{family_of, number_of};
use crate::read::first_row;
use crate::store::Db;

/// Files open at once for a look: the host that takes it has its own store open, too.
const LOOK_FILES_MAX: i32 = 128;

/// A database that opened.
pub(super) struct Recovered {
    pub(super) db: Db,
    pub(super) memory: Memory,
    pub(super) repair: Option<Repair>,
}

/// Opens the database in `db_dir`, made if it is not there. A log with a hole goes straight to the second step: RocksDB might
/// not see it in the first.
pub(super) fn recover(dir: &Path, db_dir: &Path, hole: Option<Hole>) -> Result<Recovered, OpenError> {
    let place = Place(dir);
    let memory = Memory::new();
    if let Some(hole) = hole {
        let damage = format!("confirmed data is missing after sequence {}", hole.before);
        return recover_aside(dir, db_dir, memory, damage);
    }
    let damage = match open(place, db_dir, &memory, DBRecoveryMode::TolerateCorruptedTailRecords) {
        Ok(db) => return Ok(Recovered { db, memory, repair: None }),
        Err(error) if error.kind() == ErrorKind::Corruption => error.into_string(),
        Err(error) => return Err(place.storage(error)),
    };
    recover_aside(dir, db_dir, memory, damage)
}

fn recover_aside(dir: &Path, db_dir: &Path, memory: Memory, damage: String) -> Result<Recovered, OpenError> {
    let place = Place(dir);
    let copy = set_wal_aside(dir, db_dir).map_err(place.io("copy the damaged write-ahead log"))?;
    tracing::warn!(damage, copy = %copy.display(), "the write-ahead log is damaged; recovering what is before the damage");
    let db = open(place, db_dir, &memory, DBRecoveryMode::PointInTime).map_err(|error| place.storage(error))?;
    Ok(Recovered { db, memory, repair: Some(Repair { copy, damage }) })
}

fn open(place: Place<'_>, db_dir: &Path, memory: &Memory, mode: DBRecoveryMode) -> Result<Db, rocksdb::Error> {
    let options = family::database(memory, mode)?;
    Db::open_cf_descriptors(&options, db_dir, descriptors(place, db_dir, memory)?)
}

/// Opens the database without changing anything; what its write-ahead log adds is kept in memory.
pub(super) fn open_read_only(place: Place<'_>, db_dir: &Path) -> Result<Db, rocksdb::Error> {
    let memory = Memory::for_a_look();
    let mut options = family::database(&memory, DBRecoveryMode::TolerateCorruptedTailRecords)?;
    options.set_max_open_files(LOOK_FILES_MAX);
    Db::open_cf_descriptors_read_only(&options, db_dir, descriptors(place, db_dir, &memory)?, false)
}

fn descriptors(
    place: Place<'_>,
    db_dir: &Path,
    memory: &Memory,
) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let mut descriptors = Vec::new();
    for state in Family::ALL {
        descriptors.push(ColumnFamilyDescriptor::new(state.name(), family::state(memory, state)?));
    }
    // A manifest that cannot be read fails the open below with RocksDB's own words.
    let known = families(place, db_dir).unwrap_or_default();
    let mut logs: Vec<u32> = known.iter().filter_map(|family| number_of(family)).collect();
    if logs.is_empty() {
        logs.push(1);
    }
    for number in logs {
        descriptors.push(ColumnFamilyDescriptor::new(family_of(number), family::log(memory)?));
    }
    Ok(descriptors)
}

/// Names of the families in the database; none if there is no database.
pub(super) fn families(place: Place<'_>, db_dir: &Path) -> Result<Vec<String>, OpenError> {
    if !db_dir.join("CURRENT").exists() {
        return Ok(Vec::new());
    }
    Db::list_cf(&rocksdb::Options::default(), db_dir).map_err(|error| place.storage(error))
}

/// The identity the store has written down, if it got so far.
pub(super) fn incarnation_of(dir: &Path, db_dir: &Path) -> Result<Option<[u8; 16]>, OpenError> {
    let Recovered { db, .. } = recover(dir, db_dir, None)?;
    let row = first_row(&db, Family::Meta, Kind::Incarnation).map_err(|error| Place(dir).storage(error))?;
    Ok(row.and_then(|(_, value)| value.get(1..).and_then(|bytes| bytes.try_into().ok())))
}

/// Copies every file of the write-ahead log into a new directory beside the database.
fn set_wal_aside(dir: &Path, db_dir: &Path) -> io::Result<PathBuf> {
    let copy = (1_u32..)
        .map(|number| dir.join(format!("damaged-wal-{number}")))
        .find(|path| !path.exists())
        .ok_or_else(|| io::Error::other("no free name"))?;
    fs::create_dir(&copy)?;
    for path in wal::files(db_dir)? {
        if let Some(name) = path.file_name() {
            let to = copy.join(name);
            fs::copy(&path, &to)?;
            File::open(&to)?.sync_all()?;
        }
    }
    File::open(&copy)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(copy)
}
