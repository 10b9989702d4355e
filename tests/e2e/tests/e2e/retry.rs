//! What an answer of a receiver leads to: wait as told, give up, pause.

use std::time::Duration;

use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, event, keyed, webhook};

fn scene(script: Script, more: &str) -> (Scene, bugle_receivers::HttpReceiver, bugle_receivers::Journal) {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", script)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, more));
    (scene, receiver, calls)
}

#[test]
fn retry_after_is_obeyed_and_holds_back_the_key() {
    let busy = Script { busy: 1000, retry_after_s: 2, ..Script::default() };
    let (scene, _receiver, calls) = scene(busy, "");
    scene.store("orders", [keyed("first", "t", "k", &json!({})), keyed("second", "t", "k", &json!({}))]);
    scene.settled("hook");
    let calls = calls.calls();
    let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["first", "first", "second", "second"], "in order, each refused once");
    for pair in [&calls[0..2], &calls[2..4]] {
        let waited = Duration::from_micros(pair[1].at_us - pair[0].done_us);
        assert!(waited >= Duration::from_secs(2), "came back after {waited:?}");
        assert_eq!(pair[0].idempotency_key, pair[1].idempotency_key);
    }
}

#[test]
fn a_delivery_that_fails_to_the_end_is_a_dead_letter_with_its_history() {
    let failing = Script { fail: 1000, faulty_calls: 100, ..Script::default() };
    let (scene, receiver, calls) = scene(failing, "");
    let definition = webhook("hook", "orders", &receiver, "").replace("retry = { ", "retry = { attempts_max = 3, ");
    scene.apply("hook", &definition);
    scene.store("orders", [event("a", "order.paid", &json!({ "order": 7 }))]);
    let dead = scene.dead("hook", 1);
    assert_eq!((&dead[0]["cause"], &dead[0]["attempts"]), (&json!("attempts-exhausted"), &json!(3)));
    assert_eq!(dead[0]["event"]["event"]["data"], json!({ "order": 7 }));
    assert!(dead[0]["reason"].as_str().unwrap().contains("500"), "{}", dead[0]);
    scene.settled("hook");
    assert_eq!(calls.calls().len(), 3);
}

#[test]
fn a_refusal_for_good_is_not_repeated() {
    let rejecting = Script { reject: 1000, ..Script::default() };
    let (scene, _receiver, calls) = scene(rejecting, "");
    scene.store("orders", [event("a", "order.paid", &json!({}))]);
    let dead = scene.dead("hook", 1);
    assert_eq!((&dead[0]["cause"], &dead[0]["attempts"]), (&json!("rejected"), &json!(1)));
    assert!(dead[0]["reason"].as_str().unwrap().contains("422: not this one"), "{}", dead[0]);
    assert_eq!(calls.calls().len(), 1);
}

#[test]
fn a_receiver_that_is_gone_pauses_its_subscription_until_resumed() {
    let gone = Script { gone: true, ..Script::default() };
    let (scene, receiver, calls) = scene(gone, "concurrency = 1");
    scene.store("orders", (0..10).map(|n| keyed(&format!("e-{n}"), "order.paid", "k", &json!({}))));
    let paused = eventually("the subscription to pause", PATIENCE, || {
        let view = scene.subscription("hook");
        (view["state"] == "paused").then_some(view)
    });
    assert_eq!(paused["paused"]["by"], "plugin");
    assert!(paused["paused"]["reason"].as_str().unwrap().contains("410"), "{paused}");
    assert_eq!(scene.dead("hook", 1).len(), 1, "the one that was told 410");
    assert_eq!(calls.calls().len(), 1, "nothing is sent while paused");
    receiver.rewrite("/hook", Script::default());
    scene.host.cli(&["subscription", "resume", "hook"]).unwrap();
    scene.settled("hook");
    let ids: Vec<String> = calls.calls().into_iter().map(|call| call.id).collect();
    assert_eq!(ids, (0..10).map(|n| format!("e-{n}")).collect::<Vec<_>>());
}

#[test]
fn an_unanswered_call_goes_out_again_under_the_same_id() {
    let hanging = Script { hang: 1000, ..Script::default() };
    let (scene, _receiver, calls) = scene(hanging, "");
    scene.store("orders", [event("a", "order.paid", &json!({}))]);
    scene.settled("hook");
    let calls = calls.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].idempotency_key, calls[1].idempotency_key);
    assert!(!calls[0].idempotency_key.is_empty());
}
