//! Scheduled events: single cases, and random histories with crashes and clock steps against a naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::driver::{Driver, event};
use super::{driver, parts};
use crate::admission::{Released, WindowSize};
use crate::code::Code;
use crate::event::{ERASED_KIND, Event, Index, Span, StoredEvent, Timing};
use crate::ids::{Offset, TopicId};
use crate::origin::Origin;
use crate::publish::Try;
use crate::row::{Fate, ScheduledTotals};
use crate::schedule::{AHEAD_MAX, DuePage, REPLACED_EVENTS_MAX, ScheduledName, ScheduledQuery};
use crate::time::{Millis, Timestamp};

const TOPIC: TopicId = TopicId(1);

fn timed(id: &str, key: Option<&str>, deliver_at: Timestamp) -> Event {
    event(id, key, "x").timed(Timing { deliver_at: Some(deliver_at), ..Timing::default() })
}

/// Reads a page of the disk and releases, as the committer does.
fn release(driver: &mut Driver, page_max: usize) -> Released {
    let from = driver.admission.scheduled_from();
    let mut rows = driver.disk.due.range(from..);
    let events: Vec<StoredEvent> = rows
        .by_ref()
        .take(page_max)
        .take_while(|(due, _)| due.at <= driver.now)
        .map(|(_, event)| event.clone())
        .collect();
    let after = events.last().map_or(from, |last| crate::schedule::Due::of(last).unwrap().next());
    let next = driver.disk.due.range(after..).next().map(|(due, _)| *due);
    driver.admission.release(driver.now, DuePage { events, next }, &mut driver.group)
}

#[test]
fn a_scheduled_event_is_stored_at_once_and_its_copy_when_it_is_due() {
    let mut driver = driver();
    let due = driver.now.after(Millis(50));
    let stored = driver.publish(1, 1, 1, Try::First, vec![timed("a", Some("k"), due), event("b", None, "x")]);
    assert_eq!(parts(&stored), (Some(0), 2, vec![], vec![]));
    driver.commit();
    assert!(driver.disk.events[&Offset(0)].is_scheduled() && !driver.disk.events[&Offset(1)].is_scheduled());
    assert_eq!(driver.admission.take_scheduled(), Some(due));
    driver.now = Timestamp(due.0 - 1);
    assert_eq!(release(&mut driver, 9), Released { events: 0, next: Some(due) });
    driver.now = due;
    assert_eq!(release(&mut driver, 9), Released { events: 1, next: None });
    driver.commit();
    let copy = &driver.disk.events[&Offset(2)];
    let original = &driver.disk.events[&Offset(0)];
    assert!(!copy.is_scheduled());
    assert_eq!((copy.event.bytes(), copy.event.key(), copy.topic), (original.event.bytes(), Some("k"), TOPIC));
    assert_eq!(copy.event.timing().released_from, Some(original.position));
    assert_eq!(Origin::of(crate::ids::SubscriptionId(3), None, copy).position, original.position);
    assert_eq!(driver.disk.fates[&Offset(0)].fate, Fate::Released { to: copy.position });
    assert_eq!(driver.disk.totals[&TOPIC], ScheduledTotals { released: 1, ..ScheduledTotals::default() });
    // A repeat of the publish is told the first place, before and after the release.
    let again = driver.publish(1, 1, 2, Try::Retry, vec![timed("a", Some("k"), due)]);
    assert_eq!(parts(&again), (None, 0, vec![(0, 0)], vec![]));
}

/// Reads what the disk has of a name and cancels, as the committer does.
fn cancel(driver: &mut Driver, name: ScheduledName<'_>) -> u32 {
    let query = ScheduledQuery { topic: TOPIC, name };
    let found = driver.disk.due.values().filter(|event| query.is_of(event)).cloned().collect();
    driver.admission.cancel(driver.now, query, found, &mut driver.group)
}

fn expiring(id: &str, deliver_at: Option<Timestamp>, expires: Timestamp) -> Event {
    event(id, None, "x").timed(Timing { deliver_at, expires: Some(expires), ..Timing::default() })
}

#[test]
fn an_event_past_its_time_is_refused_and_so_is_one_that_could_never_be_delivered() {
    let mut driver = driver();
    let (now, later) = (driver.now, driver.now.after(Millis(50)));
    let batch = vec![
        expiring("past", None, now),
        expiring("next", None, now.after(Millis(1))),
        expiring("never", Some(later), later),
        expiring("just", Some(later), later.after(Millis(1))),
    ];
    let stored = driver.publish(1, 1, 1, Try::First, batch);
    let refused = vec![(0, Code::Expired), (2, Code::InvalidAttribute)];
    assert_eq!(parts(&stored), (Some(0), 2, vec![], refused));
    driver.commit();
    // What was stored in time is known for ever.
    driver.now = later;
    let again = driver.publish(1, 1, 2, Try::Retry, vec![expiring("next", None, now.after(Millis(1)))]);
    assert_eq!(parts(&again), (None, 0, vec![(0, 0)], vec![]));
}

#[test]
fn an_event_that_says_that_it_was_erased_is_refused_with_and_without_a_time() {
    let kind = Span { start: 0, len: ERASED_KIND.len() as u32 };
    let forged = Event::new(Bytes::from_static(ERASED_KIND.as_bytes()), Index { kind, ..Index::default() }).unwrap();
    let mut driver = driver();
    let later = Some(driver.now.after(Millis(50)));
    let timed = forged.clone().timed(Timing { expires: later, ..Timing::default() });
    for (sequence, event) in (1..).zip([forged, timed]) {
        let (first, stored, _, refused) = parts(&driver.publish(1, 1, sequence, Try::First, vec![event]));
        assert_eq!((first, stored, refused), (None, 0, vec![(0, Code::Denied)]));
    }
}

#[test]
fn what_is_released_past_its_time_ends_as_expired_and_has_no_copy() {
    let mut driver = driver();
    let due = driver.now.after(Millis(50));
    let batch = vec![expiring("a", Some(due), due.after(Millis(10))), expiring("b", Some(due), due.after(Millis(11)))];
    driver.publish(1, 1, 1, Try::First, batch);
    driver.commit();
    driver.now = due.after(Millis(10));
    assert_eq!(release(&mut driver, 9), Released { events: 1, next: None });
    driver.commit();
    assert_eq!(driver.disk.fates[&Offset(0)].fate, Fate::Expired);
    let copy = &driver.disk.events[&Offset(2)];
    assert_eq!((copy.event.id(), copy.event.timing().expires), ("b", Some(due.after(Millis(11)))));
    let totals = ScheduledTotals { released: 1, expired: 1, ..ScheduledTotals::default() };
    assert_eq!(driver.disk.totals[&TOPIC], totals);
    assert!(driver.disk.due.is_empty());
}

#[test]
fn what_is_cancelled_is_not_released_whichever_comes_first_in_the_batch() {
    let mut driver = driver();
    let due = driver.now.after(Millis(50));
    let publish = |driver: &mut Driver, sequence, ids: [&str; 2]| {
        driver.publish(1, 1, sequence, Try::First, ids.map(|id| timed(id, Some("k"), due)).to_vec());
    };
    publish(&mut driver, 1, ["a", "b"]);
    driver.commit();
    driver.now = due;
    let id = ScheduledName::Id { source: "s", id: "a" };
    assert_eq!(cancel(&mut driver, id), 1);
    assert_eq!(cancel(&mut driver, id), 0, "it ended in this batch");
    assert_eq!(release(&mut driver, 9).events, 1, "only `b` is left");
    assert_eq!(cancel(&mut driver, ScheduledName::Key("k")), 0, "released in this batch");
    driver.commit();
    assert_eq!(driver.disk.fates[&Offset(0)].fate, Fate::Cancelled);
    assert!(matches!(driver.disk.fates[&Offset(1)].fate, Fate::Released { .. }));
    // In one batch with its publish.
    driver.now = Timestamp(due.0 - 1);
    publish(&mut driver, 2, ["c", "d"]);
    assert_eq!(cancel(&mut driver, ScheduledName::Key("other")), 0);
    assert_eq!(cancel(&mut driver, ScheduledName::Key("k")), 2);
    driver.commit();
    assert!(driver.disk.due.is_empty());
    let totals = ScheduledTotals { released: 1, cancelled: 3, ..ScheduledTotals::default() };
    assert_eq!(driver.disk.totals[&TOPIC], totals);
}

#[test]
fn a_later_event_of_the_key_takes_the_place_of_those_that_wait() {
    let mut driver = driver();
    let due = driver.now.after(Millis(50));
    let replacing = |id: &str, key: Option<&str>, at| {
        let plain = timed(id, key, at);
        plain.timed(Timing { replaces_pending: true, ..plain.timing() })
    };
    let batch = vec![timed("a", Some("k"), due), timed("b", Some("other"), due), timed("c", None, due)];
    driver.publish(1, 1, 1, Try::First, batch);
    driver.commit();
    // One that waits itself, and in the same batch one that is delivered at once and replaces that.
    let (later, now) = (replacing("d", Some("k"), due.after(Millis(9))), replacing("e", Some("k"), driver.now));
    let stored = driver.publish(1, 1, 2, Try::First, vec![later, now, replacing("f", None, due)]);
    assert_eq!(
        parts(&stored),
        (Some(3), 2, vec![], vec![(2, Code::InvalidAttribute)]),
        "without a key nothing is replaced"
    );
    driver.commit();
    let fate = |offset: u64| driver.disk.fates.get(&Offset(offset)).map(|row| row.fate);
    let by = |offset| Some(Fate::Replaced { by: driver.disk.events[&Offset(offset)].position });
    assert_eq!((fate(0), fate(3)), (by(3), by(4)));
    let waiting: Vec<_> = driver.disk.due.values().map(|event| event.event.id()).collect();
    assert_eq!(waiting, ["b", "c"]);
    let totals = ScheduledTotals { waiting: 2, replaced: 2, ..ScheduledTotals::default() };
    assert_eq!(driver.disk.totals[&TOPIC], totals);
    // A repeat replaces nothing: what came since stays.
    driver.publish(1, 1, 3, Try::First, vec![timed("g", Some("k"), due)]);
    driver.commit();
    let now = driver.now;
    driver.publish(1, 1, 4, Try::Retry, vec![replacing("e", Some("k"), now)]);
    driver.commit();
    assert_eq!(driver.disk.due.len(), 3);
}

#[test]
fn more_than_one_event_may_replace_are_refused() {
    let mut driver = driver();
    let due = driver.now.after(Millis(50));
    let many = (0..=REPLACED_EVENTS_MAX).map(|number| timed(&format!("{number}"), Some("k"), due)).collect();
    driver.publish(1, 1, 1, Try::First, many);
    driver.commit();
    let plain = event("last", Some("k"), "x");
    let last = plain.timed(Timing { replaces_pending: true, ..Timing::default() });
    let refused = driver.publish(1, 1, 2, Try::First, vec![last]);
    assert_eq!(parts(&refused).3, [(0, Code::Quota)]);
}

#[test]
fn a_time_that_has_passed_delivers_at_once_and_one_too_far_ahead_is_refused() {
    let mut driver = driver();
    let far = driver.now.after(AHEAD_MAX);
    let events = vec![
        timed("now", None, driver.now),
        timed("past", None, Timestamp(1)),
        timed("far", None, far),
        timed("too far", None, far.after(Millis(1))),
        timed("never", None, Timestamp::NEVER),
    ];
    let stored = driver.publish(1, 1, 1, Try::First, events);
    let refused = vec![(3, Code::InvalidAttribute), (4, Code::InvalidAttribute)];
    assert_eq!(parts(&stored), (Some(0), 3, vec![], refused));
    driver.commit();
    let scheduled: Vec<bool> = driver.disk.events.values().map(StoredEvent::is_scheduled).collect();
    assert_eq!(scheduled, [false, false, true]);
    assert_eq!(driver.disk.totals[&TOPIC].waiting, 1);
}

#[test]
fn an_event_that_falls_due_while_its_batch_is_written_is_still_found() {
    let mut driver = driver();
    let due = driver.now.after(Millis(5));
    driver.publish(1, 1, 1, Try::First, vec![timed("early", None, due), timed("late", None, due.after(Millis(90)))]);
    driver.commit();
    driver.publish(1, 1, 2, Try::First, vec![timed("b", None, due)]);
    // The clock goes on before the batch is durable, and a release in it passes the time of `b`.
    driver.now = due.after(Millis(20));
    assert_eq!(release(&mut driver, 9).events, 1);
    driver.commit();
    assert_eq!(driver.admission.take_scheduled(), Some(due));
    assert_eq!(release(&mut driver, 9).events, 1, "`b` lies before what was released");
    driver.commit();
    assert_eq!(driver.disk.due.len(), 1);
}

#[derive(Clone, Debug)]
enum Act {
    /// Publish an event that is due so much later.
    Publish(u8, u16),
    /// The same, and it takes the place of those of its key.
    Replace(u8, u16),
    /// The clock goes on, by a step perhaps.
    Wait(u16),
    /// Release at most so many.
    Release(u8),
    /// Cancel those of a key, or the event of a number.
    Cancel(u8, bool),
    Commit,
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..4_u8, 0..400_u16).prop_map(|(key, ms)| Act::Publish(key, ms)),
        2 => (0..4_u8, 0..400_u16).prop_map(|(key, ms)| Act::Replace(key, ms)),
        3 => (0..200_u16).prop_map(Act::Wait),
        1 => (1_000..60_000_u16).prop_map(Act::Wait),
        4 => (1..5_u8).prop_map(Act::Release),
        1 => (0..20_u8, any::<bool>()).prop_map(|(what, by_key)| Act::Cancel(what, by_key)),
        4 => Just(Act::Commit),
        1 => Just(Act::Crash),
    ]
}

/// What a client knows it got confirmed: id and due time.
#[derive(Default)]
struct Model {
    pending: Vec<(String, Timestamp)>,
    confirmed: BTreeMap<String, Timestamp>,
}

fn check(driver: &Driver, model: &Model) {
    let mut copies: BTreeMap<&str, &StoredEvent> = BTreeMap::new();
    let mut originals = BTreeSet::new();
    let mut last = BTreeMap::new();
    for event in driver.disk.events.values() {
        let due = event.event.timing().deliver_at.unwrap();
        let Some(from) = event.event.timing().released_from else {
            originals.insert(event.event.id());
            continue;
        };
        assert!(!event.is_scheduled() && event.received >= due, "early: {event:?}");
        assert!(copies.insert(event.event.id(), event).is_none(), "twice: {event:?}");
        assert_eq!(driver.disk.fates[&from.offset].fate, Fate::Released { to: event.position });
        // Of one time, the first published comes first.
        let before = last.insert(due, from.offset);
        assert!(before.is_none_or(|before| before < from.offset), "out of order: {event:?}");
    }
    let waiting: BTreeSet<&str> = driver.disk.due.values().map(|event| event.event.id()).collect();
    for id in model.confirmed.keys() {
        assert!(originals.contains(id.as_str()), "lost: {id}");
    }
    for event in driver.disk.events.values().filter(|event| event.is_scheduled()) {
        let id = event.event.id();
        let fate = driver.disk.fates.get(&event.position.offset).map(|row| row.fate);
        let is_cancelled = matches!(fate, Some(Fate::Cancelled | Fate::Replaced { .. }));
        if let Some(Fate::Replaced { by }) = fate {
            let by = &driver.disk.events[&by.offset];
            assert!(by.event.timing().replaces_pending && by.event.key() == event.event.key(), "{by:?}");
        }
        let ends = [waiting.contains(id), copies.contains_key(id), is_cancelled];
        assert_eq!(
            ends.iter().filter(|end| **end).count(),
            1,
            "{id} must wait, be released, cancelled or replaced: {ends:?}"
        );
    }
    let totals = driver.disk.totals.get(&TOPIC).copied().unwrap_or_default();
    assert_eq!(totals.waiting, waiting.len() as u64);
    assert_eq!(totals.released, copies.len() as u64);
    let count = |is: fn(Fate) -> bool| driver.disk.fates.values().filter(|row| is(row.fate)).count() as u64;
    assert_eq!(totals.cancelled, count(|fate| fate == Fate::Cancelled));
    assert_eq!(totals.replaced, count(|fate| matches!(fate, Fate::Replaced { .. })));
    check_replaced(driver);
}

/// What waits of a key was stored with or after the latest event that replaces what waits.
fn check_replaced(driver: &Driver) {
    let replacing =
        |event: &&StoredEvent| event.event.timing().replaces_pending && event.event.timing().released_from.is_none();
    for event in driver.disk.events.values().filter(replacing) {
        let is_older = |waiting: &&StoredEvent| {
            waiting.event.key() == event.event.key() && waiting.position.offset < event.position.offset
        };
        let older = driver.disk.due.values().find(is_older);
        assert!(older.is_none(), "{older:?} waits although {event:?} replaced it");
    }
}

fn run(acts: &[Act]) {
    let mut driver = Driver::new(WindowSize { ids: 1_000, ..WindowSize::default() });
    driver.open(1, "p", None);
    let mut model = Model::default();
    let (mut sequence, mut number) = (0, 0);
    for act in acts {
        match act {
            Act::Publish(key, ms) | Act::Replace(key, ms) => {
                sequence += 1;
                number += 1;
                let (id, due) = (format!("{number}"), driver.now.after(Millis((*ms).into())));
                let plain = timed(&id, Some(&format!("k{key}")), due);
                let replaces_pending = matches!(act, Act::Replace(..));
                let event = plain.timed(Timing { replaces_pending, ..plain.timing() });
                driver.publish(1, 1, sequence, Try::First, vec![event]);
                model.pending.push((id, due));
            }
            Act::Wait(ms) => driver.now = driver.now.after(Millis((*ms).into())),
            Act::Release(page_max) => drop(release(&mut driver, (*page_max).into())),
            Act::Cancel(what, by_key) => {
                let (key, id) = (format!("k{}", what % 4), format!("{what}"));
                let name = if *by_key { ScheduledName::Key(&key) } else { ScheduledName::Id { source: "s", id: &id } };
                cancel(&mut driver, name);
            }
            Act::Commit => {
                driver.commit();
                model.confirmed.extend(model.pending.drain(..));
            }
            Act::Crash => {
                driver.restart();
                driver.open(1, "p", None);
                sequence = 0;
                model.pending.clear();
            }
        }
        check(&driver, &model);
    }
    // Faults stop: everything that was scheduled is released.
    driver.commit();
    model.confirmed.extend(model.pending.drain(..));
    driver.now = driver.now.after(Millis(100_000));
    while release(&mut driver, 3).events > 0 {
        driver.commit();
        check(&driver, &model);
    }
    assert!(driver.disk.due.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_scheduled_event_is_released_once_never_early_and_none_is_lost(
        acts in proptest::collection::vec(act(), 1..120),
    ) {
        run(&acts);
    }
}
