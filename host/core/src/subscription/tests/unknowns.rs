//! Deliveries that may have been sent: parked, resolved by a person, removed at their bounds.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::super::{KeptFacts, Resolution, ResolveError, Resolved, Trimmed};
use super::*;
use crate::ids::BootId;
use crate::import::{ClaimOutcome, Strength};
use crate::ledger::{ClaimAsk, ClaimFate, Ledger};
use crate::row::{ClaimRow, ClaimState, UnknownRow, UnknownState};
use crate::spec::{DeadBounds, OnExhausted};
use crate::step::Kept;

const KEEP: Millis = Millis(10_000);

fn parked(writes: &[Write]) -> UnknownRow {
    let row = |write: &Write| if let Write::Unknown { row, .. } = write { Some(row.clone()) } else { None };
    writes.iter().find_map(row).expect("it is parked")
}

fn spec_with_private() -> Subscription {
    Subscription { redelivery: Some(TopicId(9)), ..spec() }
}

/// A call that claimed `order:7`, sent and got no answer.
fn doubtful(ledger: &mut Ledger) -> (Bench, UnknownRow) {
    let mut bench = Bench::new(spec_with_private(), &["a", "a"]);
    let call = bench.started().remove(0);
    let ask = ClaimAsk {
        scope: "s".into(),
        key: "order:7".to_string(),
        ticket: call.ticket,
        owner: SubscriptionId(1),
        strength: Strength::Strong,
        keep: KEEP,
    };
    let (outcome, write) = ledger.claim(bench.now, ask, None);
    let ClaimOutcome::Claimed { claim, .. } = outcome else { panic!("{outcome:?}") };
    ledger.durable(write.expect("strong").1);
    let (write, step) = ledger.release(bench.now, claim, ClaimFate::Uncertain).unwrap().unwrap();
    let event = bench.log[0].clone();
    let verdict = Verdict::Unknown("250?".into());
    bench.machine.handle(
        bench.now,
        Input::Finished { ticket: call.ticket, event, verdict, writes: vec![write], hold: None, pause: None },
        &mut bench.step,
    );
    ledger.durable(step);
    bench.machine.seal(&mut bench.step);
    let row = parked(&std::mem::take(&mut bench.step.writes));
    (bench, row)
}

fn resolve(
    bench: &mut Bench,
    ledger: &mut Ledger,
    row: &UnknownRow,
    resolution: &Resolution,
    stored: Option<&ClaimRow>,
) -> Result<(Resolved, Vec<Write>), ResolveError> {
    let stored = |_: &str, _: &str| stored.cloned();
    let resolved =
        bench.machine.resolve(bench.now, ledger, (row.clone(), resolution, "asked"), stored, &mut bench.step)?;
    bench.machine.seal(&mut bench.step);
    Ok((resolved, std::mem::take(&mut bench.step.writes)))
}

fn uncertain(row: &UnknownRow) -> ClaimRow {
    ClaimRow { state: ClaimState::Uncertain, expires: row.claims[0].expires }
}

fn claim_of(writes: &[Write]) -> Option<Option<ClaimRow>> {
    writes.iter().find_map(|write| if let Write::Claim { row, .. } = write { Some(row.clone()) } else { None })
}

fn copies(writes: &[Write]) -> Vec<(TopicId, bool, bool)> {
    let copy = |write: &Write| {
        let Write::Redeliver { topic, origin, is_late, .. } = write else { return None };
        Some((*topic, *is_late, origin.may_resend))
    };
    writes.iter().filter_map(copy).collect()
}

#[test]
fn what_may_have_been_sent_is_parked_with_the_claims_it_left_and_its_key_goes_on() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    assert_eq!((row.state, row.reference.as_str(), row.attempts), (UnknownState::Open, "250?", 1));
    assert_eq!((row.claims.len(), row.claims[0].key.as_str()), (1, "order:7"));
    let totals = bench.machine.status().unknown;
    assert_eq!((totals.rows, totals.open, totals.removed), (1, 1, 0));
    bench.tick(0);
    let mut calls = bench.started();
    calls.extend(bench.commit().1);
    assert_eq!(offsets(&calls), [1], "its key goes on");
}

#[test]
fn sent_makes_the_claim_done_with_the_receipt_and_delivers_nothing() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    bench.now = bench.now.after(Millis(500));
    let sent = Resolution::Sent { receipt: Some(b"sm-9".to_vec()) };
    let stored = uncertain(&row);
    let (resolved, writes) = resolve(&mut bench, &mut ledger, &row, &sent, Some(&stored)).unwrap();
    assert!(matches!(resolved, Resolved::Now(Some(_))));
    let claim = claim_of(&writes).flatten().expect("it is done");
    assert_eq!(claim.state, ClaimState::Done { receipt: Some(b"sm-9".to_vec()) });
    assert_eq!(claim.expires, bench.now.after(KEEP), "as long as a confirm now would keep it");
    assert_eq!(copies(&writes), []);
    let told = parked(&writes);
    assert_eq!((told.state, told.decided, told.remark.as_str()), (UnknownState::Sent, Some(bench.now), "asked"));
    assert_eq!(bench.machine.status().unknown.open, 0);
    // Said again, nothing happens; said otherwise, it is refused.
    assert_eq!(resolve(&mut bench, &mut ledger, &told, &sent, None), Ok((Resolved::Before, Vec::new())));
    let other = resolve(&mut bench, &mut ledger, &told, &Resolution::NotSent, None);
    assert_eq!(other, Err(ResolveError::Decided(UnknownState::Sent)));
}

#[test]
fn not_sent_frees_the_claim_and_delivers_a_late_copy() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    let stored = uncertain(&row);
    let (_, writes) = resolve(&mut bench, &mut ledger, &row, &Resolution::NotSent, Some(&stored)).unwrap();
    assert_eq!(claim_of(&writes), Some(None), "free");
    assert_eq!(copies(&writes), [(TopicId(9), true, false)]);
}

#[test]
fn not_sent_leaves_a_claim_that_became_certain_or_that_another_delivery_left_in_doubt() {
    for stored in [
        ClaimRow { state: ClaimState::Done { receipt: None }, expires: Timestamp::NEVER },
        ClaimRow { state: ClaimState::Uncertain, expires: Timestamp::NEVER },
        ClaimRow { state: ClaimState::Claimed, expires: Timestamp::NEVER },
    ] {
        let mut ledger = Ledger::new(BootId(1));
        let (mut bench, row) = doubtful(&mut ledger);
        let (resolved, writes) = resolve(&mut bench, &mut ledger, &row, &Resolution::NotSent, Some(&stored)).unwrap();
        assert_eq!((resolved, claim_of(&writes)), (Resolved::Now(None), None), "{stored:?}");
        assert_eq!(copies(&writes).len(), 1, "dedup decides about the copy");
    }
}

#[test]
fn retry_leaves_the_claim_in_doubt_and_lets_the_copy_be_sent() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    let stored = uncertain(&row);
    let (resolved, writes) = resolve(&mut bench, &mut ledger, &row, &Resolution::Retry, Some(&stored)).unwrap();
    assert_eq!((resolved, claim_of(&writes)), (Resolved::Now(None), None));
    assert_eq!(copies(&writes), [(TopicId(9), true, true)]);
}

#[test]
fn nothing_is_told_while_a_call_holds_the_claim() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    let stored = uncertain(&row);
    let ask = ClaimAsk {
        scope: "s".into(),
        key: "order:7".to_string(),
        ticket: Ticket(99),
        owner: SubscriptionId(1),
        strength: Strength::Weak,
        keep: KEEP,
    };
    ledger.claim(bench.now, ask, Some(stored.clone()));
    let held = resolve(&mut bench, &mut ledger, &row, &Resolution::NotSent, Some(&stored));
    assert!(matches!(&held, Err(ResolveError::Held(claim)) if claim.key == "order:7"), "{held:?}");
    assert_eq!((bench.step.writes.len(), bench.machine.status().unknown.open), (0, 1));
}

#[test]
fn without_a_private_topic_only_sent_can_be_said() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    bench.machine.handle(bench.now, Input::Reconfigure(spec()), &mut bench.step);
    let refused = resolve(&mut bench, &mut ledger, &row, &Resolution::Retry, None);
    assert_eq!(refused, Err(ResolveError::NoPrivateTopic));
    assert!(resolve(&mut bench, &mut ledger, &row, &Resolution::Sent { receipt: None }, None).is_ok());
}

#[test]
fn the_oldest_are_removed_at_the_bound_and_those_too_old_as_well() {
    let mut ledger = Ledger::new(BootId(1));
    let (mut bench, row) = doubtful(&mut ledger);
    bench.tick(599_999);
    assert!(!bench.step.actions.contains(&Action::Trim(Kept::Unknown)), "young enough, first look");
    bench.tick(1);
    assert!(bench.step.actions.contains(&Action::Trim(Kept::Unknown)));
    let facts = KeptFacts::from(&row);
    let now = row.at.after(DeadBounds::default().age_max).after(Millis(1));
    let trimmed = bench.machine.trim(now, Kept::Unknown, &[facts], true, &mut bench.step);
    assert_eq!(trimmed, Trimmed { removed: 1, is_done: true });
    assert!(bench.step.writes.iter().any(|write| matches!(write, Write::UnknownGone { .. })));
    let totals = bench.machine.status().unknown;
    assert_eq!((totals.rows, totals.open, totals.removed), (0, 0, 1));
}

#[test]
fn with_ask_doubt_is_tried_again_as_long_as_there_is_a_claim_to_ask_about() {
    let claim = |state| Write::Claim {
        scope: "mail".into(),
        key: "order:7".to_string(),
        row: Some(ClaimRow { state, expires: Timestamp(9_000) }),
    };
    for on_exhausted in [OnExhausted::Skip, OnExhausted::Block] {
        let ask = Subscription { on_unknown: OnUnknown::Ask, on_exhausted, ..spec() };
        let mut bench = Bench::new(ask, &["a"]);
        let end = |bench: &mut Bench, call: &Invocation, writes| {
            let event = bench.log[0].clone();
            let verdict = Verdict::Unknown("250?".into());
            bench.handle(Input::Finished { ticket: call.ticket, event, verdict, writes, hold: None, pause: None });
        };
        let first = bench.started().remove(0);
        assert_eq!(
            first.asks.as_deref(),
            Some(""),
            "nothing is known of an attempt before, and there may have been one"
        );
        end(&mut bench, &first, vec![claim(ClaimState::Uncertain)]);
        let second = bench.commit().1.remove(0);
        assert_eq!(second.asks.as_deref(), Some("250?"));
        end(&mut bench, &second, vec![claim(ClaimState::Uncertain)]);
        let parked = |write: &Write| matches!(write, Write::Unknown { row, .. } if row.claims.len() == 1);
        assert!(bench.commit().0.iter().any(parked), "after the last attempt it is for a person: {on_exhausted:?}");
    }
    let ask = Subscription { on_unknown: OnUnknown::Ask, ..spec() };
    let mut bench = Bench::new(ask, &["a"]);
    let call = bench.started().remove(0);
    bench.end(&call, Verdict::Unknown("250?".into()));
    assert!(bench.commit().0.iter().any(|write| matches!(write, Write::Unknown { .. })), "nothing to ask about");
    let mut bench = Bench::new(spec(), &["a"]);
    assert_eq!(bench.started().remove(0).asks, None);
}
