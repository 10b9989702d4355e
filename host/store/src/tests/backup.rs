//! Backups of a store that is written to, looks at them, and what a restored one is.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bugle_core::ids::{BootId, Offset};
use bugle_core::step::{CatalogKind, Write};

use super::crash::{copy, files};
use super::sample::every_write;
use super::{ALL, append, commit, event, open};
use crate::{BackupError, Depth, OnLoss, OpenError, Options, Store, inspect};

const SMALL: Options = Options { on_loss: OnLoss::Refuse, epoch_bytes: 20_000 };

#[test]
fn a_backup_under_load_is_the_store_at_one_moment() {
    let (live, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, opened) = Store::open(live.path(), SMALL).unwrap();
    commit(&store, &every_write());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                append(&store, 7);
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.upkeep().unwrap();
            }
        });
        for number in 0..6 {
            let to = backups.path().join(number.to_string());
            let (_, confirmed) = store.confirmed();
            let copied = store.back_up(&to, opened.incarnation).unwrap();
            assert!(confirmed <= copied.found.next && copied.found.next <= store.next(), "{copied:?}");
            assert!(copied.is_linked, "on one file system nothing is copied");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(
        inspect(&backups.path().join("5"), Depth::Ends).unwrap().epochs > 1,
        "the load is too small to show anything"
    );
    for number in 0..6 {
        let backup = backups.path().join(number.to_string());
        let found = inspect(&backup, Depth::EveryRow).unwrap();
        assert_eq!(inspect(&backup, Depth::EveryRow).unwrap(), found, "a look changes nothing");
        let events = found.next.0 - found.floor.0;
        assert!(found.rows >= events && found.confirmed <= found.sequence, "{found:?}");
        let restored = tempfile::tempdir().unwrap();
        copy(&backup, restored.path());
        let (copy, again) = open(restored.path());
        assert_eq!((again.next, again.incarnation), (found.next, opened.incarnation));
        let page = copy.events(Offset(1), ALL).unwrap();
        assert!(page.events.iter().eq((1..found.next.0).map(event).collect::<Vec<_>>().iter()));
    }
    // The store it came from goes on as ever.
    append(&store, 1);
    store.close().unwrap();
}

#[test]
fn a_backup_is_not_made_over_anything_and_a_failed_one_leaves_nothing() {
    let (live, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, opened) = open(live.path());
    let refused = store.back_up(backups.path(), opened.incarnation).unwrap_err();
    assert!(matches!(refused, BackupError::Exists(_)), "{refused}");
    let nowhere = backups.path().join("not/there");
    assert!(matches!(store.back_up(&nowhere, opened.incarnation), Err(BackupError::Io { .. })));
    // The wrong identity makes a copy that a look refuses.
    let to = backups.path().join("wrong");
    let other = crate::IncarnationId([1; 16]);
    assert!(matches!(store.back_up(&to, other), Err(BackupError::Unsound(OpenError::MarkUnusable { .. }))));
    assert!(!to.exists());
}

/// A backup of a few hundred events, in several epochs.
fn backup(to: &Path) {
    let live = tempfile::tempdir().unwrap();
    let (store, opened) = Store::open(live.path(), SMALL).unwrap();
    commit(&store, &every_write());
    for _ in 0..40 {
        append(&store, 10);
        store.upkeep().unwrap();
    }
    store.back_up(to, opened.incarnation).unwrap();
}

#[test]
fn damage_of_a_backup_is_found_by_a_look_at_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    backup(&good);
    let check = |what: &str, damage: &dyn Fn(&Path)| {
        let bad = tempfile::tempdir().unwrap();
        copy(&good, bad.path());
        damage(bad.path());
        assert!(inspect(bad.path(), Depth::EveryRow).is_err(), "{what}");
    };
    check("no mark", &|dir| fs::remove_file(dir.join("mark")).unwrap());
    check("no store", &|dir| fs::remove_dir_all(dir.join("db")).unwrap());
    for (number, path) in files(&good, "sst").into_iter().enumerate() {
        let name = path.file_name().unwrap().to_owned();
        check("a table is missing", &|dir| fs::remove_file(dir.join("db").join(&name)).unwrap());
        check(&format!("a flipped byte in table {number}"), &|dir| {
            let path = dir.join("db").join(&name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[10] ^= 0x20;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        });
    }
    let mark = fs::read(good.join("mark")).unwrap();
    for bit in [0, 100, 300] {
        check("a damaged mark", &|dir| {
            let mut mark = mark.clone();
            mark[bit / 8] ^= 1;
            mark[512 + bit / 8] ^= 1;
            fs::write(dir.join("mark"), mark).unwrap();
        });
    }
}

#[test]
fn a_restored_store_is_another_one_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (good, data) = (dir.path().join("good"), dir.path().join("data"));
    backup(&good);
    copy(&good, &data);
    let before = inspect(&data, Depth::Ends).unwrap();
    let renew = |note: &[u8]| {
        let (store, opened) = open(&data);
        let write = Write::Catalog { kind: CatalogKind::Audit, key: "restore".to_owned(), value: Some(note.to_vec()) };
        (store.renew(&opened, &[write]).unwrap(), opened)
    };
    let (renewed, opened) = renew(b"first");
    assert_eq!((renewed.before, renewed.next), (before.incarnation, before.next));
    assert_ne!(renewed.incarnation, before.incarnation);
    let (store, again) = open(&data);
    assert_eq!((again.incarnation, again.id_seed), (renewed.incarnation, opened.id_seed));
    assert_eq!(again.earlier, vec![(before.incarnation, before.next)]);
    assert!(again.boot > again.first_boot && again.first_boot > BootId(opened.boot.0 + 65_535), "{again:?}");
    assert_eq!(store.catalog(CatalogKind::Audit, "restore").unwrap(), Some(b"first".to_vec()));
    append(&store, 3);
    store.close().unwrap();
    // A backup of it, restored in turn, knows both.
    let (second, _) = renew(b"second");
    let (_, last) = open(&data);
    let ends = last.earlier.iter().map(|(_, end)| end.0).collect::<Vec<_>>();
    assert_eq!(ends, vec![before.next.0, before.next.0 + 3]);
    assert_eq!(last.incarnation, second.incarnation);
    // The mark of the backup does not fit any more.
    fs::copy(good.join("mark"), data.join("mark")).unwrap();
    assert!(matches!(inspect(&data, Depth::Ends), Err(OpenError::MarkUnusable { .. })));
}
