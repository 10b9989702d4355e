//! The bytes of one row of each kind, pinned in `golden.txt`. A difference is a format change: it needs a migration.
//!
//! The file has one line per row: family, key and value in hexadecimal. To add a kind, add its line; a new version of a value
//! takes the place of the old one, whose bytes move to the test of older versions.

use std::fmt::Write as _;

use bugle_core::event::{StoredEvent, Timing};
use bugle_core::ids::{BootId, Offset};
use bugle_core::row::{DeadRow, Fate, FateRow, RecordRow, ScheduledTotals, UnknownRow, WaitingRow};
use bugle_core::time::Timestamp;

use super::sample::every_write;
use super::{commit, open, sample};
use crate::codec::{EarlierRow, LossRow, Row, decode_event, encode_event};
use crate::family::Family;
use crate::log::family_of;
use crate::{Durability, Kind, keys};

const GOLDEN: &str = include_str!("golden.txt");
/// Rows as older hosts wrote them. To bump a version, move its line here.
const OLD: &str = include_str!("golden-old.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn the_bytes_of_every_kind_are_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, &every_write());
    let mut batch = store.batch(64);
    let loss =
        LossRow { confirmed_sequence: 1, recovered_sequence: 2, confirmed_next: Offset(3), recovered_next: Offset(4) };
    batch.put(Family::Meta, keys::loss(BootId(5)).as_ref(), &loss);
    let earlier = EarlierRow { incarnation: [7; 16], end: Offset(9) };
    batch.put(Family::Meta, keys::earlier(BootId(6)).as_ref(), &earlier);
    store.commit(batch, Durability::Synced).unwrap();
    let mut lines = Vec::new();
    for family in std::iter::once(family_of(1)).chain(Family::ALL.map(|family| family.name().to_owned())) {
        let handle = store.db().cf_handle(&family).unwrap();
        for pair in store.db().iterator_cf(&handle, rocksdb::IteratorMode::Start) {
            let (key, value) = pair.unwrap();
            // Made by chance at creation.
            let is_random = matches!(Kind::of(&key), Some(Kind::Incarnation | Kind::IdSeed));
            let value = if is_random { hex(&value[..1]) } else { hex(&value) };
            lines.push(format!("{family} {} {value}", hex(&key)));
        }
    }
    let golden: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &lines {
        assert!(golden.contains(&line.as_str()), "not as pinned:\n{line}");
    }
    assert_eq!(lines.len(), golden.len(), "a pinned row is not written any more");
}

fn old_value(kind: Kind) -> Vec<u8> {
    let code = hex(&kind.code());
    let line = OLD.lines().find(|line| line.split(' ').nth(1).is_some_and(|key| key.starts_with(&code)));
    let value = line.and_then(|line| line.split(' ').nth(2)).unwrap();
    (0..value.len()).step_by(2).map(|at| u8::from_str_radix(&value[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn rows_of_older_hosts_are_read() {
    assert_eq!(WaitingRow::decode(&old_value(Kind::Waiting)), Ok(sample::old_waiting()));
    assert_eq!(DeadRow::decode(&old_value(Kind::Dead)), Ok(sample::old_dead()));
    assert_eq!(UnknownRow::decode(&old_value(Kind::Unknown)), Ok(sample::old_unknown()));
    assert_eq!(RecordRow::decode(&old_value(Kind::Record)), Ok(sample::old_record()));
    for version in [0, 3, u8::MAX] {
        let mut later = old_value(Kind::Dead);
        later[0] = version;
        assert!(DeadRow::decode(&later).is_err(), "version {version}");
    }
}

#[test]
fn every_kind_is_pinned() {
    for kind in Kind::ALL {
        let code = hex(&kind.code());
        let is_there = GOLDEN.lines().any(|line| line.split(' ').nth(1).is_some_and(|key| key.starts_with(&code)));
        assert!(is_there, "{kind:?} has no line");
    }
}

#[test]
fn what_is_said_of_expiry_is_read_back_and_takes_no_room_where_nothing_is_said() {
    let plain = sample::scheduled(7);
    let timing = Timing { expires: Some(Timestamp(1_700_000_000_900)), ..plain.event.timing() };
    let expiring = StoredEvent { event: plain.event.timed(timing), ..plain.clone() };
    let mut bytes = Vec::new();
    encode_event(&plain, &mut bytes);
    let len = bytes.len();
    encode_event(&expiring, &mut bytes);
    assert_eq!(bytes.len(), len + 8);
    assert_eq!(decode_event(expiring.position, &bytes), Ok(expiring));
    let ended = FateRow { fate: Fate::Expired, at: Timestamp(3) };
    ended.encode(&mut bytes);
    assert_eq!(FateRow::decode(&bytes), Ok(ended));
    for expired in [0, 300] {
        let totals = ScheduledTotals { expired, ..sample::scheduled_totals() };
        totals.encode(&mut bytes);
        assert_eq!(ScheduledTotals::decode(&bytes), Ok(totals));
    }
}
