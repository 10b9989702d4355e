//! Power cuts and damage: files of a store are copied, cut and flipped, then opened.
//!
//! A legal power cut loses or tears what was not synced: it opens by itself and holds a prefix. Damage of synced data is told,
//! or gives right data; it is never silent.

use std::fs;
use std::path::{Path, PathBuf};

use bugle_core::ids::Offset;

use super::{ALL, append, open};
use crate::{Loss, OnLoss, OpenError, Options, Store};

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Files of the database with this ending, the newest (highest number) last.
pub(super) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .collect();
    files.sort();
    files
}

fn accept() -> Options {
    Options { on_loss: OnLoss::Accept, ..Options::default() }
}

/// A store killed after `synced` synced events with a mark, and `more` events in one batch each, of which the last is not
/// synced yet, without a mark.
fn killed(synced: u64, more: u64) -> tempfile::TempDir {
    let live = tempfile::tempdir().unwrap();
    let (store, _) = open(live.path());
    append(&store, synced);
    store.upkeep().unwrap();
    (0..more).for_each(|_| drop(append(&store, 1)));
    let dead = tempfile::tempdir().unwrap();
    copy(live.path(), dead.path());
    dead
}

/// Bytes of the newest write-ahead log of a store that is open; synced ones, if the last commit was.
fn log_bytes(dir: &Path) -> usize {
    files(dir, "log").pop().map_or(0, |path| fs::metadata(path).unwrap().len() as usize)
}

#[test]
fn an_event_that_is_not_there_is_an_error_and_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    append(&store, 10);
    let remove = |offset| {
        let family = store.db().cf_handle("log-1").unwrap();
        store.db().delete_cf(&family, crate::keys::event(Offset(offset))).unwrap();
    };
    for missing in [4, 9] {
        remove(missing);
        for from in 0..=missing {
            let refused = store.events(Offset(from), ALL).unwrap_err();
            assert!(matches!(refused, crate::ReadError::Missing { missing: Offset(4 | 9) }), "{refused}");
        }
        assert!(store.event(super::at(missing)).is_err());
        assert_eq!(store.events(Offset(10), ALL).unwrap().events, vec![]);
        assert_eq!(store.event(super::at(10)).unwrap(), None);
    }
    let page = store.events(Offset(5), crate::EventBounds { events_max: 3, bytes_max: usize::MAX }).unwrap();
    assert_eq!(page.events.len(), 3, "what is asked for is there");
}

/// Events of a store that opened hold a prefix, each as it was written; returns how many.
fn prefix(store: &Store) -> u64 {
    let page = store.events(Offset(0), ALL).unwrap();
    for (offset, found) in (0..).zip(&page.events) {
        assert_eq!(*found, super::event(offset));
    }
    page.events.len() as u64
}

/// One big last batch, so that its record is cut into fragments, torn at many places.
#[test]
fn a_write_ahead_log_torn_anywhere_in_its_unsynced_tail_opens_by_itself() {
    let live = tempfile::tempdir().unwrap();
    let (store, _) = open(live.path());
    append(&store, 5);
    store.upkeep().unwrap();
    let synced_bytes = log_bytes(live.path());
    append(&store, 600);
    let dead = tempfile::tempdir().unwrap();
    copy(live.path(), dead.path());
    let log = files(dead.path(), "log").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    assert!(whole.len() - synced_bytes > 2 << 15, "the batch is too small to show anything");
    let mut images: Vec<Vec<u8>> = Vec::new();
    for cut in (1..=whole.len() - synced_bytes).step_by(4999) {
        let torn = &whole[..whole.len() - cut];
        images.push(torn.to_vec());
        // The file system had grown the file; its last sectors never arrived.
        images.push([torn, &vec![0; cut]].concat());
        images.push([torn, &vec![0xa5; cut]].concat());
        // One sector in between never arrived.
        let mut holed = whole.clone();
        let at = (whole.len() - cut) / 512 * 512;
        let at = at.max(synced_bytes);
        let end = (at + 512).min(whole.len());
        holed[at..end].fill(0);
        images.push(holed);
    }
    for (number, bytes) in images.into_iter().enumerate() {
        let image = tempfile::tempdir().unwrap();
        copy(dead.path(), image.path());
        fs::write(image.path().join("db").join(log.file_name().unwrap()), bytes).unwrap();
        let (store, opened) =
            Store::open(image.path(), Options::default()).unwrap_or_else(|error| panic!("image {number}: {error}"));
        assert_eq!((prefix(&store), opened.next, opened.loss), (5, Offset(5), None), "image {number}");
        append(&store, 1);
        if number % 7 == 0 {
            // Killed again, perhaps with the old log still there beside the new one.
            let again = tempfile::tempdir().unwrap();
            copy(image.path(), again.path());
            assert_eq!(prefix(&open(again.path()).0), 6);
        }
    }
}

#[test]
fn a_hole_in_the_log_is_refused_even_behind_the_mark() {
    let dead = killed(5, 400);
    let log = files(dead.path(), "log").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    let synced_bytes = log_bytes(killed(5, 0).path());
    let mut seen = 0;
    for at in (synced_bytes..whole.len() - 2048).step_by(7001) {
        for zeroes in [true, false] {
            let image = tempfile::tempdir().unwrap();
            copy(dead.path(), image.path());
            let mut holed = whole.clone();
            if zeroes {
                holed[at..at + 512].fill(0);
            } else {
                holed[at] ^= 0x40;
            }
            fs::write(image.path().join("db").join(log.file_name().unwrap()), holed).unwrap();
            for _ in 0..2 {
                match Store::open(image.path(), Options::default()) {
                    Err(OpenError::LossDetected { from, to, .. }) => assert!(from.0 >= 5 && to > from, "{from} {to}"),
                    other => panic!("{other:?} at {at}"),
                }
            }
            let (store, opened) = Store::open(image.path(), accept()).unwrap();
            let loss = opened.loss.unwrap();
            assert_eq!(loss.from, Offset(prefix(&store)));
            assert!(store.next() > loss.to && opened.repair.is_some());
            drop(store);
            open(image.path());
            seen += 1;
        }
    }
    assert!(seen > 6, "{seen}");
}

#[test]
fn a_store_below_its_mark_is_refused_until_the_loss_is_accepted() {
    let dead = killed(0, 0);
    let (store, _) = open(dead.path());
    append(&store, 10);
    append(&store, 10);
    store.upkeep().unwrap();
    let image = tempfile::tempdir().unwrap();
    copy(dead.path(), image.path());
    drop(store);
    let log = files(image.path(), "log").pop().unwrap();
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 100]).unwrap();
    for _ in 0..2 {
        match Store::open(image.path(), Options::default()).unwrap_err() {
            OpenError::LossDetected { from, to, .. } => assert_eq!((from, to), (Offset(10), Offset(20))),
            other => panic!("{other}"),
        }
    }
    let (store, opened) = Store::open(image.path(), accept()).unwrap();
    assert_eq!(opened.loss, Some(Loss { from: Offset(10), to: Offset(20) }));
    assert_eq!(prefix(&store), 10);
    assert!(store.next() > Offset(20), "a position that was told is never given again");
    drop(store);
    let (store, opened) = open(image.path());
    assert_eq!(opened.loss, None);
    assert!(store.next() > Offset(20));
    let rows = store.scan().collect::<Result<Vec<_>, _>>().unwrap();
    assert!(rows.contains(&crate::ScannedRow::Own(crate::Kind::Loss)), "the loss is audited");
    let first = append(&store, 3)[0].position;
    let page = store.events(Offset(0), ALL).unwrap();
    assert_eq!((page.events.len(), page.next), (13, store.next()), "readers pass over what was accepted as lost");
    assert_eq!(store.event(first).unwrap().map(|event| event.position), Some(first));
    assert_eq!(store.event(super::at(15)).unwrap(), None);
}

#[test]
fn a_lost_database_or_mark_is_noticed() {
    let dead = killed(5, 0);
    let image = tempfile::tempdir().unwrap();
    copy(dead.path(), image.path());
    fs::remove_dir_all(image.path().join("db")).unwrap();
    let refused = Store::open(image.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::LossDetected { .. }), "{refused}");

    let image = tempfile::tempdir().unwrap();
    copy(dead.path(), image.path());
    fs::remove_file(image.path().join("mark")).unwrap();
    let refused = Store::open(image.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::MarkUnusable { .. }), "{refused}");
    let (store, opened) = Store::open(image.path(), accept()).unwrap();
    assert!(opened.loss.is_some());
    assert_eq!(prefix(&store), 5);
    drop(store);
    open(image.path());

    let other = killed(1, 0);
    fs::copy(other.path().join("mark"), dead.path().join("mark")).unwrap();
    let refused = Store::open(dead.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::MarkUnusable { problem: "is that of another store", .. }), "{refused}");
}

/// Opens a damaged image and says what came of it: refused, an error while reading, or every confirmed event right.
fn judge(image: &Path, confirmed: u64) -> &'static str {
    match Store::open(image, Options::default()) {
        Err(_) => "refused",
        Ok((store, _)) => match store.events(Offset(0), ALL) {
            Err(_) => "told",
            Ok(page) => {
                for (offset, found) in (0..).zip(&page.events) {
                    assert_eq!(*found, super::event(offset), "a wrong event");
                }
                assert!(page.events.len() as u64 >= confirmed, "{} of {confirmed} events, silently", page.events.len());
                "right"
            }
        },
    }
}

#[test]
fn a_flipped_byte_of_confirmed_data_in_the_log_is_never_silent() {
    let dead = killed(30, 0);
    let log = files(dead.path(), "log").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let image = tempfile::tempdir().unwrap();
        copy(dead.path(), image.path());
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(image.path().join("db").join(log.file_name().unwrap()), flipped).unwrap();
        refused += u32::from(judge(image.path(), 30) == "refused");
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn a_flipped_byte_of_a_table_is_never_silent() {
    // The second open writes what the log had into tables.
    let dead = killed(30, 0);
    drop(open(dead.path()));
    let mut noticed = 0;
    for table in files(dead.path(), "sst") {
        let whole = fs::read(&table).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 25 + 1) {
            let image = tempfile::tempdir().unwrap();
            copy(dead.path(), image.path());
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            fs::write(image.path().join("db").join(table.file_name().unwrap()), flipped).unwrap();
            noticed += u32::from(judge(image.path(), 30) != "right");
        }
    }
    assert!(noticed > 10, "{noticed}");
}

#[test]
fn damage_of_the_last_record_is_cut_off_and_the_log_is_kept_aside() {
    let dead = killed(10, 10);
    let log = files(dead.path(), "log").pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let near_end = bytes.len() - 20;
    bytes[near_end] ^= 0x40;
    fs::write(&log, bytes).unwrap();
    let (store, opened) = open(dead.path());
    let repair = opened.repair.unwrap();
    assert!(repair.copy.join(log.file_name().unwrap()).exists());
    assert_eq!((opened.loss, prefix(&store)), (None, 19));
}
