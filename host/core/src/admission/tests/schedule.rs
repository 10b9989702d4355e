//! Scheduled events: single cases, and random histories with crashes and clock steps against a naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::driver::{Driver, event};
use super::{driver, parts};
use crate::admission::{Released, WindowSize};
use crate::code::Code;
use crate::event::{Event, StoredEvent, Timing};
use crate::ids::{Offset, TopicId};
use crate::origin::Origin;
use crate::publish::Try;
use crate::row::{Fate, ScheduledTotals};
use crate::schedule::{AHEAD_MAX, DuePage};
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
    /// The clock goes on, by a step perhaps.
    Wait(u16),
    /// Release at most so many.
    Release(u8),
    Commit,
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..4_u8, 0..400_u16).prop_map(|(key, ms)| Act::Publish(key, ms)),
        3 => (0..200_u16).prop_map(Act::Wait),
        1 => (1_000..60_000_u16).prop_map(Act::Wait),
        4 => (1..5_u8).prop_map(Act::Release),
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
        assert!(waiting.contains(id) != copies.contains_key(id), "{id} must wait or be released, one of both");
    }
    let totals = driver.disk.totals.get(&TOPIC).copied().unwrap_or_default();
    assert_eq!(totals.waiting, waiting.len() as u64);
    assert_eq!(totals.released, copies.len() as u64);
}

fn run(acts: &[Act]) {
    let mut driver = Driver::new(WindowSize { ids: 1_000, ..WindowSize::default() });
    driver.open(1, "p", None);
    let mut model = Model::default();
    let (mut sequence, mut number) = (0, 0);
    for act in acts {
        match act {
            Act::Publish(key, ms) => {
                sequence += 1;
                number += 1;
                let (id, due) = (format!("{number}"), driver.now.after(Millis((*ms).into())));
                driver.publish(1, 1, sequence, Try::First, vec![timed(&id, Some(&format!("k{key}")), due)]);
                model.pending.push((id, due));
            }
            Act::Wait(ms) => driver.now = driver.now.after(Millis((*ms).into())),
            Act::Release(page_max) => drop(release(&mut driver, (*page_max).into())),
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
