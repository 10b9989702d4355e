//! Send records: what finds them, what is late, and what is removed with a state that is old.

use bugle_core::ids::{Attempt, SubscriptionId};
use bugle_core::row::{ClaimName, Follow, LateEntry, RecordRow, RecordStatus};
use bugle_core::step::Write;
use bugle_core::time::{Millis, Timestamp};

use super::sample::at;
use super::{commit, open};
use crate::RecordLookup;
use crate::store::Store;

fn record(offset: u64, status: RecordStatus, reference: &str, time: u64) -> Write {
    let row = RecordRow {
        business_key: "order:7".to_owned(),
        recipient: "user:42".to_owned(),
        status,
        provider: "sms.example".to_owned(),
        provider_reference: reference.to_owned(),
        detail: String::new(),
        attempt: Attempt(1),
        at: Timestamp(time),
        event_id: format!("e-{offset}"),
        follow: Follow::default(),
    };
    Write::Record { subscription: SubscriptionId(3), position: at(offset), row }
}

fn found(store: &Store, lookup: RecordLookup<'_>) -> Vec<(u64, RecordStatus)> {
    let found = store.find_records(lookup, 10).unwrap();
    found.into_iter().map(|entry| (entry.position.offset.0, entry.row.status)).collect()
}

#[test]
fn a_record_is_found_by_everything_it_is_known_for_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, &[record(1, RecordStatus::Attempted, "m-1", 10), record(2, RecordStatus::Sent, "m-2", 11)]);
    commit(&store, &[record(1, RecordStatus::Sent, "m-9", 12)]);
    let both = vec![(1, RecordStatus::Sent), (2, RecordStatus::Sent)];
    assert_eq!(found(&store, RecordLookup::BusinessKey("order:7")), both);
    assert_eq!(found(&store, RecordLookup::Recipient("user:42")), both);
    assert_eq!(found(&store, RecordLookup::Recipient("user:4")), []);
    assert_eq!(found(&store, RecordLookup::Event("e-2")), [(2, RecordStatus::Sent)]);
    assert_eq!(found(&store, RecordLookup::Reference("m-9")), [(1, RecordStatus::Sent)]);
    assert_eq!(found(&store, RecordLookup::Reference("m-1")), [], "it has another one now");
}

#[test]
fn late_are_those_that_still_wait_for_something_since_long_ago() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let waits = [record(1, RecordStatus::Attempted, "", 10), record(2, RecordStatus::Unknown, "", 20)];
    commit(&store, &waits);
    commit(&store, &[record(3, RecordStatus::Manual, "", 30), record(4, RecordStatus::Sent, "", 5)]);
    let late = |before, limit| {
        let late = store.late_records(Timestamp(before), None, limit).unwrap();
        late.found.into_iter().map(|entry| entry.position.offset.0).collect::<Vec<_>>()
    };
    assert_eq!(late(30, 10), [1, 2], "oldest first, what is done is not among them");
    assert_eq!(late(31, 2), [1, 2]);
    commit(&store, &[record(1, RecordStatus::Dead, "", 25), record(2, RecordStatus::Attempted, "", 26)]);
    assert_eq!(late(26, 10), Vec::<u64>::new());
    assert_eq!(late(100, 10), [2, 3]);
}

#[test]
fn late_ones_are_found_behind_those_of_others_and_a_look_that_ends_early_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for offset in 0..5 {
        commit(&store, &[record(offset, RecordStatus::Attempted, "", 10 + offset)]);
        commit(&store, &[record(offset, RecordStatus::Sent, "", 20 + offset)]);
    }
    let Write::Record { row, position, .. } = record(7, RecordStatus::Attempted, "", 30) else { unreachable!() };
    commit(&store, &[record(6, RecordStatus::Attempted, "", 29)]);
    commit(&store, &[Write::Record { subscription: SubscriptionId(4), position, row }]);
    let late = |subscription, limit, passed_max| {
        let late = store.late_among(Timestamp(100), subscription, limit, passed_max).unwrap();
        (late.found.iter().map(|entry| entry.position.offset.0).collect::<Vec<_>>(), late.is_cut)
    };
    assert_eq!(late(None, 10, 5), (vec![6, 7], false));
    assert_eq!(late(None, 10, 4), (vec![], true), "none was found, and that is not all");
    assert_eq!(late(Some(SubscriptionId(4)), 1, 6), (vec![7], false), "the older one of another does not hide it");
}

#[test]
fn old_states_are_removed_in_steps_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, &[record(1, RecordStatus::Attempted, "m-1", 10), record(2, RecordStatus::Sent, "m-2", 11)]);
    commit(&store, &[record(1, RecordStatus::Sent, "m-9", 500)]);
    let forget = |now| {
        let mut steps = 0;
        loop {
            let old = store.old_records(Timestamp(now), Millis(100), 1).unwrap();
            if old.is_empty() {
                return steps;
            }
            commit(&store, &old);
            steps += 1;
        }
    };
    assert_eq!(forget(110), 0, "nothing is older than that");
    assert_eq!(forget(200), 1, "one of each kind in a step");
    assert_eq!(found(&store, RecordLookup::Recipient("user:42")), [(1, RecordStatus::Sent)]);
    assert_eq!(found(&store, RecordLookup::Reference("m-9")), [(1, RecordStatus::Sent)]);
    assert_eq!(forget(700), 1);
    let left = store.scan().map(Result::unwrap).filter(|row| {
        let is_index = |kind: &crate::Kind| kind.code()[0] == b'r' && *kind != crate::Kind::Run;
        matches!(row, crate::ScannedRow::Record(_)) || matches!(row, crate::ScannedRow::Own(kind) if is_index(kind))
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn what_should_have_been_followed_is_found_by_its_time_and_only_as_long_as_it_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let watched = |offset: u64, late: u64| {
        let Write::Record { subscription, position, row } = record(offset, RecordStatus::Sent, "m-1", 10) else {
            unreachable!()
        };
        let claim = (offset > 1).then(|| ClaimName { scope: "sms".into(), key: format!("k-{offset}") });
        let row = RecordRow { follow: Follow::By { at: Timestamp(late), claim }, ..row };
        Write::Record { subscription, position, row }
    };
    commit(&store, &[watched(1, 300), watched(2, 100), watched(3, 200)]);
    let found = |now: u64, after: Option<&LateEntry>| store.late_entries(Timestamp(now), after, 10).unwrap();
    let offsets = |now: u64| {
        let found = found(now, None).into_iter();
        found.map(|(entry, row)| (entry.position.offset.0, row.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(offsets(99), []);
    assert_eq!(offsets(250), [(2, true), (3, true)]);
    let first = store.late_entries(Timestamp(300), None, 1).unwrap().remove(0);
    let Follow::By { claim, .. } = first.1.unwrap().follow else { panic!("as it was written") };
    assert_eq!(claim.unwrap().key, "k-2");
    assert_eq!(found(300, Some(&first.0)).len(), 2, "those after it");

    // One moves on, and the entry of what it was finds nothing any more.
    commit(&store, &[record(2, RecordStatus::Delivered, "m-1", 20)]);
    assert_eq!(offsets(250), [(2, false), (3, true)]);
    commit(&store, &[Write::LateGone(first.0)]);
    assert_eq!(offsets(250), [(3, true)]);
}
