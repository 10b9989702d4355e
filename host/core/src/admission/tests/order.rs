//! Refusals and the order of a key, case by case: what waits for what, and how it goes on.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::driver::{Driver, batch, event, unreadable};
use super::{driver, parts, refused_code};
use crate::admission::BATCH_EVENTS_MAX;
use crate::code::Code;
use crate::event::Event;
use crate::ids::{Name, TopicId};
use crate::publish::{BatchOutcome, TracedKey, Try, Unreadable};
use crate::spec::Topic;

/// Counts sequences, so that a case is a list of batches.
struct Session {
    driver: Driver,
    sequences: [u64; 3],
}

impl Session {
    fn new() -> Session {
        Session { driver: driver(), sequences: [1; 3] }
    }

    fn any(&mut self, topic: &str, stream: u32, events: Vec<Result<Event, Unreadable>>) -> BatchOutcome {
        let sequence = &mut self.sequences[stream as usize];
        let outcome = self.driver.publish_batch(batch(topic, 1, stream, *sequence, Try::First, events));
        if refused_code(&outcome).is_none() {
            *sequence += 1;
        }
        outcome
    }

    /// The refusals of a batch on a stream.
    fn on(&mut self, stream: u32, events: Vec<Result<Event, Unreadable>>) -> Vec<(u32, Code)> {
        parts(&self.any("t", stream, events)).3
    }
}

fn keyed(id: &str, key: &str) -> Result<Event, Unreadable> {
    Ok(event(id, Some(key), "x"))
}

#[test]
fn a_key_waits_for_an_event_that_could_not_be_read() {
    let mut session = Session::new();
    let known = TracedKey::Known("k".to_string());
    let first = session.on(1, vec![unreadable("a", known), keyed("b", "k"), keyed("c", "l")]);
    assert_eq!(first, [(0, Code::MalformedEvent), (1, Code::BehindRefused)]);
    assert_eq!(session.on(2, vec![keyed("b", "k")]), [(0, Code::BehindRefused)], "on whatever stream");
    assert_eq!(session.on(1, vec![keyed("a", "k"), keyed("b", "k")]), [], "sent again, and readable now");
}

#[test]
fn an_event_whose_key_nobody_knows_holds_back_its_stream() {
    let mut session = Session::new();
    let first = session.on(1, vec![unreadable("a", TracedKey::Unknown), keyed("b", "k"), Ok(event("c", None, "x"))]);
    assert_eq!(first, [(0, Code::MalformedEvent), (1, Code::BehindRefused)]);
    assert_eq!(session.on(2, vec![keyed("d", "l")]), [], "a key of another stream goes on");
    assert_eq!(session.on(2, vec![keyed("b2", "k")]), [(0, Code::BehindRefused)], "`k` has a refused event of its own");
    assert_eq!(parts(&session.any("u", 1, vec![keyed("e", "m")])).3, [(0, Code::BehindRefused)], "in every topic");
    assert_eq!(session.on(1, vec![keyed("a", "n"), keyed("b", "k"), keyed("f", "o")]), [], "sent again, readable");
    assert_eq!(parts(&session.any("u", 1, vec![keyed("e", "m")])).3, []);
}

#[test]
fn what_has_no_name_is_given_up_without_one_and_on_its_stream() {
    let mut session = Session::new();
    assert_eq!(session.on(1, vec![unreadable("", TracedKey::Unknown)]).len(), 1);
    assert_eq!(session.on(2, vec![unreadable("", TracedKey::Known("l".to_string()))]).len(), 1);
    session.driver.abandon("t", 1, 2, "");
    assert_eq!(session.on(2, vec![keyed("a", "l")]), []);
    assert_eq!(session.on(1, vec![keyed("b", "k")]), [(0, Code::BehindRefused)]);
    session.driver.abandon("u", 1, 1, "");
    assert_eq!(session.on(1, vec![keyed("b", "k")]), [(0, Code::BehindRefused)], "that was another topic");
    session.driver.abandon("t", 1, 1, "");
    // `b` was the first refused event of its key.
    assert_eq!(session.on(1, vec![keyed("c", "k"), keyed("d", "m")]), [(0, Code::BehindRefused)]);
    assert_eq!(session.on(1, vec![keyed("b", "k"), keyed("c", "k")]), []);
}

#[test]
fn an_unreadable_event_without_a_key_holds_nobody_back() {
    let mut session = Session::new();
    let refused = session.on(1, vec![unreadable("a", TracedKey::None), keyed("b", "k")]);
    assert_eq!(refused, [(0, Code::MalformedEvent)]);
}

#[test]
fn the_event_of_the_oldest_refusal_is_never_held_back() {
    let mut session = Session::new();
    // A key's refusal, then one of its whole stream, each needing the other's event if age did not decide.
    assert_eq!(session.on(1, vec![unreadable("a", TracedKey::Known("k".to_string()))]).len(), 1);
    assert_eq!(session.on(1, vec![unreadable("b", TracedKey::Unknown)]).len(), 1);
    assert_eq!(session.on(1, vec![keyed("b", "k")]), [(0, Code::BehindRefused)], "`a` is older");
    assert_eq!(session.on(1, vec![keyed("a", "k"), keyed("b", "k"), keyed("c", "l")]), []);
    // The same the other way round.
    assert_eq!(session.on(1, vec![unreadable("d", TracedKey::Unknown), keyed("e", "k")]).len(), 2);
    assert_eq!(session.on(1, vec![keyed("e", "k")]), [(0, Code::BehindRefused)], "`d` is older");
    assert_eq!(session.on(1, vec![keyed("d", "k"), keyed("e", "k")]), []);
}

#[test]
fn the_keys_of_a_batch_that_is_refused_as_a_whole_wait() {
    let mut session = Session::new();
    let nowhere = session.any("nowhere", 1, vec![keyed("a", "k"), unreadable("b", TracedKey::Known("l".to_string()))]);
    assert_eq!(refused_code(&nowhere), Some(Code::UnknownTopic));
    session.driver.admission.add_topic(Topic { id: TopicId(3), name: Name::from("nowhere") });
    let late = session.any("nowhere", 1, vec![keyed("c", "k"), keyed("d", "l"), keyed("e", "m")]);
    assert_eq!(parts(&late).3, [(0, Code::BehindRefused), (1, Code::BehindRefused)]);
    assert_eq!(session.on(1, vec![keyed("f", "k")]), [], "a key is one of its topic");
    let again = session.any("nowhere", 1, vec![keyed("a", "k"), keyed("c", "k"), keyed("b", "l"), keyed("d", "l")]);
    assert_eq!(parts(&again).3, []);
}

#[test]
fn the_keys_of_a_batch_that_the_host_cannot_store_wait() {
    let mut session = Session::new();
    let first = batch("t", 1, 1, 1, Try::First, vec![keyed("a", "k")]);
    assert_eq!(session.driver.refuse(&first).as_ref().and_then(refused_code), Some(Code::DiskFull));
    assert_eq!(session.on(1, vec![keyed("b", "k")]), [(0, Code::BehindRefused)]);
    assert_eq!(session.on(1, vec![keyed("a", "k"), keyed("b", "k")]), []);
    // Neither a repeat nor a gap is for the disk to refuse, and neither makes a key wait.
    let repeated = batch("t", 1, 1, 1, Try::Retry, vec![keyed("b", "k")]);
    assert_eq!(session.driver.refuse(&repeated), None);
    assert_eq!(session.driver.refuse(&batch("t", 1, 1, 9, Try::First, vec![keyed("c", "k")])), None);
    assert_eq!(session.driver.refuse(&batch("t", 7, 1, 1, Try::First, vec![keyed("c", "k")])), None);
    let gap = session.driver.publish_batch(batch("t", 1, 1, 9, Try::First, vec![keyed("c", "k")]));
    assert_eq!(refused_code(&gap), Some(Code::Gap));
    assert_eq!(session.on(1, vec![keyed("d", "k")]), []);
}

#[test]
fn a_stored_event_that_comes_again_behind_a_refused_one_is_a_duplicate() {
    let mut session = Session::new();
    assert_eq!(session.on(1, vec![keyed("a", "k"), keyed("b", "k")]), []);
    session.driver.commit();
    // A new epoch: sequences tell nothing, and the first batch of the key is refused now.
    session.driver.open(1, "p", None);
    let events = vec![event("a", Some("k"), "other"), event("b", Some("k"), "x"), event("c", Some("k"), "x")];
    let again = session.driver.publish(1, 1, 1, Try::Retry, events);
    assert_eq!(parts(&again), (None, 0, vec![(1, 1)], vec![(0, Code::IdReused), (2, Code::BehindRefused)]));
}

#[test]
fn a_refusal_that_is_told_again_after_a_reconnect_holds_its_key_back_again() {
    let mut session = Session::new();
    let first = || vec![unreadable("a", TracedKey::Known("k".to_string())), keyed("b", "l")];
    let told = session.any("t", 1, first());
    let epoch = session.driver.epoch(1);
    session.driver.open(2, "p", Some(epoch));
    assert_eq!(session.driver.publish_batch(batch("t", 2, 1, 1, Try::Retry, first())), told);
    let next = session.driver.publish_batch(batch("t", 2, 1, 2, Try::Retry, vec![keyed("c", "k"), keyed("d", "l")]));
    assert_eq!(parts(&next).3, [(0, Code::BehindRefused)]);
}

#[test]
fn an_event_given_up_in_one_topic_is_not_given_up_in_another() {
    let mut session = Session::new();
    let known = || TracedKey::Known("k".to_string());
    session.any("t", 1, vec![unreadable("a", known())]);
    session.any("u", 1, vec![unreadable("a", known())]);
    session.driver.abandon("t", 1, 1, "a");
    assert_eq!(session.on(1, vec![keyed("b", "k")]), []);
    assert_eq!(parts(&session.any("u", 1, vec![keyed("c", "k")])).3, [(0, Code::BehindRefused)]);
}

#[test]
fn an_event_that_comes_again_under_another_key_frees_the_first_one() {
    let mut session = Session::new();
    assert_eq!(session.on(1, vec![unreadable("a", TracedKey::Known("k".to_string()))]).len(), 1);
    assert_eq!(session.on(1, vec![keyed("a", "l"), keyed("b", "k")]), []);
}

#[test]
fn more_refusals_than_can_be_remembered_hold_back_every_key() {
    let mut session = Session::new();
    let refused = |count: usize| -> Vec<_> {
        (0..count).map(|id| unreadable(&id.to_string(), TracedKey::Known(id.to_string()))).collect()
    };
    assert_eq!(session.on(1, refused(BATCH_EVENTS_MAX)).len(), BATCH_EVENTS_MAX);
    assert_eq!(session.on(2, vec![keyed("free", "free")]), [], "there is room for them, so others go on");
    assert_eq!(session.on(1, vec![unreadable("last", TracedKey::Known("last".to_string()))]).len(), 1);
    let held = session.on(2, vec![keyed("free 2", "free"), Ok(event("no key", None, "x"))]);
    assert_eq!(held, [(0, Code::BehindRefused)], "now they wait, but for those without a key");
    assert_eq!(session.on(1, vec![keyed("0", "0"), keyed("last", "last")]), [], "the last can be sent again");
    assert_eq!(session.on(2, vec![keyed("free 2", "free")]), []);
    let all: Vec<_> = (1..BATCH_EVENTS_MAX).map(|id| keyed(&id.to_string(), &id.to_string())).collect();
    assert_eq!(session.on(1, all), []);
}

#[test]
fn what_was_refused_behind_another_is_not_overtaken_once_that_is_sent_again() {
    let mut session = Session::new();
    let first =
        session.on(1, vec![unreadable("a", TracedKey::Known("k".to_string())), keyed("b", "k"), keyed("c", "k")]);
    assert_eq!(first.len(), 3);
    assert_eq!(
        session.on(1, vec![keyed("a", "k"), keyed("d", "k")]),
        [(1, Code::BehindRefused)],
        "`b` comes before `d`"
    );
    assert_eq!(session.on(1, vec![keyed("c", "k")]), [(0, Code::BehindRefused)], "and before `c`");
    session.driver.abandon("t", 1, 1, "b");
    assert_eq!(session.on(1, vec![keyed("d", "k")]), [(0, Code::BehindRefused)], "`c` was refused before `d`");
    assert_eq!(session.on(1, vec![keyed("c", "k"), keyed("d", "k"), keyed("e", "k")]), []);
}

#[test]
fn a_key_with_more_refusals_than_are_remembered_takes_no_room_of_others() {
    let mut session = Session::new();
    let refused = |ids: core::ops::Range<usize>| -> Vec<_> {
        ids.map(|id| unreadable(&id.to_string(), TracedKey::Known("k".to_string()))).collect()
    };
    let remembered = BATCH_EVENTS_MAX + 1;
    assert_eq!(session.on(1, refused(0..BATCH_EVENTS_MAX)).len(), BATCH_EVENTS_MAX);
    assert_eq!(session.on(1, refused(BATCH_EVENTS_MAX..remembered + 9)).len(), 10);
    assert_eq!(session.on(2, vec![keyed("free", "l")]), [], "another key goes on");
    let again: Vec<_> = (0..BATCH_EVENTS_MAX).map(|id| keyed(&id.to_string(), "k")).collect();
    assert_eq!(session.on(1, again), []);
    let last = (remembered - 1).to_string();
    assert_eq!(session.on(1, vec![keyed("new", "k"), keyed(&last, "k")]), [(0, Code::BehindRefused)]);
    assert_eq!(session.on(1, vec![keyed("new", "k")]), [], "of what came after that nothing is known");
}

#[test]
fn long_names_are_bounded_by_their_bytes() {
    let mut session = Session::new();
    let long = |id: usize| std::format!("{id:01000}");
    let refused = (0..2000).map(|id| unreadable(&long(id), TracedKey::Known(id.to_string()))).collect();
    assert_eq!(session.on(1, refused).len(), 2000);
    assert_eq!(session.on(2, vec![keyed("free", "free")]), [(0, Code::BehindRefused)]);
}
