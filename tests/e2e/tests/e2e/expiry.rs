//! Events of use for a while, through the whole product: what is too late is not sent, and every view says so.

use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, webhook};

/// A receiver that fails for ever, or takes everything, behind a subscription without a breaker.
fn scene(script: Script) -> (Scene, bugle_receivers::HttpReceiver, bugle_receivers::Journal) {
    let scene = Scene::new();
    scene.topic("codes");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("sms", script)]);
    scene.apply("sms", &webhook("sms", "codes", &receiver, ""));
    (scene, receiver, calls)
}

fn publish(scene: &Scene, arguments: &[&str]) -> Result<String, String> {
    let fixed = ["publish", "codes", "--type", "code.sent", "--source", "login", "--data", "{}"];
    scene.host.cli(&[&fixed, arguments].concat()).map_err(|error| error.to_string())
}

fn explained(scene: &Scene, id: &str) -> serde_json::Value {
    scene.get(&format!("/v1/explain?topic=codes&source=login&id={id}"))
}

#[test]
fn what_expires_is_told_and_survives_a_kill() {
    // Nothing is ever taken, and each attempt may be repeated for long.
    let busy = Script { busy: 1000, faulty_calls: 1_000_000, retry_after_s: 3_600, ..Script::default() };
    let (mut scene, _receiver, calls) = scene(busy);
    publish(&scene, &["--id", "code", "--key", "user-1", "--ttl", "6s"]).unwrap();
    eventually("the first attempt", PATIENCE, || (!calls.calls().is_empty()).then_some(()));
    let waiting = eventually("it to wait", PATIENCE, || {
        let told = explained(&scene, "code");
        (told["subscriptions"][0]["state"] != "in-flight").then_some(told)
    });
    assert!(waiting["event"]["expires"].is_string(), "{waiting}");
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.settled("sms");
    let told = explained(&scene, "code");
    assert_eq!(told["subscriptions"][0]["state"], "expired", "{told}");
    let view = scene.host.cli(&["explain", told["event"]["position"].as_str().unwrap()]).unwrap();
    assert!(view.contains("expires ") && view.contains("sms: expired"), "{view}");
    let records = scene.host.cli(&["record", "find", "--event", "code", "--json"]).unwrap();
    assert!(records.contains("\"expired\""), "{records}");
    let status = &scene.subscription("sms")["status"];
    assert_eq!((&status["dead"], &status["dead_letters"]), (&json!(0), &json!(0)), "it is no dead letter");
}

#[test]
fn nothing_that_passed_its_time_in_a_pause_is_sent_and_the_rest_is() {
    let (scene, _receiver, calls) = scene(Script::default());
    scene.host.cli(&["subscription", "pause", "sms"]).unwrap();
    publish(&scene, &["--id", "brief", "--key", "user-1", "--ttl", "5s"]).unwrap();
    publish(&scene, &["--id", "next", "--key", "user-1"]).unwrap();
    publish(&scene, &["--id", "long", "--key", "user-2", "--ttl", "1h"]).unwrap();
    eventually("its time to pass", PATIENCE, || {
        let told = explained(&scene, "brief");
        // Without the `Z`, so that a whole second comes before its fractions.
        let time = |text: &serde_json::Value| text.as_str().unwrap().trim_end_matches('Z').to_owned();
        (time(&told["at"]) > time(&told["event"]["expires"])).then_some(())
    });
    scene.host.cli(&["subscription", "resume", "sms"]).unwrap();
    scene.settled("sms");
    let mut called: Vec<String> = calls.calls().into_iter().map(|call| call.id).collect();
    called.sort();
    assert_eq!(called, ["long", "next"]);
    assert_eq!(explained(&scene, "brief")["subscriptions"][0]["state"], "expired");
    let status = &scene.subscription("sms")["status"];
    assert_eq!(status["expired_deliveries"], 1, "{status}");
    assert!(scene.host.cli(&["subscription", "show", "sms"]).unwrap().contains("1 deliveries since the start"));
    let metrics = scene.admin().text("/metrics").unwrap();
    assert!(metrics.contains("bugle_expired_deliveries_total{subscription=\"sms\"} 1"), "{metrics}");
}

#[test]
fn a_publish_that_is_too_late_or_could_never_be_delivered_is_refused() {
    let (scene, _receiver, calls) = scene(Script::default());
    let past = publish(&scene, &["--id", "past", "--expire-at", "2020-01-01T00:00:00Z"]).unwrap_err();
    assert!(past.contains("`expirytime` has passed") && past.contains("[expired]"), "{past}");
    let never = publish(&scene, &["--id", "never", "--delay", "2h", "--ttl", "1h"]).unwrap_err();
    assert!(never.contains("not after its `delivertime`") && never.contains("[invalid-attribute]"), "{never}");
    let both = publish(&scene, &["--ttl", "1s", "--expire-at", "2999-01-01T00:00:00Z"]).unwrap_err();
    assert!(both.contains("cannot be used with"), "{both}");
    let no_time = publish(&scene, &["--expire-at", "tomorrow"]).unwrap_err();
    assert!(no_time.contains("tomorrow"), "{no_time}");
    publish(&scene, &["--id", "fine", "--expire-at", "2999-01-01T00:00:00Z"]).unwrap();
    scene.settled("sms");
    assert_eq!(calls.calls().len(), 1);
}
