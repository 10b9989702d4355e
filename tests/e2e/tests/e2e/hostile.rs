//! Guests that misbehave, beside one that does not: each delivery ends as it should, and the neighbour never waits for long.

use std::collections::BTreeMap;
use std::time::Instant;

use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

/// Types of the probe that end as dead letters, and a word of the reason.
const DEADLY: [(&str, &str); 11] = [
    ("trap", "trapped"),
    ("abort", ""),
    ("exit", ""),
    ("spin", "CPU budget"),
    ("alloc", "bytes of memory"),
    ("recurse", ""),
    ("ack-other", "stale"),
    ("ack-zero", "stale"),
    ("claim-trap", ""),
    ("kv-flood", "quota"),
    ("stdout-flood", "out of time"),
];

/// Types that are odd and still end well.
const HARMLESS: [&str; 5] = ["ok", "ack", "ack-twice", "ack-then-nack", "log-flood"];

#[test]
fn hostile_calls_end_as_they_should_and_the_neighbour_keeps_delivering() {
    let scene = Scene::new();
    scene.topic("healthy");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("healthy", Script::default())]);
    scene.apply("healthy", &webhook("healthy", "healthy", &receiver, ""));
    scene.probe(
        "hostile",
        "retry = { attempts_max = 2, first_backoff = \"10ms\", backoff_max = \"10ms\" }\ngrants = { kv = true }",
    );

    let started = Instant::now();
    let hostile = DEADLY.iter().map(|(kind, _)| *kind).chain(HARMLESS);
    scene.store("hostile", hostile.map(|kind| event(&format!("{kind}-1"), kind, &json!({}))));
    let mut slowest = std::time::Duration::ZERO;
    for n in 0..30 {
        let sent = Instant::now();
        scene.store("healthy", [event(&format!("h-{n}"), "order.paid", &json!({}))]);
        bugle_harness::eventually("the neighbour's call", PATIENCE, || (calls.len() > n).then_some(()));
        slowest = slowest.max(sent.elapsed());
    }
    scene.settled("healthy");
    let status = scene.subscription("healthy")["status"].clone();
    assert_eq!((&status["delivered"], &status["retried"], &status["dead"]), (&json!(30), &json!(0), &json!(0)));

    scene.settled("hostile");
    println!("hostile events settled after {:?}; the neighbour's slowest delivery took {slowest:?}", started.elapsed());
    let dead = scene.dead("hostile", DEADLY.len());
    let reasons: BTreeMap<&str, &Value> =
        dead.iter().map(|letter| (letter["event"]["event"]["type"].as_str().unwrap(), &letter["reason"])).collect();
    println!("{reasons:#?}");
    assert_eq!(reasons.len(), DEADLY.len());
    for (kind, word) in DEADLY {
        let reason = reasons[kind].as_str().unwrap();
        assert!(!reason.is_empty() && reason.contains(word), "{kind}: {reason}");
    }
    let status = scene.subscription("hostile")["status"].clone();
    assert_eq!(status["delivered"], json!(HARMLESS.len()));
    scene.get("/v1/status");
}

#[test]
fn what_was_not_granted_is_denied_with_the_line_to_add() {
    let scene = Scene::new();
    scene.probe("bare", "retry = { attempts_max = 1 }");
    let kinds = ["deny-http", "kv-put", "mail", "publish", "sign"];
    scene.store(
        "bare",
        kinds.iter().map(|kind| event(kind, kind, &json!({ "topic": "bare", "url": "http://127.0.0.1:9/" }))),
    );
    for letter in scene.dead("bare", kinds.len()) {
        let reason = letter["reason"].as_str().unwrap();
        println!("{}: {reason}", letter["event"]["event"]["type"]);
        assert!(reason.contains(" - add `"), "{reason}");
    }
}
