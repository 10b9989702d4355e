//! Old epochs of the log go once everybody has settled them; who keeps them is told; what is gone is told as gone.

use bugle_harness::{Settings, eventually};
use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

/// The smallest epochs that can be configured.
const CONFIG: &str = "[storage]\nepoch = \"16MiB\"\nretention_size = \"16MiB\"\n";

fn kept(scene: &Scene) -> Value {
    scene.get("/v1/topics/orders")["kept"].clone()
}

/// Publishes until the log has so many epochs.
fn fill(scene: &Scene, epochs: u64) {
    let text = "x".repeat(200_000);
    let mut number = 0;
    eventually("the log to grow", 4 * PATIENCE, || {
        let events = (0..8).map(|index| event(&format!("e-{number}-{index}"), "t", &json!({ "text": text })));
        scene.store("orders", events);
        number += 1;
        (kept(scene)["epochs"].as_u64().unwrap() >= epochs).then_some(())
    });
}

#[test]
fn old_epochs_go_and_a_paused_subscription_is_named_as_the_one_that_keeps_them() {
    let mut scene = Scene::with(Settings { config: CONFIG.to_owned(), ..Settings::default() });
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    scene.host.cli(&["subscription", "pause", "hook"]).unwrap();
    fill(&scene, 4);
    let pinned = eventually("the pin to be told", PATIENCE, || {
        let kept = kept(&scene);
        (kept["pinned_by"] == json!("hook")).then_some(kept)
    });
    assert_eq!(pinned["from"], json!("0-0"), "nothing goes that is needed: {pinned}");
    assert!(pinned["pinned_bytes"].as_u64().unwrap() > 16 << 20, "{pinned}");
    let told = scene.get("/v1/doctor").to_string();
    assert!(told.contains("log-pinned") && told.contains("bugle subscription seek hook --to latest"), "{told}");
    let shown = scene.host.cli(&["topic", "show", "orders"]).unwrap();
    assert!(shown.contains("0-0") && shown.contains("subscription hook, which has not settled it"), "{shown}");

    scene.host.cli(&["subscription", "resume", "hook"]).unwrap();
    scene.settled("hook");
    let from = eventually("old events to go", PATIENCE, || {
        let kept = kept(&scene);
        (kept["from"] != json!("0-0") && kept["pinned_by"].is_null()).then(|| kept["from"].as_str().unwrap().to_owned())
    });
    let delivered = calls.calls().len();
    let refused = scene.host.cli(&["explain", "0-0"]).unwrap_err().to_string();
    assert!(refused.contains(&from), "{refused}");
    let planned = scene.host.cli(&["subscription", "seek", "hook", "--to", "0-0"]).unwrap_err().to_string();
    assert!(planned.contains(&format!("to {from}, the oldest event that is kept")), "{planned}");
    let first = scene.get("/v1/topics/orders/events?from=0-0&limit=1");
    assert_eq!(first["events"][0]["position"], json!(from), "{from}");

    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.settled("hook");
    assert!(kept(&scene)["from"] != json!("0-0"), "what is gone stays gone");
    scene.store("orders", [event("last", "t", &json!({}))]);
    scene.settled("hook");
    let ids: Vec<String> = calls.calls().into_iter().map(|call| call.id).collect();
    assert_eq!(ids.iter().filter(|id| *id == "last").count(), 1);
    assert!(ids.len() <= delivered + 1 + 32, "only what was under way at the kill may come again: {}", ids.len());
}
