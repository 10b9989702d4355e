//! The plugin is asked about a claim that was left uncertain, before it is given.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::import::Found;
use crate::row::ClaimRow;

/// A ledger in which an earlier call left `order:7` uncertain.
fn doubtful() -> Ledger {
    let mut ledger = Ledger::new(BootId(1));
    let ask = ClaimAsk {
        scope: Name::from("sms"),
        key: "order:7".to_string(),
        ticket: Ticket(4),
        owner: SubscriptionId(1),
        strength: Strength::Strong,
        keep: Millis(1000),
    };
    let (outcome, _) = ledger.claim(NOW, ask, None);
    let ClaimOutcome::Claimed { claim, .. } = outcome else { panic!("{outcome:?}") };
    ledger.release(NOW, claim, ClaimFate::Uncertain).unwrap();
    ledger
}

/// A call of a subscription with `ask` that claimed `order:7`, which an earlier one left uncertain.
fn asked() -> Driver {
    asked_in(Settles::AtReturn)
}

fn asked_in(settles: Settles) -> Driver {
    let mut call = call_with(settles, true);
    call.ledger = doubtful();
    assert_eq!(call.import(claiming()), Ok(Reply::Ask));
    call
}

fn claiming() -> Import {
    Import::Claim { key: "order:7".to_string(), strength: Strength::Strong, keep: Millis(1000) }
}

fn found(call: &mut Driver, found: Found) -> ImportResult {
    call.import(Import::Reconciled(found))
}

fn unknown() -> Found {
    Found::Unknown("no answer".to_string())
}

fn last_claim(call: &Driver) -> Option<ClaimRow> {
    let rows = call.batches.iter().flatten();
    let rows = rows.filter_map(|write| if let Write::Claim { row, .. } = write { Some(row.clone()) } else { None });
    rows.last().expect("a claim was written")
}

#[test]
fn what_was_done_is_done_and_the_guest_is_told_its_receipt() {
    let mut call = asked();
    call.send(Sent::Answered);
    let done = Ok(Reply::Claim(ClaimOutcome::Done(Some(vec![7]))));
    assert_eq!(found(&mut call, Found::Done(Some(vec![7]))), done);
    assert_eq!(last_claim(&call).map(|row| row.state), Some(ClaimState::Done { receipt: Some(vec![7]) }));
    assert_eq!(call.import(claiming()), done, "and again");
    let ended = call.finish(CallEnd::Returned(Ok(())));
    assert_eq!((ended.verdict, ended.confirms.len(), ended.releases.len()), (Verdict::Ack, 0, 0));
}

#[test]
fn a_receipt_that_is_too_large_is_left_out() {
    let mut call = asked();
    let receipt = Some(vec![0; 5_000]);
    assert_eq!(found(&mut call, Found::Done(receipt)), Ok(Reply::Claim(ClaimOutcome::Done(None))));
}

#[test]
fn what_was_not_sent_is_given_as_a_new_claim() {
    let mut call = asked();
    let given = found(&mut call, Found::NotSent);
    let Ok(Reply::Claim(ClaimOutcome::Claimed { claim, uncertain: false })) = given else { panic!("{given:?}") };
    call.send(Sent::Answered);
    assert_eq!(call.import(Import::Confirm { claim, receipt: None }), Ok(Reply::Done));
    assert_eq!(call.finish(CallEnd::Returned(Ok(()))).verdict, Verdict::Ack);
}

#[test]
fn what_nobody_knows_is_unknown_whatever_the_guest_makes_of_it() {
    let ends = [CallEnd::Returned(Ok(())), nack(), CallEnd::Returned(Err(Failure::Unknown("mine".to_string())))];
    for settles in [Settles::AtReturn, Settles::AtCall] {
        for end in ends.clone() {
            let mut call = asked_in(settles);
            assert_eq!(found(&mut call, unknown()).unwrap_err().code, Code::Uncertain);
            for import in [claiming(), Import::EgressStart, Import::Ack, Import::KvGet { key: "a".to_string() }] {
                assert_eq!(call.code(import), Code::Settled, "nothing more leaves");
            }
            let ended = call.finish(end);
            assert_eq!(ended.verdict, Verdict::Unknown("no answer".to_string()));
            let fates: Vec<ClaimFate> = ended.releases.iter().map(|end| end.fate).collect();
            assert_eq!((fates, ended.confirms.len()), (vec![ClaimFate::Uncertain], 0));
        }
    }
}

#[test]
fn a_call_that_is_stopped_while_it_asks_leaves_the_claim_uncertain() {
    let mut call = asked();
    call.import(Import::EgressStart).unwrap();
    let mut ledger = call.ledger;
    let ended = call.attempt.finish(NOW, CallEnd::TimedOut("30 s".to_string()));
    let [release] = &ended.releases[..] else { panic!("{ended:?}") };
    let row = ledger.release(NOW, release.claim, release.fate).unwrap();
    assert!(matches!(row, Some((Write::Claim { row: Some(ClaimRow { state: ClaimState::Uncertain, .. }), .. }, _))));
}

#[test]
fn while_it_asks_a_guest_only_calls_out_and_that_is_no_evidence() {
    let mut call = asked();
    for import in [
        Import::Ack,
        claiming(),
        Import::KvGet { key: "a".to_string() },
        Import::Publish(vec![]),
        Import::Release { claim: ClaimId(2) },
        Import::Extend(Millis(1)),
    ] {
        assert_eq!(call.code(import), Code::Invalid);
    }
    call.send(Sent::Maybe);
    let given = found(&mut call, Found::NotSent);
    let Ok(Reply::Claim(ClaimOutcome::Claimed { claim, .. })) = given else { panic!("{given:?}") };
    assert_eq!(call.import(Import::Release { claim }), Ok(Reply::Done), "what was asked is no effect");
    assert_eq!(call.code(Import::Reconciled(Found::NotSent)), Code::Invalid, "nothing was asked");
}

#[test]
fn without_the_policy_or_without_doubt_nobody_asks() {
    let mut call = call_with(Settles::AtReturn, true);
    assert!(matches!(call.import(claiming()), Ok(Reply::Claim(ClaimOutcome::Claimed { uncertain: false, .. }))));
    let mut resends = call_with(Settles::AtReturn, false);
    resends.ledger = doubtful();
    assert!(matches!(resends.import(claiming()), Ok(Reply::Claim(ClaimOutcome::Claimed { uncertain: true, .. }))));
}
