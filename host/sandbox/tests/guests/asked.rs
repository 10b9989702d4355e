//! A plugin that is asked what became of an effect, on another instance, while its handler waits for the claim.

use std::time::Duration;

use bugle_core::delivery::CallEnd;
use bugle_core::ids::ClaimId;
use bugle_core::import::{ClaimOutcome, Found, Import, Reply};
use bugle_sandbox::{Grants, Limits};

use crate::harness::{Bench, Ended, PATIENCE, limits};

/// A claim that has to be asked about; what was found, and how the call ended when the claim was given after that.
fn ask(bench: &Bench, how: &str, deadline: Duration) -> (Found, Ended) {
    let data = format!(r#"{{"key": "order 7", "ask": "{how}"}}"#);
    let ended = bench.run_with("claim-confirm", &data, deadline, |import| match import {
        Import::Claim { .. } => Some(Ok(Reply::Ask)),
        Import::Reconciled(_) => Some(Ok(Reply::Claim(ClaimOutcome::Claimed { claim: ClaimId(7), uncertain: false }))),
        _ => None,
    });
    let found = ended.imports.iter().find_map(|import| match import {
        Import::Reconciled(found) => Some(found.clone()),
        _ => None,
    });
    (found.expect("an answer comes, whatever happened"), ended)
}

fn why(found: Found) -> String {
    match found {
        Found::Unknown(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_answer_goes_to_the_core_and_the_handler_goes_on() {
    let bench = Bench::probe(Grants::default(), &[]);
    let (found, ended) = ask(&bench, "huge", PATIENCE);
    assert!(matches!(found, Found::Done(Some(receipt)) if receipt.len() > 8_000));
    assert_eq!(ended.end, CallEnd::Returned(Ok(())));
    let (found, ended) = ask(&bench, "unclear", PATIENCE);
    assert!(why(found).contains("not know"));
    let imports = &ended.imports;
    assert!(
        matches!(imports[..], [Import::Claim { .. }, Import::Reconciled(_), Import::Confirm { .. }]),
        "{imports:?}"
    );
}

#[test]
fn a_guest_that_breaks_does_not_know_and_the_handler_lives() {
    let bench = Bench::probe(Grants::default(), &[]);
    for (how, word) in [("trap", "asked to trap"), ("spin", "CPU budget")] {
        let (found, ended) = ask(&bench, how, PATIENCE);
        assert!(why(found).contains(word), "{how}");
        assert_eq!(ended.end, CallEnd::Returned(Ok(())), "{how}");
    }
    assert!(bench.drained(), "the asked instances gave their places back");
}

#[test]
fn without_a_place_for_a_second_instance_nobody_knows() {
    let narrow = Limits { slots: 1, ..limits() };
    let bench = Bench::with(narrow, bugle_egress::Options::default(), Grants::default(), &[]);
    let (found, ended) = ask(&bench, "unclear", PATIENCE);
    assert!(why(found).contains("no slot"));
    assert_eq!(ended.end, CallEnd::Returned(Ok(())));
}

#[test]
fn a_handler_cut_off_while_it_asks_ends_once() {
    let bench = Bench::probe(Grants::default(), &[]);
    let (call, ended, _) = crate::harness::call(
        crate::harness::event("claim-confirm", r#"{"key": "order 7", "ask": "sleep"}"#),
        Duration::from_millis(300),
        |import| matches!(import, Import::Claim { .. }).then(|| Ok(Reply::Ask)),
    );
    bench.sandbox.run(crate::harness::SUBSCRIPTION, vec![call]);
    // Dropped with its delivery, or told that nobody knows in the last moment: either way its end is known.
    let told = bench.runtime.block_on(async { tokio::time::timeout(PATIENCE, ended).await }).unwrap();
    assert!(!matches!(told, Ok(CallEnd::NotStarted(_))), "{told:?}");
    assert!(bench.drained());
}
