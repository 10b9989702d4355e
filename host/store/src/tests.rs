//! Tests of the whole store on a real disk: every row comes back, a second host is refused, old epochs go.
//!
//! Backups are in [`backup`], power cuts and damage in [`crash`], the pinned bytes of keys and values in [`golden`], decoding of any bytes in
//! [`hostile`], what is erased in [`erase`], random writes with restarts against a map in [`model`].

mod backup;
mod crash;
mod erase;
mod golden;
mod hostile;
mod model;
mod records;
mod retention;
mod sample;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{Offset, Position, ProducerEpoch, Sequence, Slot, StreamId, SubscriptionId};
use bugle_core::retention::KeepClass;
use bugle_core::row::WaitingRow;
use bugle_core::step::{CatalogKind, Write};

use crate::{CommitError, Durability, EventBounds, OpenError, Opened, Options, ScannedRow, Store};
use sample::{at, event, every_write};

const ALL: EventBounds = EventBounds { events_max: usize::MAX, bytes_max: usize::MAX };

fn open(dir: &Path) -> (Store, Opened) {
    Store::open(dir, Options::default()).unwrap()
}

fn commit(store: &Store, writes: &[Write]) {
    let mut batch = store.batch(4096);
    writes.iter().for_each(|write| batch.push(write));
    store.commit(batch, Durability::Synced).unwrap();
}

fn append(store: &Store, count: u64) -> Vec<StoredEvent> {
    let first = store.next().0;
    let events: Vec<StoredEvent> = (first..first + count).map(event).collect();
    commit(store, &events.iter().cloned().map(Write::Event).collect::<Vec<_>>());
    events
}

#[test]
fn every_row_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, first) = open(dir.path());
    assert_eq!((first.next, first.floor, first.boot.0), (Offset(0), Offset(0), 1));
    commit(&store, &every_write());
    let check = |store: &Store| {
        let subscription = SubscriptionId(3);
        let rows = store.subscription(subscription).unwrap();
        assert_eq!(rows.cursors, vec![(Class::Normal, sample::cursor())]);
        assert_eq!(rows.chunks, vec![(Class::Normal, 5, sample::chunk())]);
        let waiting: Vec<_> = store.waiting(subscription).map(Result::unwrap).collect();
        assert_eq!(waiting, vec![(Offset(11), sample::waiting())]);
        let mut without_notes = Vec::new();
        store.each_waiting(subscription, |offset, row| without_notes.push((offset, row))).unwrap();
        assert!(!sample::waiting().notes.is_empty());
        assert_eq!(without_notes, vec![(Offset(11), WaitingRow { notes: Vec::new(), ..sample::waiting() })]);
        assert_eq!(store.waiting_at(subscription, Offset(11)).unwrap(), Some(sample::waiting()));
        assert_eq!(store.waiting_at(subscription, Offset(12)).unwrap(), None);
        assert_eq!(rows.holds, vec![("key".to_owned(), Class::Normal, sample::hold())]);
        assert_eq!(rows.paused, Some(sample::paused()));
        assert_eq!((rows.run, rows.let_go), (Some(sample::run()), vec![sample::let_go()]));
        assert_eq!(store.event(at(0)).unwrap(), Some(event(0)));
        assert_eq!(store.event(at(1)).unwrap(), None);
        let sequences = store.producer_sequences("producer", ProducerEpoch(9)).unwrap();
        assert_eq!(sequences, vec![(StreamId(2), Sequence(77))]);
        assert_eq!(store.claim("scope", "order:7").unwrap(), Some(sample::claim()));
        assert_eq!(store.kv("store", "a/1").unwrap(), Some(sample::kv()));
        assert_eq!(store.dead_at(subscription, at(6)).unwrap(), Some(sample::dead()));
        assert_eq!(store.unknown(subscription, None, 10).unwrap()[0].row, sample::unknown());
        assert_eq!(store.records("order:7", 10).unwrap()[0].row, sample::record());
        assert_eq!(store.catalog(CatalogKind::Topic, "orders").unwrap(), Some(b"definition".to_vec()));
        assert_eq!(store.id_blocks().unwrap(), vec![(4, sample::id_block())]);
        assert_eq!(store.find_id(4, 200).unwrap(), vec![Offset(2), Offset(3)]);
        assert_eq!(store.find_id(4, 201).unwrap(), vec![]);
    };
    check(&store);
    store.close().unwrap();
    let (store, again) = open(dir.path());
    check(&store);
    assert_eq!((again.next, again.boot.0), (Offset(1), 2));
    assert_eq!((again.incarnation, again.id_seed), (first.incarnation, first.id_seed));
    let rows = store.scan().collect::<Result<Vec<_>, _>>().unwrap();
    let own = rows.iter().filter(|row| matches!(row, ScannedRow::Own(_))).count();
    // A scheduled event has a row for each of its two names; one that ended has its fate only. Marks are the store's own.
    let (names, ended, marks) = (2, 1, 1);
    assert_eq!(rows.len() - own, every_write().len() + names - ended - marks, "a scan tells every row");
}

#[test]
fn a_deleted_row_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, &every_write());
    commit(&store, &sample::every_delete());
    let rows = store.scan().collect::<Result<Vec<_>, _>>().unwrap();
    let left = |row: &ScannedRow| {
        !matches!(
            row,
            ScannedRow::Own(_)
                | ScannedRow::Event(_)
                | ScannedRow::Sequence { .. }
                | ScannedRow::Cursor { .. }
                | ScannedRow::DeadTotals { .. }
                | ScannedRow::ScheduledTotals { .. }
                | ScannedRow::LetGo { .. }
                | ScannedRow::UnknownTotals { .. }
        )
    };
    assert_eq!(rows.iter().filter(|row| left(row)).collect::<Vec<_>>(), Vec::<&ScannedRow>::new());
}

#[test]
fn a_forgotten_subscription_leaves_records_and_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, &every_write());
    let other = SubscriptionId(4);
    let class = Class::Normal;
    let mut others = vec![
        Write::Cursor { subscription: other, class, row: sample::cursor() },
        Write::Waiting { subscription: other, offset: Offset(0), row: Some(sample::waiting()) },
        Write::Claim { scope: "scope2".into(), key: "k".to_owned(), row: Some(sample::claim()) },
        Write::Kv { store: "store2".into(), key: "k".to_owned(), row: Some(sample::kv()) },
    ];
    others.push(Write::Dead { subscription: other, position: at(6), row: sample::dead() });
    commit(&store, &others);
    for name in ["scope", "store"] {
        commit(&store, &[Write::Forget { subscription: SubscriptionId(3), name: name.into() }]);
    }
    // Whatever kind of row a subscription gets one day, its sample must be gone here.
    let rows = store.scan().collect::<Result<Vec<_>, _>>().unwrap();
    let is_its_own = |row: &&ScannedRow| {
        !matches!(row, ScannedRow::Record(_)) && format!("{row:?}").contains("subscription: SubscriptionId(3)")
    };
    assert_eq!(rows.iter().filter(is_its_own).collect::<Vec<_>>(), Vec::<&ScannedRow>::new());
    assert!(store.claim("scope", "order:7").unwrap().is_none() && store.kv("store", "a/1").unwrap().is_none());
    assert_eq!(store.subscription(SubscriptionId(3)).unwrap(), crate::SubscriptionRows::default());
    assert_eq!(store.records("order:7", 10).unwrap().len(), 1, "what was sent stays known");
    assert_eq!(store.waiting(other).count(), 1);
    assert!(store.dead_at(other, at(6)).unwrap().is_some());
    assert!(store.claim("scope2", "k").unwrap().is_some() && store.kv("store2", "k").unwrap().is_some());
}

#[test]
fn a_range_of_waiting_rows_goes_and_its_ends_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let subscription = SubscriptionId(3);
    let row = |offset| Write::Waiting { subscription, offset: Offset(offset), row: Some(sample::waiting()) };
    commit(&store, &[row(1), row(2), row(3), row(4)]);
    commit(&store, &[Write::WaitingRange { subscription, from: Offset(2), to: Offset(4) }]);
    let left: Vec<u64> = store.waiting(subscription).map(|row| row.unwrap().0.0).collect();
    assert_eq!(left, [1, 4]);
}

#[test]
fn rows_of_what_was_let_go_are_the_latest_ones_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let subscription = SubscriptionId(3);
    let write = |serial| Write::LetGo { subscription, row: bugle_core::row::LetGoRow { serial, ..sample::let_go() } };
    commit(&store, &(0..300).map(write).collect::<Vec<_>>());
    let serials: Vec<u64> = store.let_go(subscription).unwrap().iter().map(|row| row.serial).collect();
    assert_eq!(serials, (44..300).collect::<Vec<_>>());
}

#[test]
fn events_are_read_in_pages_over_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { epoch_bytes: 2_000, ..Options::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    let mut events = Vec::new();
    for _ in 0..20 {
        events.extend(append(&store, 10));
        store.upkeep().unwrap();
    }
    assert!(store.log().all().len() > 3, "too few epochs to show anything");
    for from in [0, 1, 9, 10, 57, 199, 200, 300] {
        let page = store.events(Offset(from), ALL).unwrap();
        assert_eq!(page.events, events[(from as usize).min(200)..]);
        assert_eq!(page.next, Offset(from.max(200)));
    }
    let mut read = Vec::new();
    let mut from = Offset(0);
    loop {
        let page = store.events(from, EventBounds { events_max: 7, bytes_max: 500 }).unwrap();
        assert!(page.events.len() <= 7);
        if page.events.is_empty() {
            break;
        }
        from = page.next;
        read.extend(page.events);
    }
    assert_eq!(read, events);
    let one = store.events(Offset(3), EventBounds { events_max: 9, bytes_max: 1 }).unwrap();
    assert_eq!(one.events, events[3..4], "the first event is returned whatever its size");
}

#[test]
fn whole_epochs_go_and_stay_gone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { epoch_bytes: 2_000, ..Options::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    for _ in 0..20 {
        append(&store, 10);
        store.upkeep().unwrap();
    }
    assert!(store.drop_log_below(KeepClass::DEFAULT, Offset(100)).unwrap() > 0);
    let floor = store.floor();
    assert!(floor > Offset(0) && floor <= Offset(100));
    assert_eq!(store.event(at(0)).unwrap(), None);
    assert_eq!(store.events(floor, ALL).unwrap().events.len() as u64, 200 - floor.0);
    store.drop_log_below(KeepClass::DEFAULT, Offset(u64::MAX)).unwrap();
    assert_eq!(store.log().all().len(), 1, "the last epoch is never dropped");
    drop(store);
    let (store, opened) = Store::open(dir.path(), options).unwrap();
    assert_eq!(opened.next, Offset(200));
    assert!(opened.floor >= floor);
    append(&store, 1);
    assert_eq!(store.next(), Offset(201));
}

#[test]
fn a_second_host_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    match &refused {
        OpenError::InUse { holder, .. } => assert_eq!(*holder, std::process::id().to_string()),
        other => panic!("{other}"),
    }
    drop(store);
    open(dir.path());
}

#[test]
fn the_directory_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_store, _) = open(&path);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_of_a_newer_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut batch = store.batch(64);
    let key = crate::keys::Key::of(crate::Kind::Format);
    batch.put(crate::family::Family::Meta, key.as_ref(), &crate::codec::Number(2));
    store.commit(batch, Durability::Synced).unwrap();
    drop(store);
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::FormatUnsupported { found: 2, .. }), "{refused}");
}

#[test]
fn a_follow_up_without_a_place_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut batch = store.batch(64);
    let StoredEvent { topic, event, .. } = event(0);
    batch.push(&Write::Append { topic, event });
    let refused = store.commit(batch, Durability::Synced).unwrap_err();
    assert!(matches!(refused, CommitError::Invalid(_)), "{refused}");
    assert_eq!(store.failed(), None);
    append(&store, 1);
}

#[test]
fn lists_come_in_pages_that_leave_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let subscription = SubscriptionId(3);
    let mut writes = Vec::new();
    for number in 0..25 {
        writes.push(Write::Kv { store: "s".into(), key: format!("k/{number:02}"), row: Some(sample::kv()) });
        writes.push(Write::Dead { subscription, position: at(number), row: sample::dead() });
        writes.push(Write::Catalog {
            kind: CatalogKind::Topic,
            key: format!("t{number:02}"),
            value: Some(vec![number as u8]),
        });
    }
    writes.push(Write::Kv { store: "s".into(), key: "l".into(), row: Some(sample::kv()) });
    writes.push(Write::Kv { store: "t".into(), key: "k/00".into(), row: Some(sample::kv()) });
    writes.push(Write::Dead { subscription: SubscriptionId(4), position: at(1), row: sample::dead() });
    commit(&store, &writes);
    let (mut keys, mut dead, mut topics) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4 {
        let after = keys.last().cloned();
        let page = store.kv_scan("s", "k/", after.as_deref(), 7, 1 << 20).unwrap();
        keys.extend(page.rows.into_iter().map(|(key, _)| key));
        assert_eq!(page.is_end, keys.len() == 25);
        let after = dead.last().copied();
        dead.extend(store.dead(subscription, after, 7).unwrap().into_iter().map(|entry| entry.position));
        let after = topics.last().cloned();
        let page = store.catalog_list(CatalogKind::Topic, after.as_deref(), 7).unwrap();
        topics.extend(page.into_iter().map(|(key, _)| key));
    }
    assert_eq!(keys, (0..25).map(|number| format!("k/{number:02}")).collect::<Vec<_>>());
    assert_eq!(dead, (0..25).map(at).collect::<Vec<Position>>());
    assert_eq!(topics, (0..25).map(|number| format!("t{number:02}")).collect::<Vec<_>>());
    let page = |after, limit, bytes| store.kv_scan("s", "k/", after, limit, bytes).unwrap();
    assert_eq!(page(Some("a"), 1, 1 << 20).rows[0].0, "k/00", "`after` below the prefix");
    assert_eq!((page(None, 7, 1).rows.len(), page(None, 7, 1).is_end), (1, false), "one entry whatever its size");
    assert_eq!((page(None, 25, 1 << 20).is_end, page(Some("k/24"), 1, 1).is_end), (true, true));
}

#[test]
fn records_are_found_by_key_over_subscriptions() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut writes = Vec::new();
    for (subscription, key, recipient, offset) in [
        (1, "order:7", "user:1", 0),
        (1, "order:7", "user:2", 0),
        (2, "order:7", "user:1", 1),
        (1, "order:70", "user:1", 2),
    ] {
        let row = bugle_core::row::RecordRow {
            business_key: key.to_owned(),
            recipient: recipient.to_owned(),
            ..sample::record()
        };
        writes.push(Write::Record { subscription: SubscriptionId(subscription), position: at(offset), row });
    }
    commit(&store, &writes);
    let whose = |entries: Vec<crate::RecordEntry>| {
        entries
            .into_iter()
            .map(|entry| (entry.subscription.0, entry.row.recipient, entry.position.offset.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(store.records("order:7", 10).unwrap().len(), 3);
    assert_eq!(
        whose(store.records_of(SubscriptionId(2), "order:7", None, 10).unwrap()),
        vec![(2, "user:1".to_owned(), 1)]
    );
    let one = store.records_of(SubscriptionId(1), "order:7", Some("user:2"), 10).unwrap();
    assert_eq!(whose(one), vec![(1, "user:2".to_owned(), 0)]);
    assert_eq!(store.records("order", 10).unwrap(), vec![]);
}

#[test]
fn the_disk_says_how_much_room_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let room = store.room().unwrap();
    assert!(room.free <= room.total && room.total > 0);
    assert!(!crate::Room { total: 100, free: 6 }.is_below(5) && crate::Room { total: 100, free: 4 }.is_below(5));
    assert_eq!(store.event(Position { slot: Slot(1), offset: Offset(0) }).unwrap(), None);
}

#[test]
fn the_first_failure_stops_all_commits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    append(&store, 10);
    // Without its directory RocksDB can write on, until it needs a new file.
    std::fs::rename(dir.path().join("db"), dir.path().join("gone")).unwrap();
    let large = vec![0; 4 << 20];
    let refused = (0..100).find_map(|number| {
        let mut batch = store.batch(64);
        let key = format!("{number}");
        batch.push(&Write::Catalog { kind: CatalogKind::Component, key, value: Some(large.clone()) });
        store.commit(batch, Durability::Synced).err()
    });
    assert!(matches!(refused, Some(CommitError::Failed { .. })), "{refused:?}");
    std::fs::rename(dir.path().join("gone"), dir.path().join("db")).unwrap();
    let reason = store.failed().unwrap().to_owned();
    let mut batch = store.batch(64);
    batch.push(&Write::Event(event(10)));
    match store.commit(batch, Durability::Synced) {
        Err(CommitError::Failed { reason: again }) => assert_eq!(again, reason),
        other => panic!("{other:?}"),
    }
    assert!(store.upkeep().is_err());
    assert_eq!(store.events(Offset(0), ALL).unwrap().events.len(), 10, "reads go on");
    drop(store);
    assert_eq!(open(dir.path()).1.next, Offset(10));
}

#[test]
fn admission_recovers_from_the_store() {
    use bugle_core::admission::{Facts, Recovery, WindowSize};
    use bugle_core::publish::IdState;
    use bugle_core::spec::Topic;

    let dir = tempfile::tempdir().unwrap();
    let facts = |opened: &Opened| Facts {
        slot: Slot(0),
        seed: opened.id_seed,
        boot: opened.boot,
        first_boot: opened.first_boot,
        boots: opened.boots.clone(),
        next: opened.next,
        floor: opened.floor,
        dropped_below: opened.dropped_below,
        topics: vec![Topic { id: bugle_core::ids::TopicId(8), name: "t".into() }],
        window: WindowSize { ids: 100, ..WindowSize::default() },
    };
    let recover = |store: &Store, opened: &Opened| {
        let mut recovery = Recovery::new(facts(opened));
        store.feed(&mut recovery).unwrap();
        recovery.finish()
    };
    let stored = |store: &Store, admission: &bugle_core::admission::Admission, number: u64| {
        let id = format!("id-{number}");
        let query = admission.query("t", "/orders", &id).unwrap();
        let facts = store.id_facts(query.lookups()).unwrap();
        match admission.answer(&query, "/orders", &id, &facts) {
            IdState::Stored(position) => Some(position.offset.0),
            IdState::NotInWindow => None,
        }
    };
    let (store, opened) = open(dir.path());
    let mut admission = recover(&store, &opened);
    for number in 0..500 {
        let mut writes = Vec::new();
        let event = event(number);
        admission.append(event.received, event.topic, event.event, &mut writes);
        admission.seal(event.received, &mut writes);
        commit(&store, &writes);
        admission.committed();
    }
    let check = |store: &Store, admission: &bugle_core::admission::Admission| {
        assert!((400..500).all(|number| stored(store, admission, number) == Some(number)));
        assert!((0..350).all(|number| stored(store, admission, number).is_none()));
        assert!(!store.id_blocks().unwrap().is_empty());
    };
    check(&store, &admission);
    drop(store);
    let (store, opened) = open(dir.path());
    check(&store, &recover(&store, &opened));
    // A block that lacks a chunk would forget ids in silence.
    let (block, _) = store.id_blocks().unwrap()[0];
    store.db().delete_cf(&store.family(crate::family::Family::Ids), crate::keys::id_chunk(block, 0)).unwrap();
    assert!(store.find_id(block, 1).is_err());
    let mut recovery = Recovery::new(facts(&opened));
    assert!(store.feed(&mut recovery).is_err());
}
