//! Records that nothing followed in time: put in doubt, handed on, handed to a person, or left alone.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::super::{LateCounts, LateSends};
use super::*;
use crate::ids::{Attempt, BootId};
use crate::import::{ClaimOutcome, Strength};
use crate::ledger::{ClaimAsk, Ledger};
use crate::origin::{LATE_COPIES_MAX, Origin};
use crate::row::{ClaimName, ClaimRow, ClaimState, Follow, RecordRow, RecordStatus};

const LATE_AFTER: Millis = Millis(1_000);
const KEEP: Millis = Millis(50_000);

fn watched() -> Subscription {
    Subscription { redelivery: Some(TopicId(9)), inbound: true, late_after: Some(LATE_AFTER), ..spec() }
}

fn claim() -> ClaimName {
    ClaimName { scope: "s".into(), key: "order:7".to_string() }
}

fn done() -> ClaimRow {
    ClaimRow { state: ClaimState::Done { receipt: None }, expires: Timestamp(90_000) }
}

fn noted(claim: Option<ClaimName>) -> RecordRow {
    RecordRow {
        business_key: "order:7".to_string(),
        recipient: "user:42".to_string(),
        status: RecordStatus::Sent,
        provider: "p".to_string(),
        provider_reference: "m-1".to_string(),
        detail: "250".to_string(),
        attempt: Attempt(1),
        at: Timestamp(0),
        event_id: "e".to_string(),
        follow: Follow::By { at: Timestamp(0), claim },
    }
}

/// One event, delivered and acked.
fn settled(spec: Subscription) -> Bench {
    let mut bench = Bench::new(spec, &["a"]);
    let call = bench.started().remove(0);
    let event = bench.log[0].clone();
    let (ticket, verdict, writes) = (call.ticket, Verdict::Ack, Vec::new());
    let end = Input::Finished { ticket, event, verdict, writes, hold: None, pause: None };
    bench.machine.handle(bench.now, end, &mut bench.step);
    bench.machine.seal(&mut bench.step);
    bench.step.writes.clear();
    bench
}

fn late(bench: &mut Bench, ledger: &mut Ledger, row: RecordRow, stored: Option<ClaimRow>) -> Vec<Write> {
    let (position, event) = (bench.log[0].position, Some(bench.log[0].clone()));
    let sends = LateSends { position, event, rows: vec![row] };
    bench.machine.late(bench.now, ledger, sends, |_, _| stored.clone(), &mut bench.step);
    std::mem::take(&mut bench.step.writes)
}

fn follow(writes: &[Write]) -> Follow {
    let note = |write: &Write| if let Write::Note { row, .. } = write { Some(row.follow.clone()) } else { None };
    writes.iter().find_map(note).expect("the record is written")
}

fn copies(writes: &[Write]) -> Vec<u8> {
    let late = |write: &Write| if let Write::Redeliver { origin, .. } = write { Some(origin.late) } else { None };
    writes.iter().filter_map(late).collect()
}

#[test]
fn a_claim_that_counted_as_done_is_in_doubt_as_long_as_it_was_kept_and_a_copy_follows() {
    let (mut ledger, mut bench) = (Ledger::new(BootId(1)), settled(watched()));
    let writes = late(&mut bench, &mut ledger, noted(Some(claim())), Some(done()));
    let uncertain = ClaimRow { state: ClaimState::Uncertain, ..done() };
    let put = |write: &Write| matches!(write, Write::Claim { row: Some(row), .. } if *row == uncertain);
    assert!(writes.iter().any(put), "{writes:?}");
    assert_eq!((follow(&writes), copies(&writes)), (Follow::HandedOn, vec![1]));
    assert_eq!(bench.machine.late_counts(), LateCounts { copies: 1, for_people: 0 });
}

#[test]
fn without_a_claim_or_its_event_or_another_copy_it_is_a_persons() {
    let (mut ledger, mut bench) = (Ledger::new(BootId(1)), settled(watched()));
    let forgotten = ClaimRow { expires: Timestamp(0), ..done() };
    for (claim, stored) in [(None, Some(done())), (Some(claim()), None), (Some(claim()), Some(forgotten))] {
        let writes = late(&mut bench, &mut ledger, noted(claim), stored);
        assert_eq!((follow(&writes), copies(&writes), writes.len()), (Follow::ForAPerson, vec![], 1));
    }
    let sends = LateSends { position: bench.log[0].position, event: None, rows: vec![noted(Some(claim()))] };
    bench.machine.late(bench.now, &mut ledger, sends, |_, _| Some(done()), &mut bench.step);
    assert_eq!(follow(&std::mem::take(&mut bench.step.writes)), Follow::ForAPerson);
    assert_eq!(bench.machine.late_counts(), LateCounts { copies: 0, for_people: 4 });
    let first = Origin::of(SubscriptionId(1), None, &bench.log[0]);
    assert!(Origin { late: LATE_COPIES_MAX, ..first }.is_for_a_person());
}

#[test]
fn what_is_not_settled_or_held_by_a_call_is_looked_at_later_and_what_is_not_watched_never() {
    let mut ledger = Ledger::new(BootId(1));
    let mut bench = Bench::new(watched(), &["a"]);
    let call = bench.started().remove(0);
    bench.step.writes.clear();
    let writes = late(&mut bench, &mut ledger, noted(Some(claim())), Some(done()));
    let later = |after| Follow::By { at: bench.now.after(after), claim: Some(claim()) };
    assert_eq!((follow(&writes), copies(&writes)), (later(LATE_AFTER), vec![]), "it is tried on by itself");

    let mut bench = settled(watched());
    let ClaimName { scope, key } = claim();
    let (owner, strength) = (SubscriptionId(1), Strength::Strong);
    let ask = ClaimAsk { scope, key, ticket: call.ticket, owner, strength, keep: KEEP };
    let (outcome, _) = ledger.claim(bench.now, ask, None);
    assert!(matches!(outcome, ClaimOutcome::Claimed { .. }));
    let writes = late(&mut bench, &mut ledger, noted(Some(claim())), Some(done()));
    assert!(matches!(follow(&writes), Follow::By { at, .. } if at > bench.now) && copies(&writes).is_empty());

    let mut bench = settled(Subscription { late_after: None, ..watched() });
    let writes = late(&mut bench, &mut ledger, noted(Some(claim())), Some(done()));
    assert_eq!((follow(&writes), copies(&writes)), (Follow::Unwatched, vec![]));
}
