//! Timers of plugins: each fires once and not early, over kills; what is cancelled or moved does not; refusals; and they settle like deliveries.

use std::collections::BTreeMap;

use bugle_harness::eventually;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event};

/// The accepted clock follows the wall, which the plugin reads, to a few milliseconds.
const CLOCK_MS: u64 = 5;

const GRANTS: &str = "retry = { attempts_max = 3, first_backoff = \"20ms\", backoff_max = \"100ms\" }\n\
                      grants = { kv = true, timers = true }";

fn timer(id: &str, name: &str, after_ms: u64, data: &str) -> bugle_client::Event {
    event(id, "timer", &json!({ "name": name, "after": after_ms, "data": data }))
}

/// The probe's kv store, by key.
fn kv(scene: &Scene) -> BTreeMap<String, String> {
    let text = scene.host.cli(&["kv", "scan", "probe", "--limit", "1000", "--json"]).unwrap();
    let rows: Value = serde_json::from_str(&text).unwrap();
    let rows = rows.as_array().or_else(|| rows["entries"].as_array()).unwrap().clone();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(row, "key"), text(row, "value"))).collect()
}

fn fired(scene: &Scene, name: &str) -> u64 {
    kv(scene).get(&format!("fired/{name}")).map_or(0, |count| count.parse().unwrap())
}

fn waiting(scene: &Scene) -> u64 {
    scene.subscription("probe")["timers"].as_u64().unwrap()
}

/// Until no timer waits and nothing is open.
fn quiet(scene: &Scene) {
    eventually("the timers to have fired", 2 * PATIENCE, || (waiting(scene) == 0).then_some(()));
    scene.settled("probe");
}

#[test]
fn each_timer_fires_once_and_not_early_over_kills() {
    const TIMERS: u64 = 200;
    let mut scene = Scene::new();
    scene.probe("probe", GRANTS);
    let set = |n: u64| timer(&format!("e-{n}"), &format!("t-{n}"), 1_500 + n * 20, "ok");
    scene.store("probe", (0..TIMERS).map(set));
    scene.settled("probe");
    assert!(waiting(&scene) > 0, "some are still ahead");
    assert_eq!(fired(&scene, &format!("t-{}", TIMERS - 1)), 0, "the last one is seconds away");
    for _ in 0..2 {
        scene.host.kill().unwrap();
        scene.host.restart().unwrap();
        let before = waiting(&scene);
        eventually("some to fire", PATIENCE, || (waiting(&scene) < before || before == 0).then_some(()));
    }
    quiet(&scene);
    let kv = kv(&scene);
    for n in 0..TIMERS {
        // It counts itself in the batch of its ack, so a kill cannot make it two.
        assert_eq!(kv.get(&format!("fired/t-{n}")).map(String::as_str), Some("1"), "t-{n}");
        let ms = |what: &str| kv[&format!("{what}/t-{n}")].parse::<u64>().unwrap();
        assert!(ms("at") + CLOCK_MS >= ms("due"), "t-{n} fired at {} and is due at {}", ms("at"), ms("due"));
    }
    let page = scene.get("/v1/topics/bugle.to.probe/events?from=earliest&limit=1000");
    let events = page["events"].as_array().unwrap();
    assert!(events.len() as u64 >= 2 * TIMERS, "as set and as released: {}", events.len());
}

#[test]
fn what_is_moved_cancelled_or_not_acked_does_not_fire() {
    let mut scene = Scene::new();
    scene.probe("probe", GRANTS);
    scene.store("probe", [timer("e-1", "moved", 86_400_000, "first"), timer("e-2", "gone", 86_400_000, "ok")]);
    scene.settled("probe");
    assert_eq!(waiting(&scene), 2);
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(waiting(&scene), 2, "they wait on disk");
    let shown = scene.host.cli(&["scheduled", "list", "bugle.to.probe"]).unwrap();
    assert!(shown.contains("timer/moved") || shown.contains("bugle.timer"), "{shown}");
    scene.store(
        "probe",
        [
            timer("e-3", "moved", 0, "second"),
            event("e-4", "timer-cancel", &json!({ "name": "gone" })),
            event("e-5", "timer-cancel", &json!({ "name": "never" })),
            event("e-6", "timer-then-retry", &json!({ "name": "retried" })),
            event("e-7", "timer-then-trap", &json!({ "name": "trapped" })),
        ],
    );
    quiet(&scene);
    let kv = kv(&scene);
    let of = |key: &str| kv.get(key).map(String::as_str);
    assert_eq!((of("fired/moved"), of("data/moved")), (Some("1"), Some("second")), "the latest one, once: {kv:?}");
    assert_eq!((of("fired/gone"), of("cancelled/e-4"), of("cancelled/e-5")), (None, Some("true"), Some("false")));
    assert_eq!((of("fired/retried"), of("fired/trapped")), (None, None), "without an ack there is no timer");
    assert_eq!(scene.dead("probe", 2).len(), 2, "the two that never acked");
}

#[test]
fn an_operator_sees_and_cancels_timers() {
    let mut scene = Scene::new();
    scene.probe("probe", GRANTS);
    scene.store("probe", ["a", "b"].map(|name| timer(name, name, 86_400_000, "ok")));
    scene.settled("probe");
    let shown = scene.host.cli(&["subscription", "show", "probe"]).unwrap();
    assert!(shown.contains("2 wait"), "{shown}");
    let explained = scene.host.cli(&["explain", "timer/a", "--subscription", "probe"]).unwrap();
    assert!(explained.contains("timer/a"), "{explained}");
    scene.host.cli(&["scheduled", "cancel", "bugle.to.probe", "--key", "timer/a"]).unwrap();
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(waiting(&scene), 1);
    let audit = scene.host.cli(&["audit", "list"]).unwrap();
    assert!(audit.contains("scheduled.cancel") && audit.contains("timer/a"), "{audit}");
}

#[test]
fn timers_of_a_batch_channel_fire_one_by_one() {
    let scene = Scene::new();
    scene.topic("probe");
    scene.deploy("batch", &bugle_guests::batch());
    scene.apply("probe", &format!("topics = [\"probe\"]\nplugin = \"batch\"\n{GRANTS}"));
    scene.store("probe", (0..40).map(|n| event(&format!("e-{n}"), "timer", &json!({}))));
    quiet(&scene);
    eventually("all to have fired", PATIENCE, || {
        let kv = kv(&scene);
        let count = |n: u32| kv.get(&format!("fired/e-{n}")).map_or(0, |count| count.parse::<u32>().unwrap());
        assert!((0..40).all(|n| count(n) <= 1), "{kv:?}");
        (0..40).all(|n| count(n) == 1).then_some(())
    });
    scene.settled("probe");
}

#[test]
fn a_timer_settles_like_a_delivery() {
    let scene = Scene::new();
    scene.probe("probe", &format!("settled_events = true\n{GRANTS}"));
    let all = [("once", "retry-once"), ("bad", "reject"), ("poison", "trap"), ("twice", "again")];
    scene.store("probe", all.map(|(name, data)| timer(name, name, 50, data)));
    quiet(&scene);
    eventually("the second one to fire", PATIENCE, || (fired(&scene, "twice") == 2).then_some(()));
    assert_eq!(fired(&scene, "once"), 1, "what the failed attempt counted is gone");
    assert_eq!((fired(&scene, "bad"), fired(&scene, "poison")), (0, 0));
    let letters = scene.dead("probe", 2);
    assert_eq!(letters.len(), 2, "{letters:?}");
    for letter in &letters {
        assert_eq!(letter["event"]["event"]["type"], json!("bugle.timer"), "{letter}");
        let key = letter["event"]["event"]["partitionkey"].as_str().unwrap();
        assert!(["timer/bad", "timer/poison"].contains(&key), "{letter}");
    }
    // A replayed letter is the same timer once more.
    scene.host.cli(&["dead", "replay", "probe", "--key", "timer/bad"]).unwrap();
    let rejected = |scene: &Scene| {
        let letters = scene.dead("probe", 2);
        letters.iter().filter(|letter| letter["reason"].to_string().contains("the timer says so")).count()
    };
    eventually("the replay to be rejected as a timer again", PATIENCE, || (rejected(&scene) >= 2).then_some(()));
}

#[test]
fn who_may_not_be_woken_is_told() {
    let scene = Scene::new();
    scene.probe("probe", "retry = { attempts_max = 1 }\ngrants = { kv = true }");
    let told = |scene: &Scene, count: usize| -> Vec<String> {
        let letters = scene.dead("probe", count);
        letters.iter().map(|letter| letter["reason"].as_str().unwrap().to_owned()).collect()
    };
    scene.store("probe", [timer("e-1", "t", 0, "ok")]);
    let denied = told(&scene, 1);
    assert!(denied[0].contains("add `timers = true` to [grants] of subscription `probe`"), "{denied:?}");
    let more = "retry = { attempts_max = 1 }\ngrants = { kv = true, timers = true }";
    scene.apply("probe", &format!("topics = [\"probe\"]\nplugin = \"probe\"\n{more}"));
    let year = 367 * 86_400_000_u64;
    scene.store(
        "probe",
        [
            timer("far", "t", year, "ok"),
            timer("unnamed", "", 0, "ok"),
            timer("named", &"n".repeat(513), 0, "ok"),
            timer("large", "t", 0, &"d".repeat(4097)),
            event("many", "timer-flood", &json!({ "count": 257 })),
        ],
    );
    let told = told(&scene, 6).join("\n");
    for part in ["a year ahead at most", "timer name is empty", "513 bytes", "4097 bytes", "256 timers"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(waiting(&scene), 0, "none of it was set");

    scene.deploy("noop", &bugle_guests::noop());
    let mute = scene.try_apply("mute", "topics = [\"probe\"]\nplugin = \"noop\"\ngrants = { timers = true }", &[]);
    let mute = mute.unwrap_err();
    assert!(mute.contains("exports `timer-handler`, and `noop` does not") && mute.contains("[invalid]"), "{mute}");
    let noop = bugle_guests::noop();
    let told = scene.host.cli(&["plugin", "deploy", "probe", noop.to_str().unwrap()]).unwrap_err().to_string();
    assert!(told.contains("subscription `probe`") && told.contains("timer-handler"), "{told}");
    // Nobody else makes a timer: not by its type and key, and not in the topic where timers are.
    scene.store(
        "probe",
        [bugle_client::Event::builder("/e2e", "bugle.timer").id("forged").key("timer/x").json("{}").build().unwrap()],
    );
    eventually("the forged one to be handled as an event", PATIENCE, || {
        let letters = scene.dead("probe", 7);
        letters.iter().any(|letter| letter["reason"].to_string().contains("the probe knows no")).then_some(())
    });
    let outcome = scene.publish("bugle.to.probe", [event("forged", "bugle.timer", &json!({}))]);
    assert!(format!("{outcome:?}").contains("denied"), "{outcome:?}");
}
