//! Lanes: one head per key, slots used again, overflow remembered.

use std::format;

use super::{Joined, LaneState, Lanes, Overflow};
use crate::event::Class;
use crate::ids::Offset;

fn settle(lanes: &mut Lanes, key: &str, seal: u64) {
    let id = lanes.find(key, Class::Normal).unwrap();
    lanes.pop(id);
    let lane = lanes.get_mut(id);
    lane.settled_in = seal;
    lane.state = LaneState::Idle;
    lanes.end(id);
}

#[test]
fn a_key_has_one_lane_per_class() {
    let mut lanes = Lanes::new(1, 8);
    let normal = lanes.open("a", Class::Normal);
    assert_eq!(lanes.open("a", Class::Normal), normal);
    assert_ne!(lanes.open("a", Class::Critical), normal);
    assert_ne!(lanes.open("b", Class::Normal), normal);
    assert_eq!(lanes.find("c", Class::Normal), None);
}

#[test]
fn the_first_is_head_and_the_next_are_behind() {
    let mut lanes = Lanes::new(1, 2);
    let id = lanes.open("a", Class::Normal);
    assert_eq!(lanes.join(id, Offset(1), 0), Joined::Head);
    lanes.get_mut(id).state = LaneState::Ready;
    assert_eq!(lanes.join(id, Offset(2), 0), Joined::Behind);
    assert_eq!(lanes.join(id, Offset(3), 7), Joined::Overflowed);
    assert_eq!(lanes.join(id, Offset(4), 8), Joined::Overflowed);
    assert_eq!(lanes.get(id).overflow, Some(Overflow { from: Offset(3), missed_by: 7 }));
    assert_eq!(lanes.queued(), 2, "what overflowed takes no memory");
}

#[test]
fn a_lane_with_room_still_overflows_until_it_was_refilled() {
    let mut lanes = Lanes::new(1, 2);
    let id = lanes.open("a", Class::Normal);
    for offset in 1..=3 {
        lanes.join(id, Offset(offset), 0);
    }
    lanes.pop(id);
    assert!(lanes.is_hungry(id));
    assert_eq!(lanes.join(id, Offset(4), 0), Joined::Overflowed, "it would overtake 3");
    assert_eq!(lanes.rejoin(id, Offset(3)), Some(Joined::Head));
    assert_eq!(lanes.rejoin(id, Offset(4)), Some(Joined::Overflowed));
    lanes.pop(id);
    lanes.rejoin(id, Offset(4));
    lanes.clear_overflows(1);
    assert_eq!((lanes.get(id).overflow, lanes.overflowed().len()), (None, 0));
}

#[test]
fn an_ended_lane_is_kept_until_its_settlement_is_durable_and_then_used_again() {
    let mut lanes = Lanes::new(1, 8);
    for round in 1..100u64 {
        let key = format!("key-{round}");
        let id = lanes.open(&key, Class::Normal);
        lanes.join(id, Offset(round), 0);
        settle(&mut lanes, &key, round);
        lanes.forget_ended(round - 1);
        assert_eq!(lanes.find(&key, Class::Normal), Some(id), "kept in round {round}");
    }
    lanes.forget_ended(99);
    assert_eq!(lanes.iter().count(), 0);
    assert!(lanes.slots.len() <= 2, "{} slots for 99 keys, two at a time", lanes.slots.len());
}

#[test]
fn a_lane_that_moved_on_is_not_forgotten() {
    let mut lanes = Lanes::new(1, 8);
    let id = lanes.open("a", Class::Normal);
    lanes.join(id, Offset(1), 0);
    settle(&mut lanes, "a", 1);
    lanes.join(id, Offset(2), 0);
    lanes.forget_ended(5);
    assert_eq!(lanes.find("a", Class::Normal), Some(id));
    settle(&mut lanes, "a", 6);
    lanes.forget_ended(6);
    assert_eq!(lanes.find("a", Class::Normal), None);
}
