//! The cursor against a plain set of settled offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;

use super::Cursor;
use crate::ids::{Offset, SubscriptionId};
use crate::row::{CHUNK_OFFSETS, CursorChunk, CursorRow};
use crate::step::Write;

const SUBSCRIPTION: SubscriptionId = SubscriptionId(1);

fn cursor(floor: u64) -> Cursor {
    Cursor::recover(CursorRow { floor: Offset(floor) }, Vec::new())
}

/// What the writes so far leave on disk.
#[derive(Default)]
struct Disk {
    floor: u64,
    chunks: BTreeMap<u64, CursorChunk>,
}

impl Disk {
    fn seal(&mut self, cursor: &mut Cursor) -> usize {
        let mut writes = Vec::new();
        cursor.seal(SUBSCRIPTION, &mut writes);
        let rows = writes.len();
        for write in writes {
            match write {
                Write::Cursor { row, .. } => self.floor = row.floor.0,
                Write::Chunk { chunk, row: Some(row), .. } => drop(self.chunks.insert(chunk, row)),
                Write::Chunk { chunk, row: None, .. } => {
                    assert!(self.chunks.remove(&chunk).is_some(), "deleted chunk {chunk}, which was never stored");
                }
                other => panic!("a cursor wrote {other:?}"),
            }
        }
        rows
    }

    fn recover(&self) -> Cursor {
        let chunks = self.chunks.iter().map(|(number, chunk)| (*number, chunk.clone())).collect();
        Cursor::recover(CursorRow { floor: Offset(self.floor) }, chunks)
    }
}

#[test]
fn acks_in_order_write_one_floor_row_and_no_chunk() {
    let (mut cursor, mut disk) = (cursor(0), Disk::default());
    for offset in 0..10_000 {
        assert!(cursor.settle(Offset(offset)));
    }
    assert_eq!(disk.seal(&mut cursor), 1);
    assert_eq!((disk.floor, disk.chunks.len()), (10_000, 0));
    assert_eq!(disk.seal(&mut cursor), 0, "nothing changed, so nothing is written");
}

#[test]
fn a_hole_keeps_the_floor_and_its_chunk_until_it_is_filled() {
    let (mut cursor, mut disk) = (cursor(0), Disk::default());
    for offset in 1..3 * CHUNK_OFFSETS {
        cursor.settle(Offset(offset));
    }
    assert_eq!(disk.seal(&mut cursor), 3, "one row per chunk, however many acks");
    assert_eq!((cursor.floor(), disk.chunks.len()), (Offset(0), 3));
    cursor.settle(Offset(0));
    disk.seal(&mut cursor);
    assert_eq!((disk.floor, disk.chunks.len()), (3 * CHUNK_OFFSETS, 0), "chunks below the floor are deleted");
}

#[test]
fn settling_twice_is_told_and_changes_nothing() {
    let mut cursor = cursor(5);
    assert!(!cursor.settle(Offset(4)), "below the floor");
    assert!(cursor.settle(Offset(9)));
    assert!(!cursor.settle(Offset(9)));
    assert_eq!(cursor.floor(), Offset(5));
}

#[test]
fn skipped_offsets_alone_write_a_floor_only_now_and_then() {
    let (mut cursor, mut disk) = (cursor(0), Disk::default());
    cursor.skip(Offset(0), Offset(100));
    assert_eq!((disk.seal(&mut cursor), cursor.floor()), (0, Offset(100)));
    cursor.skip(Offset(100), Offset(CHUNK_OFFSETS));
    assert_eq!((disk.seal(&mut cursor), disk.floor), (1, CHUNK_OFFSETS));
}

#[test]
fn a_settled_offset_that_a_skip_joins_to_the_floor_is_saved() {
    let (mut cursor, mut disk) = (cursor(0), Disk::default());
    cursor.settle(Offset(5));
    cursor.skip(Offset(0), Offset(5));
    disk.seal(&mut cursor);
    assert_eq!(disk.recover().floor(), Offset(6));
}

#[test]
fn skipped_offsets_stay_skipped_when_told_to_keep_them() {
    let (mut cursor, mut disk) = (cursor(0), Disk::default());
    cursor.skip(Offset(10), Offset(20));
    disk.seal(&mut cursor);
    assert!(!disk.recover().is_settled(Offset(15)), "a later reader would skip it again");
    cursor.keep_skipped();
    disk.seal(&mut cursor);
    assert!(disk.recover().is_settled(Offset(15)));
}

#[derive(Clone, Debug)]
enum Op {
    Settle(u64),
    Skip(u64, u64),
    Seal,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let near = 0..300u64;
    let far = 0..4 * CHUNK_OFFSETS;
    prop_oneof![
        6 => near.prop_map(Op::Settle),
        4 => far.clone().prop_map(Op::Settle),
        2 => (0..300u64, 0..80u64).prop_map(|(from, len)| Op::Skip(from, from + len)),
        2 => (far, 0..2 * CHUNK_OFFSETS).prop_map(|(from, len)| Op::Skip(from, from + len)),
        2 => Just(Op::Seal),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_cursor_is_a_set_that_survives_a_restart(ops in prop::collection::vec(op(), 1..40)) {
        let (mut cursor, mut disk) = (cursor(0), Disk::default());
        let (mut settled, mut skipped) = (BTreeSet::new(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Settle(offset) => {
                    let is_new = !settled.contains(&offset) && !skipped.contains(&offset);
                    prop_assert_eq!(cursor.settle(Offset(offset)), is_new);
                    if is_new {
                        settled.insert(offset);
                    }
                }
                Op::Skip(from, to) => {
                    cursor.skip(Offset(from), Offset(to));
                    skipped.extend(from..to);
                }
                Op::Seal => {
                    disk.seal(&mut cursor);
                }
                Op::Restart => {
                    disk.seal(&mut cursor);
                    cursor = disk.recover();
                    // What was skipped may come back, and is skipped again by whoever reads the log again.
                    prop_assert!(settled.iter().all(|offset| cursor.is_settled(Offset(*offset))));
                    let known = settled.union(&skipped).copied().collect::<BTreeSet<u64>>();
                    skipped = known.iter().copied().filter(|offset| cursor.is_settled(Offset(*offset))).collect();
                }
            }
            let floor = (0..).find(|offset| !settled.contains(offset) && !skipped.contains(offset)).unwrap();
            prop_assert_eq!(cursor.floor(), Offset(floor));
        }
        for offset in 0..7 * CHUNK_OFFSETS {
            let expected = settled.contains(&offset) || skipped.contains(&offset);
            prop_assert_eq!(cursor.is_settled(Offset(offset)), expected, "offset {}", offset);
        }
    }
}

#[test]
fn letting_go_settles_a_run_and_is_found_after_a_restart() {
    let (mut cursor, mut disk) = (cursor(10), Disk::default());
    disk.seal(&mut cursor);
    cursor.settle(Offset(20));
    assert_eq!(cursor.let_go(Offset(15), Offset(5_000)), 4_984);
    assert_eq!((cursor.floor(), cursor.settled_above_floor()), (Offset(10), 4_985));
    assert_eq!(cursor.behind_unsettled(1, Offset(9_000)), Offset(11));
    assert_eq!(cursor.behind_unsettled(6, Offset(9_000)), Offset(5_001));
    assert_eq!(cursor.behind_unsettled(9_999, Offset(9_000)), Offset(9_000));
    disk.floor = 10;
    disk.seal(&mut cursor);
    let again = disk.recover();
    assert!((15..5_000).all(|offset| again.is_settled(Offset(offset))) && !again.is_settled(Offset(14)));
    assert_eq!(cursor.let_go(Offset(10), Offset(15)), 5);
    assert_eq!((cursor.floor(), cursor.let_go(Offset(5_000), Offset(5_000))), (Offset(5_000), 0));
}

#[test]
fn starting_over_forgets_what_was_settled_on_disk_too() {
    let (mut cursor, mut disk) = (cursor(0), Disk::default());
    cursor.let_go(Offset(0), Offset(9_000));
    cursor.settle(Offset(9_500));
    disk.seal(&mut cursor);
    cursor.start_over(Offset(4_000));
    cursor.settle(Offset(9_600));
    disk.seal(&mut cursor);
    let again = disk.recover();
    for cursor in [&cursor, &again] {
        assert_eq!(cursor.floor(), Offset(4_000));
        assert!(!cursor.is_settled(Offset(9_500)) && cursor.is_settled(Offset(9_600)));
        assert_eq!(cursor.settled_above_floor(), 1);
    }
}
