//! Deliveries that may have been sent, as an operator meets them, and send records beside the receiver's own log.

use std::collections::BTreeMap;

use bugle_harness::eventually;
use bugle_receivers::{Journal, Script};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, keyed, webhook};

fn cli(scene: &Scene, arguments: &[&str]) -> Value {
    let answer = scene.host.cli(&[arguments, &["--json"]].concat()).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn refused(scene: &Scene, arguments: &[&str], words: &[&str]) {
    let told = scene.host.cli(arguments).unwrap_err().to_string();
    for word in words {
        assert!(told.contains(word), "{arguments:?}: {told}");
    }
}

/// The first call of each event breaks off in the middle of its answer, and the subscription parks what may have been sent.
fn parking(more: &str) -> (Scene, bugle_receivers::http::HttpReceiver, Journal) {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let breaking = Script { broken: 1000, faulty_calls: 1, ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", breaking)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, &format!("uncertain = \"park\"\n{more}")));
    (scene, receiver, calls)
}

fn open(scene: &Scene, count: usize) -> Vec<Value> {
    eventually(&format!("{count} unknown results"), PATIENCE, || {
        let unknown = cli(scene, &["unknown", "list", "hook", "--state", "open"]);
        let unknown = unknown.as_array().unwrap().clone();
        (unknown.len() == count).then_some(unknown)
    })
}

#[test]
fn a_person_says_what_became_of_what_may_have_been_sent() {
    let (mut scene, _receiver, calls) = parking("records = true");
    let ids = ["sent", "not-sent", "retried"];
    let positions = scene.store("orders", ids.map(|id| keyed(id, "order.paid", "k", &json!({ "id": id }))));
    let unknown = open(&scene, 3);
    assert_eq!(calls.calls().len(), 3, "one call each, and no key waits for a person");
    let claimed = unknown[0]["claims"].as_array().unwrap();
    assert_eq!(claimed, &[unknown[0]["idempotency_key"].clone()], "the webhook claims its idempotency key");
    assert!(scene.host.cli(&["status"]).unwrap().contains("3 deliveries may have been sent"));
    let explained = cli(&scene, &["explain", &positions[0]]);
    assert_eq!(explained["subscriptions"][0]["state"], json!("unknown"));
    let records = cli(&scene, &["record", "late", "--older", "0s", "--subscription", "hook"]);
    assert_eq!(records.as_array().unwrap().len(), 3, "a person has to follow: {records}");
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    open(&scene, 3);

    refused(&scene, &["unknown", "resolve", "hook", "--as", "retry"], &["3 unknown results", "--yes"]);
    refused(&scene, &["unknown", "resolve", "hook", "0-99", "--as", "sent"], &["[not-found]", "unknown list hook"]);
    refused(&scene, &["unknown", "resolve", "hook", &positions[0], "--as", "lost"], &["not-sent"]);
    let receipt = ["unknown", "resolve", "hook", &positions[0], "--as", "retry", "--receipt", "1"];
    refused(&scene, &receipt, &["[invalid]", "with `sent` only"]);

    let say = |id: usize, word: &str| cli(&scene, &["unknown", "resolve", "hook", &positions[id], "--as", word]);
    let now = json!({ "resolved": 1, "before": 0, "skipped": 0 });
    assert_eq!(say(0, "sent"), now);
    assert_eq!(say(1, "not-sent"), now);
    assert_eq!(say(2, "retry"), now);
    assert_eq!(say(1, "not-sent"), json!({ "resolved": 0, "before": 1, "skipped": 0 }), "said before");
    refused(&scene, &["unknown", "resolve", "hook", &positions[0], "--as", "retry"], &["[conflict]", "as sent"]);
    scene.settled("hook");
    eventually("both copies to arrive", PATIENCE, || (calls.calls().len() == 5).then_some(()));

    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in calls.calls() {
        keys.entry(call.id).or_default().push(call.idempotency_key);
    }
    let counts: Vec<usize> = ids.iter().map(|id| keys[*id].len()).collect();
    assert_eq!(counts, [1, 2, 2], "what was sent is not sent again");
    assert!(keys.values().all(|keys| keys.iter().all(|key| *key == keys[0])), "under its first key: {keys:?}");
    open(&scene, 0);
    let audit = cli(&scene, &["audit", "list", "--since", "1h"]);
    let told = |action: &&Value| action["action"] == "unknown.resolve";
    assert_eq!(audit.as_array().unwrap().iter().filter(told).count(), 3, "{audit}");
    let records = cli(&scene, &["record", "find", "--event", "sent"]);
    let own: Vec<&Value> = records.as_array().unwrap().iter().filter(|record| record["recipient"] == "").collect();
    assert_eq!((own.len(), &own[0]["status"]), (1, &json!("sent")), "{records}");
    assert_eq!(cli(&scene, &["record", "late", "--older", "0s"]), json!([]), "nothing has to follow any more");
}

#[test]
fn send_records_agree_with_the_receivers_log_over_a_kill() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let script = Script { fail: 400, reject: 200, faulty_calls: 2, ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", script)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, "records = true"));
    let events = |from: u32, to: u32| {
        (from..to)
            .map(|n| keyed(&format!("e-{n}"), "t", &format!("k-{}", n % 10), &json!({ "n": n })))
            .collect::<Vec<_>>()
    };
    scene.store("orders", events(0, 40));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.store("orders", events(40, 60));
    scene.settled("hook");
    let mut answered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in calls.calls() {
        answered.entry(call.id.clone()).or_default().push(serde_json::to_value(call.answer).unwrap().to_string());
    }
    for n in 0..60 {
        let id = format!("e-{n}");
        let records = cli(&scene, &["record", "find", "--event", &id]);
        let records = records.as_array().unwrap();
        let own: Vec<&Value> = records.iter().filter(|record| record["recipient"] == "").collect();
        assert_eq!(own.len(), 1, "one record of the delivery of {id}: {records:?}");
        let was_taken = answered[&id].iter().any(|answer| answer.contains("accepted"));
        let expected = if was_taken { "sent" } else { "dead" };
        assert_eq!(own[0]["status"], json!(expected), "{id}: {:?} and {own:?}", answered[&id]);
        let noted = records.iter().any(|record| record["recipient"] != "" && record["status"] == "sent");
        assert_eq!(noted, was_taken, "the plugin noted what it sent: {records:?}");
    }
    refused(&scene, &["record", "find"], &["--recipient"]);
    let told = scene.host.cli(&["record", "find", "--event", "nowhere"]).unwrap();
    assert!(told.contains("no records"), "{told}");
}
