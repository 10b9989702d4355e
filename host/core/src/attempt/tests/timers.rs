//! Timers of a call: buffered as its other effects are, seen by itself, bounded.

use alloc::format;

use super::*;
use crate::timer::{TIMER_AHEAD_MAX, TIMERS_MAX, TimerChange, timer_key};

fn set(name: &str) -> Import {
    Import::TimerSet { name: name.to_string(), at: Timestamp(NOW.0 + 1000), data: vec![7] }
}

fn cancel(name: &str) -> Import {
    Import::TimerCancel { name: name.to_string() }
}

/// Names of timers set, and of those ended with a minus.
fn changes(timers: &[TimerChange]) -> Vec<String> {
    let text = |change: &TimerChange| format!("{}{}", if change.event.is_some() { "" } else { "-" }, change.name);
    timers.iter().map(text).collect()
}

fn code(result: ImportResult) -> Code {
    result.unwrap_err().code
}

#[test]
fn timers_come_with_the_ack_and_not_without() {
    for (end, expected) in [
        (CallEnd::Returned(Ok(())), vec!["a", "-set"]),
        (CallEnd::Returned(Err(Failure::Retry(retry()))), vec![]),
        (CallEnd::Trapped("x".to_string()), vec![]),
    ] {
        let mut driver = call_that_settles(Settles::AtReturn);
        assert_eq!(driver.import(set("a")), Ok(Reply::Done));
        assert_eq!(driver.import(cancel("set")), Ok(Reply::Cancelled(true)));
        assert_eq!(driver.import(cancel("never")), Ok(Reply::Cancelled(false)));
        assert_eq!(changes(&driver.finish(end).transaction.timers), expected);
    }
}

#[test]
fn a_call_sees_its_own_timers_and_each_has_an_id_and_a_lane_of_its_own() {
    let mut driver = call_that_settles(Settles::AtReturn);
    assert_eq!(driver.import(cancel("set")), Ok(Reply::Cancelled(true)));
    assert_eq!(driver.import(cancel("set")), Ok(Reply::Cancelled(false)));
    for name in ["a", "a", "set"] {
        assert_eq!(driver.import(set(name)), Ok(Reply::Done));
    }
    assert_eq!(driver.import(cancel("a")), Ok(Reply::Cancelled(true)));
    let timers = driver.finish(CallEnd::Returned(Ok(()))).transaction.timers;
    assert_eq!(changes(&timers), ["-set", "a", "a", "set", "-a"]);
    let events: Vec<_> = timers.iter().filter_map(|change| change.event.as_ref()).collect();
    let mut ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(events[2].key, Some(timer_key("set")));
}

#[test]
fn a_confirmed_claim_keeps_its_timers_and_a_released_one_does_not() {
    let mut driver = call_that_settles(Settles::AtReturn);
    driver.import(set("before")).unwrap();
    let claim = driver.claim("order:7");
    driver.import(set("under")).unwrap();
    driver.import(Import::Confirm { claim, receipt: None }).unwrap();
    assert_eq!(changes(&driver.committed[0].timers), ["under"]);
    let claim = driver.claim("order:8");
    driver.import(set("given-back")).unwrap();
    driver.import(Import::Release { claim }).unwrap();
    assert_eq!(changes(&driver.finish(CallEnd::Returned(Ok(()))).transaction.timers), ["before"]);
}

#[test]
fn what_is_too_much_or_too_far_is_refused() {
    let mut driver = call_that_settles(Settles::AtReturn);
    let with = |name: String, at: Timestamp, bytes: usize| Import::TimerSet { name, at, data: vec![0; bytes] };
    let far = NOW.after(TIMER_AHEAD_MAX);
    assert_eq!(code(driver.import(with("a".to_string(), Timestamp(far.0 + 1), 0))), Code::Invalid);
    assert_eq!(driver.import(with("a".to_string(), far, 4096)), Ok(Reply::Done));
    assert_eq!(code(driver.import(with("a".to_string(), NOW, 4097))), Code::TooLarge);
    assert_eq!(code(driver.import(with("n".repeat(513), NOW, 0))), Code::TooLarge);
    assert_eq!(code(driver.import(set(""))), Code::Invalid);
    assert_eq!(code(driver.import(cancel("a\nb"))), Code::Invalid);
    driver.timers = TIMERS_MAX;
    assert_eq!(code(driver.import(set("one-more"))), Code::Quota);
    assert_eq!(driver.import(set("set")), Ok(Reply::Done), "to move one is no more");
    driver.timers = 0;
    let changes = (0..300).take_while(|n| driver.import(set(&format!("t-{n}"))).is_ok()).count();
    assert_eq!(changes + 2, 256, "of one call");
}
