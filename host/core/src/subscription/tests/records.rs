//! The send record of a delivery: what it says at each turn, in the batch of that turn.

use std::vec::Vec;

use super::super::{Decision, Resolution};
use super::*;
use crate::ids::BootId;
use crate::ledger::Ledger;
use crate::row::RecordStatus::{self, Attempted, Dead, Manual, Scheduled, Sent, Suppressed, Unknown};
use crate::spec::OnExhausted;

fn with_records(on_exhausted: OnExhausted) -> Subscription {
    Subscription { records: true, redelivery: Some(TopicId(9)), on_exhausted, ..spec() }
}

fn records(writes: &[Write]) -> Vec<(RecordStatus, u32, &str)> {
    let rows = writes.iter().filter_map(|write| if let Write::Record { row, .. } = write { Some(row) } else { None });
    rows.map(|row| (row.status, row.attempt.0, row.detail.as_str())).collect()
}

/// The next attempt ends like this; what that wrote.
pub(super) fn end_next(bench: &mut Bench, verdict: Verdict) -> Vec<Write> {
    let mut calls = bench.started();
    calls.extend(bench.commit().1);
    bench.tick(60);
    calls.extend(bench.started());
    calls.extend(bench.commit().1);
    let call = calls.into_iter().next().expect("one is started");
    bench.end(&call, verdict);
    bench.machine.seal(&mut bench.step);
    let writes = std::mem::take(&mut bench.step.writes);
    bench.keep_rows(&writes);
    writes
}

#[test]
fn an_acked_delivery_is_sent_and_its_record_is_in_the_batch_of_the_cursor() {
    let mut bench = Bench::new(with_records(OnExhausted::Skip), &["a"]);
    let writes = end_next(&mut bench, Verdict::Ack);
    assert_eq!(records(&writes), [(Sent, 1, "")]);
    assert!(writes.iter().any(|write| matches!(write, Write::Cursor { .. })));
    let row = writes.iter().find_map(|write| if let Write::Record { row, .. } = write { Some(row) } else { None });
    let row = row.expect("there is one");
    assert_eq!((row.recipient.as_str(), row.at), ("", bench.now), "recipients are the plugin's to note");
}

#[test]
fn without_records_nothing_is_written() {
    let mut bench = Bench::new(spec(), &["a"]);
    assert_eq!(records(&end_next(&mut bench, Verdict::Ack)), []);
}

#[test]
fn failed_attempts_are_told_until_it_is_dead() {
    let mut bench = Bench::new(with_records(OnExhausted::Skip), &["a"]);
    assert_eq!(records(&end_next(&mut bench, Verdict::Defer(Timestamp(0)))), [(Scheduled, 1, "")]);
    bench.tick(1_000);
    let first = end_next(&mut bench, nack());
    assert_eq!(records(&first).iter().map(|told| (told.0, told.1)).collect::<Vec<_>>(), [(Attempted, 1)]);
    let last = end_next(&mut bench, nack());
    let told = records(&last);
    assert_eq!(told.iter().map(|told| (told.0, told.1)).collect::<Vec<_>>(), [(Dead, 2)]);
    assert!(told[0].2.starts_with("attempts-exhausted"), "{told:?}");
}

#[test]
fn a_parked_key_is_manual_until_a_person_gives_it_up() {
    let mut bench = Bench::new(with_records(OnExhausted::ParkKey), &["a"]);
    let writes = end_next(&mut bench, Verdict::Reject("no such user".into()));
    assert_eq!(records(&writes), [(Manual, 1, "rejected: no such user")]);
    let letter =
        writes.iter().find_map(|write| if let Write::Dead { row, .. } = write { Some(row.clone()) } else { None });
    bench.machine.decide(bench.now, letter.expect("a letter"), Decision::Dismiss, &mut bench.step).unwrap();
    assert_eq!(records(&bench.step.writes), [(Dead, 1, "a person gave it up")]);
}

#[test]
fn an_unknown_result_is_told_and_so_is_what_a_person_says_of_it() {
    for (resolution, told) in [
        (Resolution::Sent { receipt: None }, (Sent, "a person said that it was sent (asked)")),
        (Resolution::NotSent, (Suppressed, "a person said that it was not sent: a copy follows (asked)")),
        (Resolution::Retry, (Suppressed, "maybe sent, and a person had a copy of it sent (asked)")),
    ] {
        let mut bench = Bench::new(with_records(OnExhausted::Skip), &["a"]);
        let writes = end_next(&mut bench, Verdict::Unknown("250?".into()));
        assert_eq!(records(&writes), [(Unknown, 1, "maybe sent: 250?")]);
        let row = writes
            .iter()
            .find_map(|write| if let Write::Unknown { row, .. } = write { Some(row.clone()) } else { None });
        let row = (row.expect("it is parked"), &resolution, "asked");
        let mut ledger = Ledger::new(BootId(1));
        bench.machine.resolve(bench.now, &mut ledger, row, |_, _| None, &mut bench.step).unwrap();
        assert_eq!(records(&bench.step.writes), [(told.0, 1, told.1)]);
    }
}
