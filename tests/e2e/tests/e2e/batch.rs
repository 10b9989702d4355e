//! Plugins that take several deliveries per call, in the real host: who shares a call, what stands, and what comes back alone.

use bugle_client::Event;
use bugle_harness::{Settings, eventually};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, keyed, revision};

const RETRY: &str = "retry = { attempts_max = 3, first_backoff = \"10ms\", backoff_max = \"20ms\" }";

const FILTER: &str = "filter = { not = { exact = { type = \"lead\" } } }";

/// The batch of the zoo on a topic of its own, paused.
fn scene(more: &str) -> Scene {
    let scene = Scene::with(Settings::default());
    scene.topic("orders");
    scene.deploy("batch", &bugle_guests::batch());
    scene.apply("send", &definition(more));
    scene.host.cli(&["subscription", "pause", "send"]).unwrap();
    scene
}

fn definition(more: &str) -> String {
    format!("topics = [\"orders\"]\nplugin = \"batch\"\n{FILTER}\n{RETRY}\n{more}\n\n[grants]\nkv = true\n")
}

/// Publishes events to the paused subscription and lets all of them start at once.
fn run(scene: &Scene, events: Vec<Event>) {
    begin(scene, events);
    scene.settled("send");
}

fn begin(scene: &Scene, events: Vec<Event>) {
    // A paused subscription may have a read under way. It ends with this event, which nobody wants; all others are read at once.
    scene.store("orders", [Event::builder("/e2e", "lead").build().unwrap()]);
    scene.settled("send");
    scene.store("orders", events);
    scene.host.cli(&["subscription", "resume", "send"]).unwrap();
}

fn some(kinds: &[&str]) -> Vec<Event> {
    let plain = |(n, kind): (usize, &&str)| event(&format!("e{n}"), kind, &json!({}));
    kinds.iter().enumerate().map(plain).collect()
}

fn kv(scene: &Scene, key: &str) -> Option<String> {
    let entry: Result<Value, _> = scene.admin().get(&format!("/v1/kv/send/{}", key.replace('/', "%2F"))).unwrap();
    entry.ok().and_then(|entry| entry["value"].as_str().map(str::to_owned))
}

/// What the guest noted of each event, and how often.
fn noted(scene: &Scene, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| {
            let done = kv(scene, &format!("done/e{n}")).unwrap_or_else(|| "nothing".to_owned());
            let times = kv(scene, &format!("times/e{n}")).unwrap_or_default();
            format!("{done}, {times} times")
        })
        .collect()
}

fn alone() -> String {
    "attempt 1 of 1, 1 times".to_owned()
}

#[test]
fn what_was_settled_at_the_call_stands_and_the_rest_of_a_trapped_batch_comes_back_one_by_one_uncharged() {
    let scene = scene("");
    run(&scene, some(&["ack", "ack", "trap-together", "ok"]));
    let at_the_call = "attempt 1 of 4, 1 times".to_owned();
    assert_eq!(noted(&scene, 4), [at_the_call.clone(), at_the_call, alone(), alone()]);
    let status = scene.subscription("send");
    assert_eq!(status["status"]["dead"], 0, "{status}");
}

#[test]
fn writes_after_an_ack_at_the_call_are_refused_and_leave_nothing() {
    let scene = scene("");
    run(&scene, some(&["ack-late", "ok"]));
    assert_eq!(noted(&scene, 2), ["nothing,  times", "attempt 1 of 2, 1 times"]);
}

#[test]
fn a_list_of_another_length_settles_nobody() {
    let scene = scene("");
    run(&scene, some(&["ok", "short", "ok"]));
    assert_eq!(noted(&scene, 3), [alone(), alone(), alone()]);
}

#[test]
fn a_batch_that_runs_out_of_time_charges_nobody() {
    let scene = scene("limits = { cpu = \"200ms\" }");
    run(&scene, some(&["ack", "spin-together", "ok"]));
    assert_eq!(noted(&scene, 3), ["attempt 1 of 3, 1 times".to_owned(), alone(), alone()]);
}

#[test]
fn an_event_that_always_traps_ends_as_a_dead_letter_and_its_companions_pay_nothing() {
    let scene = scene("");
    run(&scene, some(&["ok", "ok", "trap", "ok", "reject"]));
    let dead = scene.dead("send", 2);
    let mut causes: Vec<(&Value, &Value)> = dead.iter().map(|letter| (&letter["cause"], &letter["attempts"])).collect();
    causes.sort_by_key(|(cause, _)| cause.to_string());
    assert_eq!(causes, [(&json!("attempts-exhausted"), &json!(3)), (&json!("rejected"), &json!(1))]);
    assert_eq!(noted(&scene, 2), [alone(), alone()]);
    assert_eq!(kv(&scene, "done/e3").as_deref(), Some("attempt 1 of 1"));
}

#[test]
fn a_call_holds_one_event_of_a_key_and_keys_keep_their_order_through_retries() {
    let scene = scene("batch_max = 64");
    let kinds = ["ok", "retry-once", "ack", "trap-together", "ok"];
    let of = |n: usize| keyed(&format!("k{}-{}", n % 4, n / 4), kinds[n % 5], &format!("k{}", n % 4), &json!({}));
    run(&scene, (0..40).map(of).collect());
    for key in 0..4 {
        let order: Vec<String> = (0..10).map(|n| format!("k{key}-{n}")).collect();
        assert_eq!(kv(&scene, &format!("order/k{key}")), Some(order.join(" ")));
    }
    for n in 0..40 {
        let done = kv(&scene, &format!("done/k{}-{}", n % 4, n / 4)).unwrap();
        let companions: u32 = done.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((1..=4).contains(&companions), "{done}: one of a key");
    }
}

#[test]
fn a_call_holds_no_more_than_the_subscription_allows() {
    let scene = scene("batch_max = 3");
    run(&scene, some(&["ok"; 7]));
    let of = |size: &str| noted(&scene, 7).iter().filter(|noted| noted.contains(size)).count();
    assert_eq!((of(" of 3,"), of(" of 1,")), (6, 1));
}

#[test]
fn what_a_batch_settled_at_the_call_survives_a_kill_of_the_host_in_the_middle() {
    let mut scene = scene("batch_max = 2");
    begin(&scene, some(&["ack", "spin-together"]));
    eventually("the ack at the call", PATIENCE, || kv(&scene, "done/e0"));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.settled("send");
    assert_eq!(noted(&scene, 2), ["attempt 1 of 2, 1 times".to_owned(), alone()]);
    scene.host.cli(&["subscription", "pause", "send"]).unwrap();
    let after = |n: usize| event(&format!("after-{n}"), "ok", &json!({}));
    run(&scene, (0..2).map(after).collect());
    assert_eq!(kv(&scene, "done/after-0").as_deref(), Some("attempt 1 of 2"), "the restart knows the plugin's world");
}

#[test]
fn batch_max_is_refused_where_the_plugin_takes_one_delivery_per_call() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("batch", &bugle_guests::noop());
    let refused = |more: &str| scene.try_apply("send", &definition(more), &[]).unwrap_err();
    let said = refused("batch_max = 4");
    assert!(said.contains("`batch_max`") && said.contains("`batch-channel`") && said.contains("remove"), "{said}");
    for wrong in ["batch_max = 0", "batch_max = 65"] {
        let said = refused(wrong);
        assert!(said.contains("`batch_max`") && said.contains("from 1 to 64"), "{said}");
    }
    scene.deploy("batch", &bugle_guests::batch());
    scene.apply("send", &definition("batch_max = 4"));
    let noop = bugle_guests::noop();
    let refused = scene.host.cli(&["plugin", "deploy", "batch", noop.to_str().unwrap()]).unwrap_err().to_string();
    assert!(refused.contains("`batch_max`"), "{refused}");
    assert_eq!(scene.get("/v1/plugins/batch")["world"], "batch-channel");
}

#[test]
fn a_new_revision_may_take_its_deliveries_the_other_way() {
    let scene = scene("");
    let three = |name: &'static str| (0..3).map(move |n| event(&format!("{name}-{n}"), "ok", &json!({})));
    run(&scene, three("batch").collect());
    assert_eq!(kv(&scene, "done/batch-0").as_deref(), Some("attempt 1 of 3"));
    scene.deploy("batch", &bugle_guests::noop());
    assert_eq!(scene.get("/v1/plugins/batch")["world"], "channel");
    scene.store("orders", three("single"));
    scene.settled("send");
    let file = scene.logs.path().join("again.wasm");
    std::fs::write(&file, revision(&bugle_guests::batch(), 2)).unwrap();
    scene.deploy("batch", &file);
    scene.host.cli(&["subscription", "pause", "send"]).unwrap();
    run(&scene, three("again").collect());
    assert_eq!(kv(&scene, "done/again-2").as_deref(), Some("attempt 1 of 3"));
}
