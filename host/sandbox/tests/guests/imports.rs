//! Imports between guest and core: what arrives there, what comes back, and what is refused before.

use bugle_core::code::Code;
use bugle_core::delivery::CallEnd;
use bugle_core::ids::ClaimId;
use bugle_core::import::{ClaimOutcome, Import, ImportError, Reply};
use bugle_core::time::Millis;
use bugle_sandbox::{Grants, Secret};

use crate::harness::{Bench, PATIENCE};

fn all() -> Grants {
    Grants {
        kv: true,
        pause: true,
        publish: vec!["*".parse().unwrap()],
        secrets: [("signing".to_owned(), Secret::from("whsec_SmVmZQ")), ("open".to_owned(), Secret::from("sesame"))]
            .into(),
        ..Grants::default()
    }
}

fn bench() -> Bench {
    Bench::probe(all(), &[])
}

#[test]
fn settling_twice_reaches_the_core_twice() {
    let ended = bench().run("ack-twice", "{}");
    assert!(matches!(ended.imports.as_slice(), [Import::Ack, Import::Ack]), "{:?}", ended.imports);
}

#[test]
fn the_cores_refusal_is_told_in_its_words() {
    let ended = bench().run_with("ack", "{}", PATIENCE, |import| {
        matches!(import, Import::Ack).then(|| {
            Err(ImportError { code: Code::Settled, message: "too late".to_owned(), retry_after: Some(Millis(5)) })
        })
    });
    assert!(ended.told().contains("settled") && ended.told().contains("too late"), "{}", ended.told());
}

#[test]
fn foreign_tickets_reach_nobody() {
    let bench = bench();
    for kind in ["ack-other", "ack-zero"] {
        let ended = bench.run(kind, "{}");
        assert!(ended.told().contains("stale"), "{kind}: {}", ended.told());
        assert!(ended.imports.is_empty(), "{kind}: {:?}", ended.imports);
    }
    // The ticket of the call before, on the same instance.
    assert_eq!(bench.run("ok", "{}").end, CallEnd::Returned(Ok(())));
    let ended = bench.run("ack-previous", "{}");
    assert!(ended.told().contains("stale") && ended.imports.is_empty(), "{}", ended.told());
}

#[test]
fn claims_come_and_go() {
    let bench = bench();
    let ended = bench.run("claim-confirm", r#"{"key": "order 7", "receipt": "r"}"#);
    assert_eq!(ended.end, CallEnd::Returned(Ok(())));
    match ended.imports.as_slice() {
        [Import::Claim { key, keep, .. }, Import::Confirm { claim: ClaimId(7), receipt: Some(receipt) }] => {
            assert_eq!((key.as_str(), receipt.as_slice()), ("order 7", b"r".as_slice()));
            assert_eq!(*keep, Millis::from_secs(30 * 24 * 3600));
        }
        other => panic!("{other:?}"),
    }
    let done = bench.run_with("claim-confirm", "{}", PATIENCE, |import| {
        matches!(import, Import::Claim { .. }).then(|| Ok(Reply::Claim(ClaimOutcome::Done(Some(b"x".to_vec())))))
    });
    assert_eq!(done.told(), "done Some(\"x\")");
    let busy = bench.run_with("claim-confirm", "{}", PATIENCE, |import| {
        matches!(import, Import::Claim { .. }).then(|| Ok(Reply::Claim(ClaimOutcome::Busy(Millis(40)))))
    });
    assert!(matches!(busy.end, CallEnd::Returned(Err(bugle_core::delivery::Failure::Retry(_)))), "{:?}", busy.end);
    let uncertain = bench.run_with("claim-uncertain", "{}", PATIENCE, |import| {
        let outcome = ClaimOutcome::Claimed { claim: ClaimId(1), uncertain: true };
        matches!(import, Import::Claim { .. }).then(|| Ok(Reply::Claim(outcome)))
    });
    assert_eq!(uncertain.told(), "uncertain true");
}

#[test]
fn an_answer_of_another_import_is_no_reason_to_trap() {
    let ended = bench().run_with("kv-get", "{}", PATIENCE, |import| {
        matches!(import, Import::KvGet { .. }).then_some(Ok(Reply::Count(1)))
    });
    assert!(ended.told().contains("unavailable"), "{}", ended.told());
}

#[test]
fn every_kv_function_arrives() {
    let bench = bench();
    let one = |kind: &str| bench.run(kind, r#"{"key": "k", "value": "v", "ttl": 5}"#).imports;
    assert!(matches!(one("kv-put").as_slice(), [Import::KvPut { ttl: Some(Millis(5)), .. }]));
    assert!(matches!(one("kv-incr").as_slice(), [Import::KvAdd { delta: 1, .. }]));
    assert!(matches!(one("kv-delete").as_slice(), [Import::KvDelete { .. }]));
    assert!(matches!(one("kv-swap").as_slice(), [Import::KvSwap { expect: None, .. }]));
    assert!(matches!(one("kv-scan").as_slice(), [Import::KvScan { limit: 256, .. }]));
}

#[test]
fn follow_ups_and_records_arrive() {
    let bench = bench();
    match bench.run("publish", r#"{"topic": "next"}"#).imports.as_slice() {
        [Import::Publish(events)] => assert_eq!(events[0].topic, "next"),
        other => panic!("{other:?}"),
    }
    match bench.run("records", r#"{"recipient": "user:42", "status": "sent"}"#).imports.as_slice() {
        [Import::Note(note)] => {
            assert_eq!((note.business_key.as_str(), note.recipient.as_str()), ("order 7", "user:42"));
        }
        other => panic!("{other:?}"),
    }
    let ended = bench.run("records", r#"{"status": "lost"}"#);
    assert!(ended.told().contains("invalid") && ended.imports.is_empty(), "{}", ended.told());
}

#[test]
fn secrets_are_used_as_the_manifest_says() {
    let bench = bench();
    let signed = bench.run("sign", r#"{"name": "signing", "data": "what do ya want for nothing?"}"#);
    assert_eq!(signed.told(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_eq!(bench.run("reveal", r#"{"name": "open"}"#).told(), "sesame");
    for (kind, name, line) in [
        ("reveal", "signing", "add `uses = [\"reveal\"]` to [secrets.signing] in plugin.toml"),
        ("sign", "open", "add `uses = [\"sign\"]` to [secrets.open]"),
        ("sign", "other", "add `uses = [\"sign\"]` to [secrets.other]"),
    ] {
        let ended = bench.run(kind, &format!(r#"{{"name": "{name}"}}"#));
        assert!(ended.told().contains("denied") && ended.told().contains(line), "{}", ended.told());
    }
}

#[test]
fn without_grants_everything_is_denied_and_the_line_is_named() {
    let bench = Bench::probe(Grants::default(), &[]);
    for (kind, line) in [
        ("kv-put", "add `kv = true` to [grants] of subscription `orders-probe`"),
        ("kv-get", "add `kv = true`"),
        ("kv-swap", "add `kv = true`"),
        ("kv-incr", "add `kv = true`"),
        ("kv-scan", "add `kv = true`"),
        ("kv-delete", "add `kv = true`"),
        ("pause", "add `pause = true` to [grants] of subscription"),
        ("publish", "add `publish = [\"next\"]` to [grants] of subscription"),
        ("mail", "add `mail = true` to [grants] of subscription"),
        ("deny-http", "add `egress = [\"http://127.0.0.1:1\"]` to [grants] of subscription"),
    ] {
        let ended = bench.run(kind, r#"{"url": "http://127.0.0.1:1/"}"#);
        assert!(ended.told().contains("denied") && ended.told().contains(line), "{kind}: {}", ended.told());
        let reached = ended.imports.iter().any(|import| !matches!(import, Import::EgressStart | Import::EgressEnd(_)));
        assert!(!reached, "{kind}: {:?}", ended.imports);
    }
    let ended = bench.run("sign", r#"{"name": "signing"}"#);
    assert!(ended.told().contains("not-found") && ended.told().contains("[grants.secrets]"), "{}", ended.told());
}

#[test]
fn a_manifest_that_does_not_ask_is_denied_whatever_the_operator_grants() {
    let grants = Grants { egress: vec!["https://other.example".parse().unwrap()], ..all() };
    let ended = Bench::probe(grants, &[]).run("deny-http", r#"{"url": "https://other.example/x"}"#);
    assert!(
        ended.told().contains("add `allow = [\"https://other.example\"]` to [egress] in plugin.toml"),
        "{}",
        ended.told()
    );
}
