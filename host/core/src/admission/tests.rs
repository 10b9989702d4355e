//! Tests of admission: single cases here, random histories against a naive model in [`model`].
//!
//! A [`Driver`] stands in for the host: it keeps what was committed, looks up what a probe asks for, and can crash.

mod driver;
mod model;
mod order;
mod order_model;
mod schedule;

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::code::Code;
use crate::ids::{ProducerEpoch, Sequence};
use crate::publish::{BatchOutcome, IdState, Try};
use driver::{Driver, event};

fn refused_code(outcome: &BatchOutcome) -> Option<Code> {
    match outcome {
        BatchOutcome::Refused(refusal) => Some(refusal.code),
        BatchOutcome::Stored { .. } => None,
    }
}

/// First offset, number stored, duplicates and refusals.
type Parts = (Option<u64>, u32, Vec<(u32, u64)>, Vec<(u32, Code)>);

/// The parts of a batch that was not refused as a whole.
fn parts(outcome: &BatchOutcome) -> Parts {
    match outcome {
        BatchOutcome::Stored { first, stored, duplicates, refused } => (
            first.map(|position| position.offset.0),
            *stored,
            duplicates.iter().map(|(index, position)| (*index, position.offset.0)).collect(),
            refused.iter().map(|(index, refusal)| (*index, refusal.code)).collect(),
        ),
        BatchOutcome::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn driver() -> Driver {
    let mut driver = Driver::new(WindowSize { ids: 100, ..WindowSize::default() });
    driver.open(1, "p", None);
    driver
}

#[test]
fn a_sequence_is_accepted_only_after_the_last_one() {
    let mut driver = driver();
    let stored = driver.publish(1, 1, 1, Try::First, vec![event("a", None, "x")]);
    assert_eq!(parts(&stored), (Some(0), 1, vec![], vec![]));
    assert_eq!(refused_code(&driver.publish(1, 1, 3, Try::First, vec![event("b", None, "x")])), Some(Code::Gap));
    assert_eq!(refused_code(&driver.publish(1, 2, 2, Try::First, vec![event("b", None, "x")])), Some(Code::Gap));
    let stored = driver.publish(1, 1, 2, Try::First, vec![event("b", None, "x")]);
    assert_eq!(parts(&stored), (Some(1), 1, vec![], vec![]));
}

#[test]
fn a_repeated_batch_gets_its_result_again_and_after_a_restart_its_positions() {
    let mut driver = driver();
    let events = || vec![event("a", None, "x"), event("b", None, "x")];
    let first = driver.publish(1, 1, 1, Try::First, events());
    assert_eq!(driver.publish(1, 1, 1, Try::Retry, events()), first);
    driver.commit();
    let epoch = driver.epoch(1);
    driver.restart();
    assert_eq!(driver.open(2, "p", Some(epoch)).streams, vec![(StreamId(1), Sequence(1))]);
    let again = driver.publish(2, 1, 1, Try::Retry, events());
    assert_eq!(parts(&again), (None, 0, vec![(0, 0), (1, 1)], vec![]));
}

#[test]
fn an_uncommitted_group_leaves_no_trace_after_a_crash() {
    let mut driver = driver();
    driver.commit();
    let epoch = driver.epoch(1);
    driver.publish(1, 1, 1, Try::First, vec![event("a", None, "x")]);
    driver.restart();
    assert_eq!(driver.open(1, "p", Some(epoch)).streams, vec![]);
    let stored = driver.publish(1, 1, 1, Try::Retry, vec![event("a", None, "x")]);
    assert_eq!(parts(&stored), (Some(0), 1, vec![], vec![]));
}

#[test]
fn an_id_counts_once_within_a_batch_a_group_and_the_window() {
    let mut driver = driver();
    let twice = driver.publish(1, 1, 1, Try::First, vec![event("a", None, "x"), event("a", None, "x")]);
    assert_eq!(parts(&twice), (Some(0), 1, vec![(1, 0)], vec![]));
    let again = driver.publish(1, 1, 2, Try::First, vec![event("a", None, "x"), event("a", None, "y")]);
    assert_eq!(parts(&again), (None, 0, vec![(0, 0)], vec![(1, Code::IdReused)]));
    driver.commit();
    let later = driver.publish(1, 1, 3, Try::First, vec![event("a", None, "x"), event("a", None, "y")]);
    assert_eq!(parts(&later), (None, 0, vec![(0, 0)], vec![(1, Code::IdReused)]));
    let other_topic = driver.publish_to("u", 1, 1, 4, Try::First, vec![event("a", None, "y")]);
    assert_eq!(parts(&other_topic), (Some(1), 1, vec![], vec![]));
}

#[test]
fn a_key_waits_for_its_refused_event() {
    let mut driver = driver();
    driver.publish(1, 1, 1, Try::First, vec![event("a", None, "x")]);
    let refused = driver.publish(
        1,
        1,
        2,
        Try::First,
        vec![event("a", Some("k"), "other"), event("b", Some("k"), "x"), event("c", Some("l"), "x")],
    );
    assert_eq!(parts(&refused), (Some(1), 1, vec![], vec![(0, Code::IdReused), (1, Code::BehindRefused)]));
    let behind = driver.publish(1, 1, 3, Try::First, vec![event("b", Some("k"), "x"), event("d", None, "x")]);
    assert_eq!(parts(&behind), (Some(2), 1, vec![], vec![(0, Code::BehindRefused)]));
    driver.abandon("t", 1, 1, "a");
    let goes_on = driver.publish(1, 1, 4, Try::First, vec![event("b", Some("k"), "x")]);
    assert_eq!(parts(&goes_on), (Some(3), 1, vec![], vec![]));
}

#[test]
fn a_whole_batch_is_refused_without_using_its_sequence() {
    let mut driver = driver();
    assert_eq!(refused_code(&driver.publish(1, 1, 1, Try::First, vec![])), Some(Code::InvalidBatch));
    let many: Vec<_> = (0..=BATCH_EVENTS_MAX).map(|id| event(&id.to_string(), None, "x")).collect();
    assert_eq!(refused_code(&driver.publish(1, 1, 1, Try::First, many)), Some(Code::InvalidBatch));
    let unknown = driver.publish_to("nowhere", 1, 1, 1, Try::First, vec![event("a", None, "x")]);
    assert_eq!(refused_code(&unknown), Some(Code::UnknownTopic));
    let nobody = driver.publish(9, 1, 1, Try::First, vec![event("a", None, "x")]);
    assert_eq!(refused_code(&nobody), Some(Code::UnexpectedFrame));
    for stream in 1..=256 {
        driver.publish(1, stream, 1, Try::First, vec![event(&stream.to_string(), None, "x")]);
    }
    assert_eq!(refused_code(&driver.publish(1, 257, 1, Try::First, vec![event("a", None, "x")])), Some(Code::Quota));
    assert_eq!(parts(&driver.publish(1, 1, 2, Try::First, vec![event("a", None, "x")])).1, 1);
}

#[test]
fn only_a_retry_that_may_have_been_forgotten_is_too_old() {
    let mut driver = driver();
    let mut sequence = 0;
    let mut next = |driver: &mut Driver, attempt, made| {
        sequence += 1;
        driver.now.0 += 1_000;
        let stored = driver.publish(1, 1, sequence, attempt, vec![made]);
        driver.commit();
        parts(&stored)
    };
    // Nothing was forgotten yet: any retry is taken.
    assert_eq!(next(&mut driver, Try::Retry, event("early", None, "x")).1, 1);
    for id in 0..300 {
        next(&mut driver, Try::First, event(&id.to_string(), None, "x"));
    }
    // Without a time, the life's start counts, and it began before what was forgotten.
    assert_eq!(next(&mut driver, Try::Retry, event("opaque", None, "x")).3, vec![(0, Code::TooOld)]);
    assert_eq!(next(&mut driver, Try::First, event("opaque", None, "x")).1, 1);
    // An id that tells its time is taken if nothing of its time was forgotten.
    let fresh = std::format!("{:08x}-{:04x}-7000-8000-000000000000", driver.now.0 >> 16, driver.now.0 & 0xffff);
    assert_eq!(next(&mut driver, Try::Retry, event(&fresh, None, "x")).1, 1);
    let old = "00000000-0000-7000-8000-000000000000";
    assert_eq!(next(&mut driver, Try::Retry, event(old, None, "x")).3, vec![(0, Code::TooOld)]);
    // A life that began after what was forgotten has nothing to forget.
    driver.open(2, "young", None);
    let young = driver.publish(2, 1, 1, Try::Retry, vec![event("opaque-2", None, "x")]);
    assert_eq!(parts(&young).1, 1);
}

#[test]
fn ids_go_with_time_and_with_the_log() {
    let mut driver = driver();
    for id in 0..50 {
        driver.publish(1, 1, id + 1, Try::First, vec![event(&id.to_string(), None, "x")]);
        driver.commit();
    }
    assert_eq!(driver.query("0"), IdState::Stored(Position { slot: Slot(0), offset: Offset(0) }));
    driver.now.0 += 25 * 3600 * 1000;
    driver.commit();
    assert_eq!(driver.query("0"), IdState::NotInWindow);
    assert_eq!(driver.query("49"), IdState::Stored(Position { slot: Slot(0), offset: Offset(49) }));
    driver.admission.trimmed(Offset(50), driver.now);
    assert_eq!(driver.query("49"), IdState::NotInWindow);
}

#[test]
fn ids_below_the_floor_of_the_log_stay_forgotten_after_a_restart() {
    let mut driver = driver();
    for id in 0..80 {
        driver.now.0 += 60_000;
        driver.publish(1, 1, id + 1, Try::First, vec![event(&id.to_string(), None, "x")]);
        driver.commit();
    }
    let epoch = driver.epoch(1);
    driver.trim(30);
    driver.restart();
    driver.open(1, "p", Some(epoch));
    assert_eq!(driver.query("29"), IdState::NotInWindow);
    assert_eq!(driver.query("30"), IdState::Stored(Position { slot: Slot(0), offset: Offset(30) }));
    let retry = driver.publish(1, 1, 81, Try::Retry, vec![event("29", None, "x")]);
    assert_eq!(parts(&retry).3, vec![(0, Code::TooOld)]);
}

#[test]
fn epochs_are_never_given_twice() {
    let mut driver = driver();
    let mut seen = vec![driver.epoch(1)];
    for _ in 0..3 {
        driver.restart();
        for _ in 0..3 {
            let opened = driver.open(1, "p", None);
            assert!(!seen.contains(&opened.epoch));
            seen.push(opened.epoch);
        }
    }
    let never_given = ProducerEpoch(seen[seen.len() - 1].0 + 1);
    assert_ne!(driver.open(1, "p", Some(never_given)).epoch, ProducerEpoch(0));
    assert_ne!(driver.open(1, "p", Some(ProducerEpoch(u64::MAX))).epoch, ProducerEpoch(u64::MAX));
    assert_ne!(driver.open(1, "p", Some(ProducerEpoch(0))).epoch, ProducerEpoch(0));
}

#[test]
fn a_restored_store_resumes_no_life_of_before_and_knows_its_ids() {
    let mut driver = driver();
    driver.publish(1, 1, 1, Try::First, vec![event("a", None, "x")]);
    driver.commit();
    let before = driver.epoch(1);
    driver.restore();
    let opened = driver.open(1, "p", Some(before));
    assert!(opened.epoch != before && opened.streams.is_empty(), "{opened:?}");
    // In doubt, the batch comes again under a new number, with an event that the backup has and one that it lacks.
    let again = driver.publish(1, 1, 1, Try::Retry, vec![event("a", None, "x"), event("b", None, "x")]);
    assert_eq!(parts(&again), (Some(1), 1, vec![(0, 0)], vec![]));
    driver.commit();
    // Its own lives are resumed as ever.
    let epoch = driver.epoch(1);
    assert_eq!(driver.open(2, "p", Some(epoch)).streams, vec![(StreamId(1), Sequence(1))]);
}

#[test]
fn a_life_that_left_memory_comes_back_from_its_rows() {
    let mut driver = driver();
    driver.publish(1, 1, 1, Try::First, vec![event("a", None, "x")]);
    driver.commit();
    let epoch = driver.epoch(1);
    driver.admission.close(SessionId(1));
    for session in 2..2_000 {
        driver.open(session, "many", None);
        driver.admission.close(SessionId(session));
    }
    assert_eq!(driver.open(1, "p", Some(epoch)).streams, vec![(StreamId(1), Sequence(1))]);
    let again = driver.publish(1, 1, 1, Try::Retry, vec![event("a", None, "x")]);
    assert_eq!(parts(&again), (None, 0, vec![(0, 0)], vec![]));
    // Another producer that claims the same epoch has none of its streams.
    assert_eq!(driver.open(2, "thief", Some(epoch)).streams, vec![]);
}

#[test]
fn a_follow_up_is_known_to_later_publishes() {
    let mut driver = driver();
    let mut writes = Vec::new();
    let position = driver.admission.append(driver.now, TopicId(1), event("f", None, "x"), &mut writes);
    driver.add(writes);
    let again = driver.publish(1, 1, 1, Try::First, vec![event("f", None, "x")]);
    assert_eq!(parts(&again), (None, 0, vec![(0, position.offset.0)], vec![]));
}
