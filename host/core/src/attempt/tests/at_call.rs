//! Verdicts that take effect at the call, as those of a call for several deliveries do.

use super::*;

fn call() -> Driver {
    call_that_settles(Settles::AtCall)
}

#[test]
fn ack_at_the_call_takes_everything_buffered_with_it_once() {
    let mut driver = call();
    driver.put("a", "1");
    let claim = driver.claim("order:7");
    assert_eq!(driver.import(Import::Ack), Ok(Reply::Done));
    let ended = &driver.ended[0];
    assert_eq!((&ended.verdict, keys(&ended.transaction)), (&Verdict::Ack, vec!["a"]));
    assert_eq!(ended.confirms, [claim]);
    assert_eq!(driver.import(Import::Ack), Ok(Reply::Done), "the same answer again");
    assert_eq!(driver.ended.len(), 1);
}

#[test]
fn other_verdicts_at_the_call_discard_what_was_buffered() {
    let cases = [
        (Import::Nack(retry()), Verdict::Nack(retry())),
        (Import::Reject("no".to_string()), Verdict::Reject("no".to_string())),
        (Import::Defer(Timestamp(60_000)), Verdict::Defer(Timestamp(60_000))),
    ];
    for (import, verdict) in cases {
        let mut driver = call();
        driver.put("a", "1");
        let claim = driver.claim("order:7");
        assert_eq!(driver.import(import), Ok(Reply::Done));
        let ended = &driver.ended[0];
        assert_eq!((&ended.verdict, &ended.transaction), (&verdict, &Transaction::default()));
        assert_eq!(ended.releases.iter().map(|end| end.claim).collect::<Vec<_>>(), [claim]);
    }
}

#[test]
fn after_its_verdict_a_delivery_takes_nothing_more() {
    let mut driver = call();
    driver.import(Import::Reject("no".to_string())).unwrap();
    let others = [
        Import::Ack,
        Import::Nack(retry()),
        Import::KvGet { key: "a".to_string() },
        Import::Hold(Millis(5)),
        Import::EgressStart,
    ];
    for import in others {
        assert_eq!(driver.code(import), Code::Settled);
    }
    assert_eq!(driver.ended.len(), 1);
}

#[test]
fn what_became_of_the_verdict_is_told_the_same_again_and_again() {
    let cases = [
        (Settlement::Lapsed, Code::Stale),
        (Settlement::Conflict, Code::Conflict),
        (Settlement::Failed, Code::Invalid),
    ];
    for (settlement, code) in cases {
        let mut driver = call();
        driver.settlement = settlement;
        assert_eq!((driver.code(Import::Ack), driver.code(Import::Ack)), (code, code));
        assert_eq!(driver.ended.len(), 1);
    }
}

#[test]
fn without_a_verdict_at_the_call_the_return_decides() {
    let mut driver = call();
    driver.put("a", "1");
    let ended = driver.finish(CallEnd::Returned(Ok(())));
    assert_eq!((&ended.verdict, keys(&ended.transaction)), (&Verdict::Ack, vec!["a"]));
    let mut driver = call_that_settles(Settles::AtCall);
    driver.put("a", "1");
    let ended = driver.finish(CallEnd::Trapped("unreachable".to_string()));
    assert!(matches!(ended.verdict, Verdict::Broke(_)));
    assert_eq!(ended.transaction, Transaction::default());
}
