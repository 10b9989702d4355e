//! What survives: ids over a kill, everything over a SIGTERM.

use std::time::Duration;

use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, event, webhook};

#[test]
fn an_id_is_recognised_after_a_kill_with_its_first_position() {
    let mut scene = Scene::new();
    scene.topic("orders");
    let order = || event("a", "order.paid", &json!({ "order": 7 }));
    let first = scene.publish("orders", [order()])[0].receipt().unwrap();
    assert!(!first.duplicate);
    for _ in 0..3 {
        scene.host.kill().unwrap();
        scene.host.restart().unwrap();
        let again = scene.publish("orders", [order()])[0].receipt().unwrap();
        assert_eq!((again.position, again.duplicate), (first.position, true));
    }
    let events = scene.get("/v1/topics/orders/events?from=earliest");
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
}

#[test]
fn a_graceful_stop_finishes_the_calls_in_flight() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let slow = Script { delay: Duration::from_millis(700), ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", slow)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, "concurrency = 8"));
    scene.store("orders", (0..20).map(|n| event(&format!("e-{n}"), "order.paid", &json!({}))));
    eventually("calls in flight", PATIENCE, || (receiver.requests() >= 8).then_some(()));
    scene.host.stop().unwrap();
    assert!(scene.host.data().find().is_err(), "a stopped host announces nothing");
    scene.host.restart().unwrap();
    scene.settled("hook");
    let calls = calls.calls();
    let ids: std::collections::BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!((ids.len(), calls.len()), (20, 20), "every event is sent, and none of them twice");
}
