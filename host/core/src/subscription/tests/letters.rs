//! Deliveries given up: the three policies, and what a person can do about a dead letter.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::ids::{KeyGeneration, Revision};
use crate::origin::Origin;
use crate::row::{DeadRow, DeadState, DeadTotals, Parking, WaitingRow};
use crate::spec::{DeadBounds, OnDeadFull, OnExhausted};
use crate::step::{Kept, Stuck};
use crate::subscription::{DecideError, Decision, KeptFacts};

fn with(on_exhausted: OnExhausted) -> Subscription {
    Subscription { on_exhausted, redelivery: Some(TopicId(7)), ..spec() }
}

fn letter(writes: &[Write]) -> DeadRow {
    let row = writes.iter().find_map(|write| match write {
        Write::Dead { row, .. } => Some(row.clone()),
        _ => None,
    });
    row.expect("a dead letter was written")
}

fn waiting(writes: &[Write]) -> Option<WaitingRow> {
    writes.iter().find_map(|write| match write {
        Write::Waiting { row, .. } => row.clone(),
        _ => None,
    })
}

/// The first event of a key after both of its attempts failed; what that wrote.
fn exhausted(bench: &mut Bench) -> Vec<Write> {
    for _ in 0..2 {
        let mut calls = bench.started();
        calls.extend(bench.commit().1);
        let call = calls.into_iter().find(|call| call.position.offset.0 == 0).expect("the head runs");
        bench.end(&call, nack());
        if call.attempt.0 == 1 {
            bench.commit();
            bench.tick(60);
        }
    }
    bench.machine.seal(&mut bench.step);
    let writes = std::mem::take(&mut bench.step.writes);
    bench.keep_rows(&writes);
    writes
}

fn decide(bench: &mut Bench, letter: &DeadRow, decision: Decision) -> Result<Vec<Write>, DecideError> {
    bench.machine.decide(bench.now, letter.clone(), decision, &mut bench.step)?;
    bench.tick(0);
    bench.machine.seal(&mut bench.step);
    let writes = std::mem::take(&mut bench.step.writes);
    bench.keep_rows(&writes);
    Ok(writes)
}

/// What starts once a parked delivery came back from the disk.
fn came_back(bench: &mut Bench) -> Vec<Invocation> {
    (0..3).flat_map(|_| bench.commit().1).collect()
}

fn started_after(bench: &mut Bench) -> Vec<u64> {
    let mut calls = invocations(std::mem::take(&mut bench.step.actions));
    calls.extend(bench.started());
    offsets(&calls)
}

#[test]
fn parked_key_waits_through_a_restart_and_is_tried_again_in_its_place() {
    let mut bench = Bench::new(with(OnExhausted::ParkKey), &["a", "a"]);
    let writes = exhausted(&mut bench);
    bench.log.push(event(2, "b", Class::Normal));
    let letter = letter(&writes);
    assert_eq!((letter.state, letter.holds_key, letter.attempts), (DeadState::Manual, true, 2));
    let row = waiting(&writes).expect("it still waits");
    assert_eq!(row.parking, Parking::Parked);
    let is_told = |action: &Action| matches!(action, Action::Stuck { how: Stuck::Parked, .. });
    assert!(bench.step.actions.iter().any(is_told));
    bench.tick(1_000_000);
    assert_eq!(started_after(&mut bench), Vec::<u64>::new(), "its key waits");
    let totals = bench.machine.status().dead;
    assert_eq!((totals.manual, totals.open, totals.letters), (1, 0, 1));

    let rows = Recovered { waiting: vec![(Offset(0), row)], dead: totals, ..Recovered::at(Offset(0)) };
    let spec = with(OnExhausted::ParkKey);
    let mut bench = Bench::with(Machine::recover(spec, Slot(0), 1, rows), bench.log);
    bench.tick(100);
    assert_eq!(started_after(&mut bench), [2], "the other key is not held up");
    let writes = decide(&mut bench, &letter, Decision::Replay).unwrap();
    assert!(!writes.iter().any(|write| matches!(write, Write::Redeliver { .. })), "no copy");
    let again = waiting(&writes).unwrap();
    assert_eq!((again.spent, again.parking), (0, Parking::Released { generation: KeyGeneration(0) }));
    let call = came_back(&mut bench).remove(0);
    assert_eq!((call.position.offset, call.attempt.0, call.letter), (Offset(0), 1, Some(KeyGeneration(0))));
    bench.end(&call, Verdict::Ack);
    assert_eq!(offsets(&bench.commit().1), [1], "and the key goes on in order");
}

#[test]
fn parked_delivery_that_fails_again_is_parked_again_with_one_letter() {
    let mut bench = Bench::new(with(OnExhausted::ParkKey), &["a", "a"]);
    let first = letter(&exhausted(&mut bench));
    decide(&mut bench, &first, Decision::Replay).unwrap();
    bench.step.immediate = came_back(&mut bench).into_iter().map(Action::Invoke).collect();
    let second = letter(&exhausted(&mut bench));
    assert_eq!((second.state, second.attempts), (DeadState::Manual, 2));
    assert_eq!(bench.machine.status().dead.letters, 1);
}

#[test]
fn dismissed_parked_delivery_is_settled_and_its_key_goes_on() {
    let mut bench = Bench::new(with(OnExhausted::ParkKey), &["a", "a"]);
    let row = letter(&exhausted(&mut bench));
    assert_eq!(decide(&mut bench, &row, Decision::Purge), Err(DecideError::KeyWaits));
    let writes = decide(&mut bench, &row, Decision::Dismiss).unwrap();
    assert_eq!(letter(&writes).state, DeadState::Dismissed);
    assert!(writes.iter().any(|write| matches!(write, Write::Waiting { row: None, .. })));
    assert!(writes.iter().any(|write| matches!(write, Write::Cursor { row, .. } if row.floor == Offset(1))));
    assert_eq!(started_after(&mut bench), [1]);
    assert_eq!(bench.machine.status().dead, DeadTotals { letters: 1, bytes: row.cost(), ..DeadTotals::default() });
}

#[test]
fn edited_parked_event_keeps_its_lane_and_gets_a_new_key() {
    let mut bench = Bench::new(with(OnExhausted::ParkKey), &["a", "a"]);
    let row = letter(&exhausted(&mut bench));
    let moved = event(0, "z", Class::Normal).event;
    assert_eq!(decide(&mut bench, &row, Decision::Edit(moved)), Err(DecideError::KeyChanged));
    let edited = letter(&decide(&mut bench, &row, Decision::Edit(event(0, "a", Class::Normal).event)).unwrap());
    assert_eq!((edited.state, edited.generation), (DeadState::Manual, KeyGeneration(1)));
    decide(&mut bench, &edited, Decision::Replay).unwrap();
    let call = came_back(&mut bench).remove(0);
    assert_eq!(call.letter, Some(KeyGeneration(1)));
}

#[test]
fn without_a_key_park_key_is_like_skip_and_rejected_keys_are_parked_too() {
    let mut bench = Bench::new(with(OnExhausted::ParkKey), &["", "a", "a"]);
    let calls = bench.started();
    for call in &calls {
        bench.end(call, Verdict::Reject("410".into()));
    }
    bench.machine.seal(&mut bench.step);
    let states = bench.step.writes.iter().filter_map(|write| match write {
        Write::Dead { row, .. } => Some((row.event.position.offset.0, row.state)),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    assert_eq!(states, [(0, DeadState::Open), (1, DeadState::Manual)]);
    assert_eq!(started_after(&mut bench), Vec::<u64>::new());
}

#[test]
fn blocked_head_is_tried_for_ever_at_the_longest_backoff_and_never_buried() {
    let retry = RetryPolicy { attempts_max: 2, first_backoff: Millis(0), backoff_max: Millis(500) };
    let mut bench = Bench::new(Subscription { retry, ..with(OnExhausted::Block) }, &["a", "a", ""]);
    let mut calls = bench.started();
    bench.end(&calls.remove(1), Verdict::Ack);
    for attempt in 1..=40 {
        let call = calls.remove(0);
        assert_eq!((call.position.offset, call.attempt.0), (Offset(0), attempt));
        bench.end(&call, nack());
        let (writes, next) = bench.commit();
        assert!(next.is_empty() && !writes.iter().any(|write| matches!(write, Write::Dead { .. })));
        assert_eq!(bench.machine.status().blocked, usize::from(attempt >= 2));
        if attempt > 2 {
            bench.tick(499);
            assert_eq!(started_after(&mut bench), Vec::<u64>::new(), "it waits for the longest backoff");
        }
        bench.tick(1_000);
        calls = bench.started();
        calls.extend(bench.commit().1);
    }
    bench.end(&calls.remove(0), Verdict::Ack);
    assert_eq!(offsets(&bench.commit().1), [1]);
    assert_eq!(bench.machine.status().blocked, 0);
}

#[test]
fn blocked_delivery_without_a_key_and_in_doubt_is_resent_for_ever() {
    let spec = Subscription { on_unknown: OnUnknown::Resend, ..with(OnExhausted::Block) };
    let mut bench = Bench::new(spec, &[""]);
    let mut calls = bench.started();
    for _ in 0..6 {
        bench.end(&calls.remove(0), Verdict::Unknown("250?".into()));
        let (writes, next) = bench.commit();
        assert!(!writes.iter().any(|write| matches!(write, Write::Unknown { .. })));
        calls = next;
        if calls.is_empty() {
            bench.tick(60);
            calls = bench.commit().1;
        }
    }
}

#[test]
fn open_letter_is_replayed_once_as_a_copy_that_keeps_its_origin() {
    let mut bench = Bench::new(with(OnExhausted::Skip), &["a"]);
    let row = letter(&exhausted(&mut bench));
    assert_eq!((row.state, row.holds_key), (DeadState::Open, false));
    let writes = decide(&mut bench, &row, Decision::Replay).unwrap();
    let copy = writes.iter().find_map(|write| match write {
        Write::Redeliver { topic, origin, is_late, event } => Some((*topic, *origin, *is_late, event.clone())),
        _ => None,
    });
    let origin = Origin::of(SubscriptionId(1), Some(TopicId(7)), &row.event);
    assert_eq!(copy, Some((TopicId(7), origin, true, row.event.event.clone())));
    let replayed = letter(&writes);
    assert_eq!((replayed.state, replayed.decided), (DeadState::Replayed, Some(bench.now)));
    for decision in [Decision::Replay, Decision::Dismiss, Decision::Edit(row.event.event.clone())] {
        assert_eq!(decide(&mut bench, &replayed, decision), Err(DecideError::Decided(DeadState::Replayed)));
    }
    let writes = decide(&mut bench, &replayed, Decision::Purge).unwrap();
    assert!(writes.iter().any(|write| matches!(write, Write::DeadGone { .. })));
    assert_eq!(bench.machine.status().dead, DeadTotals::default());
}

#[test]
fn letter_tells_the_revision_of_its_last_attempt() {
    let mut bench = Bench::new(with(OnExhausted::Skip), &["a"]);
    let call = bench.started().remove(0);
    bench.machine.ran_on(call.ticket, Revision([9; 32]));
    bench.machine.ran_on(Ticket(call.ticket.0 ^ 1), Revision([1; 32]));
    bench.end(&call, Verdict::Reject("410".into()));
    assert_eq!(letter(&bench.commit().0).revision, Some(Revision([9; 32])));
}

#[test]
fn replay_without_a_private_topic_is_refused() {
    let mut bench = Bench::new(Subscription { redelivery: None, ..with(OnExhausted::Skip) }, &["a"]);
    let row = letter(&exhausted(&mut bench));
    assert_eq!(decide(&mut bench, &row, Decision::Replay), Err(DecideError::NoPrivateTopic));
    assert!(bench.step.writes.is_empty());
}

/// Rejects that many events and gives the facts of their letters.
fn bury_many(bench: &mut Bench, count: usize) -> Vec<KeptFacts> {
    let mut facts = Vec::new();
    while facts.len() < count {
        let mut calls = bench.started();
        calls.extend(bench.commit().1);
        assert!(!calls.is_empty(), "{} of {count}", facts.len());
        for call in calls {
            bench.end(&call, Verdict::Reject("410".to_string()));
            facts.extend(bench.step.writes.iter().rev().find_map(|write| match write {
                Write::Dead { row, .. } => Some(KeptFacts::from(row)),
                _ => None,
            }));
        }
    }
    facts
}

fn bounded(on_full: OnDeadFull) -> Subscription {
    let dead = DeadBounds { letters_max: 16, age_max: Millis(10_000), on_full, ..DeadBounds::default() };
    Subscription { dead, ..with(OnExhausted::Skip) }
}

#[test]
fn too_many_letters_lose_the_oldest_and_say_how_many() {
    let keys = vec![""; 17];
    let mut bench = Bench::new(bounded(OnDeadFull::RemoveOldest), &keys);
    let facts = bury_many(&mut bench, 17);
    let trims = bench.step.actions.iter().filter(|action| **action == Action::Trim(Kept::Dead)).count();
    assert_eq!(trims, 1);
    let trimmed = bench.machine.trim(bench.now, Kept::Dead, &facts, true, &mut bench.step);
    // Down to fifteen sixteenths of the bound.
    assert_eq!((trimmed.removed, bench.machine.status().dead.letters), (2, 15));
    assert_eq!(bench.machine.status().dead.removed, 2);
    let gone = bench.step.writes.iter().filter_map(|write| match write {
        Write::DeadGone { position, .. } => Some(position.offset.0),
        _ => None,
    });
    let gone: Vec<u64> = gone.collect();
    assert_eq!(gone, [facts[0].position.offset.0, facts[1].position.offset.0]);
}

#[test]
fn old_letters_are_removed_and_parked_ones_never() {
    let spec = Subscription { on_exhausted: OnExhausted::ParkKey, ..bounded(OnDeadFull::RemoveOldest) };
    let mut bench = Bench::new(spec, &["a", "", ""]);
    let facts = bury_many(&mut bench, 3);
    bench.commit();
    bench.tick(600_000);
    assert!(bench.step.actions.contains(&Action::Trim(Kept::Dead)), "looked at from time to time");
    let trimmed = bench.machine.trim(bench.now, Kept::Dead, &facts, true, &mut bench.step);
    assert_eq!((trimmed.removed, bench.machine.status().dead.manual), (2, 1));
}

#[test]
fn full_letters_pause_by_policy() {
    let keys = vec![""; 18];
    let mut bench = Bench::new(bounded(OnDeadFull::Pause), &keys);
    bury_many(&mut bench, 17);
    let paused = bench.machine.status().paused.unwrap();
    assert!(paused.by == "host" && paused.reason.contains("17 dead letters"), "{paused:?}");
    assert!(!bench.step.actions.contains(&Action::Trim(Kept::Dead)));
}

#[test]
fn private_topic_is_covered_whatever_the_filter_says() {
    let filter = Filter::Exact { attribute: "type".into(), value: "b".into() };
    let spec = Subscription { filter, redelivery: Some(TopicId(7)), ..spec() };
    let mut log: Vec<StoredEvent> = (0..4).map(|n| event(n, if n == 2 { "b" } else { "a" }, Class::Normal)).collect();
    log[1].topic = TopicId(7);
    log[3].topic = TopicId(8);
    let mut bench = Bench::with(Machine::recover(spec, Slot(0), 1, Recovered::at(Offset(0))), log);
    assert_eq!(offsets(&bench.started()), [1, 2]);
}
