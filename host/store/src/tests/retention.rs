//! Topics of different retentions: one order of offsets, strands that are dropped apart, and the same after a restart.

use std::collections::HashMap;
use std::path::Path;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, TopicId};
use bugle_core::retention::KeepClass;
use bugle_core::step::Write;

use super::sample::{at, event};
use super::{ALL, commit};
use crate::{EventBounds, OpenError, Opened, Options, ReadError, Store};

const SHORT: u32 = 71;

fn short() -> KeepClass {
    KeepClass::new(1).unwrap()
}

fn open(dir: &Path) -> (Store, Opened) {
    let (store, opened) = Store::open(dir, Options { epoch_bytes: 3_000, ..Options::default() }).unwrap();
    store.make_epoch(short()).unwrap();
    store.set_classes(HashMap::from([(TopicId(SHORT), short())]));
    (store, opened)
}

/// Every third event is of the topic with the short retention.
fn append(store: &Store, count: u64) -> Vec<StoredEvent> {
    let first = store.next().0;
    let topic = |offset: u64, topic| if offset.is_multiple_of(3) { TopicId(SHORT) } else { topic };
    let event = |offset| {
        let stored = event(offset);
        StoredEvent { topic: topic(offset, stored.topic), ..stored }
    };
    let events: Vec<StoredEvent> = (first..first + count).map(event).collect();
    commit(store, &events.iter().cloned().map(Write::Event).collect::<Vec<_>>());
    store.upkeep().unwrap();
    events
}

fn read_all(store: &Store, events_max: usize) -> Vec<StoredEvent> {
    let (mut from, mut all) = (Offset(0), Vec::new());
    loop {
        let page = store.events(from, EventBounds { events_max, ..ALL }).unwrap();
        if page.events.is_empty() {
            return all;
        }
        from = page.next;
        all.extend(page.events);
    }
}

#[test]
fn events_of_two_retentions_are_read_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let events: Vec<_> = (0..20).flat_map(|_| append(&store, 10)).collect();
    assert!(store.log().all().iter().filter(|(epoch, _)| epoch.class() == Some(short())).count() > 2);
    for page in [1, 7, 1_000] {
        assert_eq!(read_all(&store, page), events, "pages of {page}");
    }
    for event in &events {
        assert_eq!(store.event(event.position).unwrap().as_ref(), Some(event));
    }
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!((opened.next, opened.floor, opened.dropped_below), (Offset(200), Offset(0), Offset(0)));
    assert_eq!(read_all(&store, 7), events);
}

#[test]
fn what_one_retention_lets_go_of_is_gone_and_the_other_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let events: Vec<_> = (0..20).flat_map(|_| append(&store, 10)).collect();
    assert!(store.drop_log_below(short(), Offset(100)).unwrap() > 0);
    let (floor, dropped) = (store.floor(), store.floor_of(short()).unwrap());
    assert_eq!((floor, store.floor_of(KeepClass::DEFAULT)), (Offset(0), Some(Offset(0))));
    assert!(dropped > Offset(0) && dropped <= Offset(100) && store.dropped_below() == dropped);
    let is_kept = |event: &&StoredEvent| event.topic != TopicId(SHORT) || event.position.offset >= dropped;
    let kept: Vec<StoredEvent> = events.iter().filter(is_kept).cloned().collect();
    let check = |store: &Store| {
        assert_eq!(read_all(store, 7), kept);
        assert_eq!(store.event(at(0)).unwrap(), None);
        assert_eq!(store.event(at(1)).unwrap().as_ref(), Some(&events[1]));
    };
    check(&store);
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!((opened.floor, opened.dropped_below), (Offset(0), dropped));
    check(&store);
}

#[test]
fn an_epoch_is_ended_by_hand_and_the_empty_one_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let first = append(&store, 6);
    let count = |store: &Store| store.epochs().iter().filter(|epoch| epoch.class == short()).count();
    assert!(!store.begin_epoch(short()).unwrap(), "the next one was not made ahead");
    store.make_epoch(short()).unwrap();
    assert!(store.begin_epoch(short()).unwrap());
    assert!(!store.begin_epoch(short()).unwrap(), "an empty one is not ended");
    assert_eq!(count(&store), 2);
    assert_eq!(store.drop_log_below(short(), Offset(6)).unwrap(), 1);
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!((opened.next, count(&store), store.floor_of(short())), (Offset(6), 1, Some(Offset(6))));
    let more = append(&store, 6);
    let kept: Vec<_> = first.into_iter().filter(|event| event.topic != TopicId(SHORT)).chain(more).collect();
    assert_eq!(read_all(&store, 5), kept);
}

#[test]
fn a_missing_event_is_noticed_above_what_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for _ in 0..10 {
        append(&store, 10);
    }
    store.drop_log_below(short(), Offset(50)).unwrap();
    let lost = Offset(store.dropped_below().0 + 4);
    let epoch = store.log().at(lost).into_iter().find(|epoch| {
        let family = store.db().cf_handle(&epoch.family()).unwrap();
        store.db().get_cf(&family, crate::keys::event(lost)).unwrap().is_some()
    });
    let family = store.db().cf_handle(&epoch.unwrap().family()).unwrap();
    store.db().delete_cf(&family, crate::keys::event(lost)).unwrap();
    let told = store.events(Offset(0), ALL).unwrap_err();
    assert!(matches!(told, ReadError::Missing { missing } if missing == lost), "{told}");
    assert!(matches!(store.event(at(lost.0)), Err(ReadError::Missing { .. })));
}

#[test]
fn a_retention_of_a_newer_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut batch = store.batch(64);
    let key = crate::keys::epoch(9 << 24 | 1);
    batch.put(crate::family::Family::Meta, key.as_ref(), &crate::codec::EpochRow { first: Offset(0) });
    store.commit(batch, crate::Durability::Synced).unwrap();
    drop(store);
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Row { row: "epoch", .. }), "{refused}");
}

#[test]
fn a_drop_cut_off_between_its_two_steps_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let events: Vec<_> = (0..20).flat_map(|_| append(&store, 10)).collect();
    let mut of_class = store.epochs().into_iter().filter(|epoch| epoch.class == short());
    let (cut, next) = (of_class.next().unwrap(), of_class.next().unwrap());
    let family = crate::log::family_of(cut.number);
    // The row is gone, the family is not.
    let mut batch = store.batch(64);
    batch.delete(crate::family::Family::Meta, crate::keys::epoch(cut.number).as_ref());
    store.commit(batch, crate::Durability::Synced).unwrap();
    assert!(store.db().cf_handle(&family).is_some());
    drop(store);
    let (store, opened) = open(dir.path());
    assert!(store.db().cf_handle(&family).is_none(), "the rest of it goes too");
    assert_eq!((opened.dropped_below, store.floor_of(short())), (next.first, Some(next.first)));
    let is_kept = |event: &StoredEvent| event.topic != TopicId(SHORT) || event.position.offset >= next.first;
    assert_eq!(read_all(&store, 7), events.into_iter().filter(is_kept).collect::<Vec<_>>());
}
