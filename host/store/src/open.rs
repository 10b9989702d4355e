//! Opening a data directory: lock, recovery ladder, format version, commit mark, boot id.
//!
//! The ladder (guarantees G2): refuse a write-ahead log with a hole; take a torn tail as it comes; on other damage copy the log
//! aside and keep what is before the damage; serve only if that reaches the commit mark. Knows nothing of what the rows mean.
//!
//! Invariant: a store that came back with less than the mark says is opened only if the operator accepted the loss, and then
//! the loss is a row.

mod identity;
mod inspect;
mod ladder;
mod restore;
mod wal;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bugle_core::ids::{BootId, Offset};
use bugle_core::retention::KeepClass;

use crate::codec::{Damaged, EpochRow, LossRow, Number, Row};
use crate::family::Family;
use crate::keys::{self, Kind};
use crate::lock::{DirLock, LockError};
use crate::log::{Epoch, Log, class_of, family_of, first_of, number_of};
use crate::mark::{Found, Mark, MarkFile};
use crate::read::last_row;
use crate::store::{Db, Durability, Parts, Store};
use identity::{Identity, identity, random};

pub(crate) use inspect::wal_bytes;
pub use inspect::{Depth, Inspected, inspect};
pub use restore::Renewed;

/// Version of the format; a store of a newer one is refused.
const FORMAT: u64 = 1;
/// Boots remembered: bounds when a producer's life can have begun. Older lives count as begun with the store.
const BOOTS_MAX: usize = 64;
/// After an accepted loss offsets go on this far behind the lost ones: more than any second of events, so that no position a
/// producer or a receiver was told is given again.
const LOSS_GAP: u64 = 1 << 20;
/// Bytes of an epoch if the caller does not say: retention by size (64 GiB) / 32.
const EPOCH_BYTES_DEFAULT: u64 = 2 << 30;
/// Most bytes of an epoch.
const EPOCH_BYTES_MAX: u64 = 4 << 30;

/// What to do if confirmed events are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// Refuse to open and name the range.
    #[default]
    Refuse,
    /// Open all the same and keep a row of it. Only on an operator's word.
    Accept,
}

/// How to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do if confirmed events are missing.
    pub on_loss: OnLoss,
    /// A log epoch is left after this many bytes.
    pub epoch_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { on_loss: OnLoss::Refuse, epoch_bytes: EPOCH_BYTES_DEFAULT }
    }
}

/// 128 bits made when the store was created, and anew when it was restored from a backup; another history never has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncarnationId(pub [u8; 16]);

/// What was missing when the operator accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The first offset that is missing ...
    pub from: Offset,
    /// ... and one past the last one known to have been confirmed. Equal offsets: state rows were lost, no event.
    pub to: Offset,
}

/// The write-ahead log was damaged and everything before the damage was kept; it reaches the commit mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Where the damaged log was copied to.
    pub copy: PathBuf,
    /// What RocksDB said of it.
    pub damage: String,
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct Opened {
    /// This life of the process on this store.
    pub boot: BootId,
    /// The store's identity.
    pub incarnation: IncarnationId,
    /// Those it had before it was restored from backups, each with where the log ended in the backup, oldest first: events below
    /// were stored under it.
    pub earlier: Vec<(IncarnationId, Offset)>,
    /// First boot under this identity; 0 if it never had another one.
    pub first_boot: BootId,
    /// Key of the publish-id hash.
    pub id_seed: [u8; 16],
    /// Where the log ended at this and earlier boots.
    pub boots: Vec<(BootId, Offset)>,
    /// Offset of the next event.
    pub next: Offset,
    /// First offset of the log.
    pub floor: Offset,
    /// From here on every event is there; below, retentions that are shorter than others have let go of theirs.
    pub dropped_below: Offset,
    /// Set if the log had to be repaired.
    pub repair: Option<Repair>,
    /// Set if a loss was accepted at this open.
    pub loss: Option<Loss>,
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host has the directory.
    #[error("data directory `{dir}` is in use by process {holder}; stop that host or choose another directory")]
    InUse {
        /// The directory.
        dir: String,
        /// Its process id, as far as the lock file tells.
        holder: String,
    },
    /// Confirmed events or state are missing.
    #[error(
        "the store in `{dir}` lost confirmed data: events {from} up to {to} are missing (it recovered to sequence {recovered} \
         of at least {confirmed}); restore a backup, or start once with the loss accepted"
    )]
    LossDetected {
        /// The directory.
        dir: String,
        /// First missing offset.
        from: Offset,
        /// One past the last missing offset; equal to `from` if only state rows are missing.
        to: Offset,
        /// RocksDB's sequence number after recovery.
        recovered: u64,
        /// The one that had been synced.
        confirmed: u64,
    },
    /// The mark file is missing, damaged or of another store, so nobody can tell whether something was lost.
    #[error(
        "the commit mark of `{dir}` {problem}, so a loss could not be noticed; restore it, or start once with the loss accepted"
    )]
    MarkUnusable {
        /// The directory.
        dir: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Written by a newer host.
    #[error(
        "the store in `{dir}` has format {found}, this host knows {FORMAT}; use the host that wrote it or a newer one"
    )]
    FormatUnsupported {
        /// The directory.
        dir: String,
        /// Its format.
        found: u64,
    },
    /// Nothing was ever stored there.
    #[error("there is no store in `{dir}`")]
    NoStore {
        /// The directory.
        dir: String,
    },
    /// RocksDB could not open or recover it.
    #[error("the store in `{dir}` could not be opened: {reason}; restore a backup if the disk is sound")]
    Storage {
        /// The directory.
        dir: String,
        /// RocksDB's words.
        reason: String,
    },
    /// A row of the store about itself is damaged.
    #[error("the store in `{dir}` has a damaged row `{row}`; restore a backup")]
    Row {
        /// The directory.
        dir: String,
        /// Which.
        row: &'static str,
        /// What is wrong with it.
        source: Damaged,
    },
    /// A file operation failed.
    #[error("could not {action} in data directory `{dir}`")]
    Io {
        /// The directory.
        dir: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn named(dir: &Path) -> String {
    dir.display().to_string()
}

/// Makes errors that name the directory.
#[derive(Clone, Copy)]
struct Place<'a>(&'a Path);

impl Place<'_> {
    fn io(self, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        let dir = named(self.0);
        move |source| OpenError::Io { dir, action, source }
    }

    fn storage(self, reason: impl ToString) -> OpenError {
        OpenError::Storage { dir: named(self.0), reason: reason.to_string() }
    }

    fn loss(self, from: Offset, to: Offset, recovered: u64, confirmed: u64) -> OpenError {
        OpenError::LossDetected { dir: named(self.0), from, to: to.max(from), recovered, confirmed }
    }

    fn row(self, row: &'static str) -> impl FnOnce(Damaged) -> OpenError {
        let dir = named(self.0);
        move |source| OpenError::Row { dir, row, source }
    }
}

impl Store {
    /// Opens the data directory, made if it is not there, and recovers what is in it.
    pub fn open(dir: &Path, options: Options) -> Result<(Store, Opened), OpenError> {
        let place = Place(dir);
        make_private(dir).map_err(place.io("make the directory"))?;
        let lock = DirLock::take(&dir.join("lock")).map_err(|error| match error {
            LockError::Held(holder) => OpenError::InUse { dir: named(dir), holder },
            LockError::Io(source) => place.io("take the lock")(source),
        })?;
        let is_new = !dir.join("db").join("CURRENT").exists();
        let (mark, mark_problem) = open_mark(dir, is_new, options.on_loss)?;
        let known = mark.last();
        let hole = wal::find_hole(&dir.join("db")).map_err(place.io("read the write-ahead log"))?;
        if let (Some(hole), OnLoss::Refuse) = (hole, options.on_loss) {
            return Err(place.loss(hole.from, hole.to.max(known.next), hole.before, hole.behind.max(known.sequence)));
        }
        let recovered = ladder::recover(dir, &dir.join("db"), hole)?;
        let db = recovered.db;
        let (mut log, next) = open_log(place, &db, options.epoch_bytes)?;
        let sequence = db.latest_sequence_number();
        let is_short = sequence < known.sequence || hole.is_some();
        if is_short && options.on_loss == OnLoss::Refuse {
            return Err(place.loss(next, known.next, sequence, known.sequence));
        }
        let identity = identity(place, &db, known.incarnation)?;
        if identity.incarnation != known.incarnation {
            return Err(OpenError::MarkUnusable { dir: named(dir), problem: "is that of another store" });
        }
        let is_loss = is_short || mark_problem.is_some();
        let known_next = hole.map_or(known.next, |hole| known.next.max(hole.to));
        let lost = is_loss.then_some(Loss { from: next, to: known_next.max(next) });
        let next = beyond_losses(place, &db, &mut log, next, lost)?;
        let (floor, dropped_below) = (log.floor(), log.dropped_below());
        let parts = Parts { db, log, memory: recovered.memory, mark, next, dir: dir.to_owned(), lock };
        let store = Store::assemble(parts);
        let boots = begin_boot(place, &store, &identity, lost.map(|loss| loss_row(loss, known, sequence)))?;
        let boot = boots.last().map_or(BootId(1), |(boot, _)| *boot);
        let opened = Opened {
            boot,
            incarnation: IncarnationId(identity.incarnation),
            earlier: identity.earlier,
            first_boot: identity.first_boot,
            id_seed: identity.id_seed,
            boots,
            next,
            floor,
            dropped_below,
            repair: recovered.repair,
            loss: lost,
        };
        Ok((store, opened))
    }
}

/// Makes the directory readable for its owner only, whatever it was.
fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    // So that the directory itself survives a power cut.
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The mark, and what was wrong with it if the loss of it was accepted.
fn open_mark(dir: &Path, is_new: bool, on_loss: OnLoss) -> Result<(MarkFile, Option<&'static str>), OpenError> {
    let place = Place(dir);
    let path = dir.join("mark");
    let problem = match MarkFile::open(&path).map_err(place.io("read the commit mark"))? {
        Found::Mark(mark) => return Ok((mark, None)),
        Found::Missing if is_new => None,
        Found::Missing => Some("is missing"),
        Found::Damaged => Some("is damaged"),
    };
    if let Some(problem) = problem
        && on_loss == OnLoss::Refuse
    {
        return Err(OpenError::MarkUnusable { dir: named(dir), problem });
    }
    let incarnation = match problem {
        None => random().map_err(place.io("make an identity"))?,
        // The store knows its own identity; the new mark must have it too.
        Some(_) => {
            ladder::incarnation_of(dir, &dir.join("db"))?.unwrap_or(random().map_err(place.io("make an identity"))?)
        }
    };
    let mark = MarkFile::create(&path, incarnation).map_err(place.io("write the commit mark"))?;
    Ok((mark, problem))
}

/// The epochs with a row, and families around them: an older one was about to be dropped, a newer one was created ahead.
fn open_log(place: Place<'_>, db: &Db, epoch_bytes: u64) -> Result<(Log, Offset), OpenError> {
    let epochs = read_epochs(place, db)?;
    let mut ready = Vec::new();
    for number in ladder::families(place, &place.0.join("db"))?.iter().filter_map(|family| number_of(family)) {
        let Some(class) = class_of(number) else { continue };
        let of_class = || epochs.iter().filter(|epoch| epoch.class() == Some(class)).map(|epoch| epoch.number);
        let oldest = of_class().min().unwrap_or(first_of(class));
        let next = of_class().max().map_or(oldest, |newest| newest + 1);
        if number < oldest || number > next {
            db.drop_cf(&family_of(number)).map_err(|error| place.storage(error))?;
        } else if number == next {
            ready.push(number);
        }
    }
    let next = log_end(place, db, &epochs)?;
    let known: Vec<_> =
        epochs.into_iter().map(|epoch| (epoch, crate::read::family_bytes(db, &epoch.family()))).collect();
    Ok((Log::new(&known, &ready, epoch_bytes.clamp(1, EPOCH_BYTES_MAX)), next))
}

/// The log's epochs, at least one.
fn read_epochs(place: Place<'_>, db: &Db) -> Result<Vec<Epoch>, OpenError> {
    let mut epochs = Vec::new();
    for (key, value) in crate::read::rows(db, Family::Meta, &keys::epochs()).map_err(|error| place.storage(error))? {
        let number = key.get(4..).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
        let number = number.ok_or_else(|| place.row("epoch")(Damaged("its key is too short")))?;
        let EpochRow { first } = EpochRow::decode(&value).map_err(place.row("epoch"))?;
        epochs.push(Epoch { number, first });
    }
    if epochs.is_empty() {
        epochs.push(Epoch { number: 1, first: Offset(0) });
    }
    match epochs.iter().all(|epoch| epoch.class().is_some()) {
        true => Ok(epochs),
        false => Err(place.row("epoch")(Damaged("its retention is not known to this host"))),
    }
}

/// The offset after the last event.
fn log_end(place: Place<'_>, db: &Db, epochs: &[Epoch]) -> Result<Offset, OpenError> {
    let mut next = epochs.iter().map(|epoch| epoch.first).max().unwrap_or(Offset(0));
    for class in KeepClass::all() {
        // Only the last one of a strand can be empty.
        for epoch in epochs.iter().rev().filter(|epoch| epoch.class() == Some(class)) {
            let last = last_row(db, &epoch.family(), Kind::Event).map_err(|error| place.storage(error))?;
            if let Some(offset) = last.and_then(|(key, _)| keys::event_offset(&key)) {
                next = next.max(offset.next());
                break;
            }
        }
    }
    Ok(next)
}

/// Offsets that were lost are not given again: the log knows them as gaps, and goes on behind them.
fn beyond_losses(
    place: Place<'_>,
    db: &Db,
    log: &mut Log,
    next: Offset,
    now: Option<Loss>,
) -> Result<Offset, OpenError> {
    let rows = crate::read::rows(db, Family::Meta, &keys::Key::of(Kind::Loss)).map_err(|error| place.storage(error))?;
    let mut losses = Vec::from_iter(now);
    for (_, value) in rows {
        let row = LossRow::decode(&value).map_err(place.row("loss"))?;
        losses.push(Loss { from: row.recovered_next, to: row.confirmed_next });
    }
    let mut beyond = next;
    for loss in losses {
        let to = Offset(loss.to.0.saturating_add(LOSS_GAP));
        log.add_gap(loss.from, to);
        beyond = beyond.max(to);
    }
    Ok(beyond)
}

fn loss_row(loss: Loss, known: Mark, recovered: u64) -> LossRow {
    LossRow {
        confirmed_sequence: known.sequence,
        recovered_sequence: recovered,
        confirmed_next: loss.to,
        recovered_next: loss.from,
    }
}

/// Writes this boot's row, and what a new store says about itself; returns the boots known, this one last.
fn begin_boot(
    place: Place<'_>,
    store: &Store,
    identity: &Identity,
    loss: Option<LossRow>,
) -> Result<Vec<(BootId, Offset)>, OpenError> {
    let mut boots = Vec::new();
    let rows = crate::read::rows(store.db(), Family::Meta, &keys::Key::of(Kind::Boot))
        .map_err(|error| place.storage(error))?;
    for (key, value) in rows {
        let boot = keys::Fields::of(&key).u64().ok_or_else(|| place.row("boot")(Damaged("its key is too short")))?;
        let Number(next) = Number::decode(&value).map_err(place.row("boot"))?;
        boots.push((BootId(boot), Offset(next)));
    }
    let boot = BootId(boots.last().map_or(0, |(boot, _)| boot.0) + 1);
    boots.push((boot, store.next()));
    let mut batch = store.batch(1024);
    for (old, _) in boots.drain(..boots.len().saturating_sub(BOOTS_MAX)) {
        batch.delete(Family::Meta, keys::boot(old).as_ref());
    }
    batch.put(Family::Meta, keys::boot(boot).as_ref(), &Number(store.next().0));
    if let Some(row) = loss {
        batch.put(Family::Meta, keys::loss(boot).as_ref(), &row);
    }
    if identity.is_new {
        batch.put(Family::Meta, keys::Key::of(Kind::Format).as_ref(), &Number(FORMAT));
        batch.put(Family::Meta, keys::epoch(1).as_ref(), &EpochRow { first: Offset(0) });
        batch.put_raw(Family::Meta, keys::Key::of(Kind::Incarnation).as_ref(), &identity.incarnation);
        batch.put_raw(Family::Meta, keys::Key::of(Kind::IdSeed).as_ref(), &identity.id_seed);
    }
    store.commit(batch, Durability::Synced).map_err(|error| place.storage(error))?;
    store.upkeep().map_err(|error| place.storage(error))?;
    Ok(boots)
}
