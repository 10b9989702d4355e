//! The event that tells how a delivery ended: in the batch of the end, and none of what was told.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::records::end_next;
use super::*;
use crate::import::NewEvent;
use crate::origin::{HOPS_ATTRIBUTE, ORIGIN_ATTRIBUTE, Origin};
use crate::spec::OnExhausted;

const OUTCOMES: TopicId = TopicId(7);
const PRIVATE: TopicId = TopicId(9);

/// An attribute of an outcome; empty if it has none of the name.
fn of(event: &NewEvent, wanted: &str) -> String {
    event.attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap_or_default()
}

fn events(writes: &[Write]) -> Vec<(&NewEvent, u32)> {
    let mut told = Vec::new();
    for write in writes {
        if let Write::Outcome { topic: OUTCOMES, event, hops, .. } = write {
            told.push((event, *hops));
        }
    }
    told
}

/// Outcome, hops and cause of each.
fn outcomes(writes: &[Write]) -> Vec<(String, u32, String)> {
    events(writes).into_iter().map(|(event, hops)| (of(event, "outcome"), hops, of(event, "cause"))).collect()
}

fn telling() -> Subscription {
    Subscription {
        settled: Some(OUTCOMES),
        topics: vec![TopicId(1), OUTCOMES],
        redelivery: Some(PRIVATE),
        on_exhausted: OnExhausted::Skip,
        ..spec()
    }
}

/// The first event has these attributes too.
fn stamp(bench: &mut Bench, attributes: &[(&str, &str)]) {
    let (mut tail, mut spans) = (String::new(), Vec::new());
    for (name, value) in attributes {
        let mut add = |part: &str| {
            let start = tail.len() as u32;
            tail.push_str(part);
            Span { start, len: part.len() as u32 }
        };
        spans.push((add(name), add(value)));
    }
    bench.log[0].event = bench.log[0].event.extended(tail.as_bytes(), &spans);
}

#[test]
fn the_end_of_a_delivery_is_an_event_and_a_retry_is_none() {
    let mut bench = Bench::new(telling(), &["b", "b"]);
    assert_eq!(outcomes(&end_next(&mut bench, Verdict::Ack)), [("sent".into(), 1, String::new())]);
    assert_eq!(outcomes(&end_next(&mut bench, nack())), []);
    let given_up = end_next(&mut bench, Verdict::Reject("no such\nuser".into()));
    assert_eq!(outcomes(&given_up), [("dead".into(), 1, "rejected: no such user".into())]);
    let (event, _) = events(&given_up)[0];
    assert_eq!((event.id.as_deref(), event.key.as_deref()), (Some("mail/0-1/dead"), Some("b")));
    assert_eq!((of(event, "subscription"), of(event, "eventposition")), ("mail".into(), "0-1".into()));
    assert_eq!(of(event, "attempts"), "2");
}

#[test]
fn it_says_what_the_event_was_about() {
    let spec = Subscription { business_key: Some("order".into()), ..telling() };
    let mut bench = Bench::new(spec, &["a"]);
    stamp(&mut bench, &[("order", "7"), ("businesskey", "other")]);
    let writes = end_next(&mut bench, Verdict::Ack);
    let (event, _) = events(&writes)[0];
    assert_eq!((of(event, "eventbusinesskey"), of(event, "businesskey")), ("7".into(), String::new()));
}

#[test]
fn what_may_have_been_sent_is_told_and_told_again_when_a_person_spoke() {
    let spec = Subscription { on_unknown: crate::spec::OnUnknown::Park, ..telling() };
    let mut bench = Bench::new(spec, &["a"]);
    let writes = end_next(&mut bench, Verdict::Unknown("250?".into()));
    assert_eq!(outcomes(&writes), [("unknown".into(), 1, "maybe sent: 250?".into())]);
    let row =
        writes.iter().find_map(|write| if let Write::Unknown { row, .. } = write { Some(row.clone()) } else { None });
    let mut ledger = crate::ledger::Ledger::new(crate::ids::BootId(1));
    let sent = super::super::Resolution::Sent { receipt: None };
    let told = (row.expect("it is parked"), &sent, "");
    bench.machine.resolve(bench.now, &mut ledger, told, |_, _| None, &mut bench.step).unwrap();
    bench.machine.seal(&mut bench.step);
    let writes = std::mem::take(&mut bench.step.writes);
    assert_eq!(outcomes(&writes), [("sent".into(), 1, "a person said that it was sent".into())]);
}

#[test]
fn what_comes_from_the_topic_of_outcomes_has_none() {
    let mut bench = Bench::new(telling(), &["a"]);
    bench.log[0].topic = OUTCOMES;
    assert_eq!(outcomes(&end_next(&mut bench, Verdict::Ack)), []);
    let mut replayed = Bench::new(telling(), &["a"]);
    let origin = Origin { topic: OUTCOMES, ..Origin::of(replayed.machine.spec.id, None, &replayed.log[0]) };
    stamp(&mut replayed, &[(ORIGIN_ATTRIBUTE, &origin.to_string())]);
    replayed.log[0].topic = PRIVATE;
    assert_eq!(outcomes(&end_next(&mut replayed, Verdict::Ack)), [], "nor does a copy of it");
}

#[test]
fn a_chain_of_events_that_came_of_each_other_ends() {
    for (hops, wanted) in [("15", vec![("sent".into(), 16, String::new())]), ("16", vec![]), ("4000000000", vec![])] {
        let mut bench = Bench::new(telling(), &["a"]);
        stamp(&mut bench, &[(HOPS_ATTRIBUTE, hops)]);
        assert_eq!(outcomes(&end_next(&mut bench, Verdict::Ack)), wanted, "after {hops}");
    }
}
