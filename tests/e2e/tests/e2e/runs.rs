//! A subscription as a person runs it: explain, drain, boost, seek, patterns, backlog cap, delete, through the real binary.

use std::time::Duration;

use bugle_harness::eventually;
use bugle_receivers::{HttpReceiver, Journal, Script};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, keyed, webhook};

/// A webhook whose receiver fails every call, with hours between two attempts.
fn stuck(more: &str) -> (Scene, HttpReceiver, Journal) {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let failing = Script { fail: 1000, faulty_calls: 100, ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", failing)]);
    let quick = "retry = { first_backoff = \"100ms\", backoff_max = \"500ms\" }";
    let slow = "retry = { first_backoff = \"5h\", backoff_max = \"5h\" }";
    scene.apply("hook", &webhook("hook", "orders", &receiver, more).replace(quick, slow));
    (scene, receiver, calls)
}

fn cli(scene: &Scene, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    scene.host.cli(&words).unwrap()
}

fn refused(scene: &Scene, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    scene.host.cli(&words).unwrap_err().to_string()
}

fn has(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn explain_tells_why_an_event_and_its_key_do_not_move() {
    let (mut scene, _receiver, _calls) = stuck("");
    let positions = scene.store("orders", [keyed("a", "t", "k", &json!({})), keyed("b", "t", "k", &json!({}))]);
    eventually("the first failure", PATIENCE, || {
        (scene.subscription("hook")["status"]["waiting"] == json!(1)).then_some(())
    });
    let (first, second) = (&positions[0], &positions[1]);
    for _ in 0..2 {
        let told = cli(&scene, &format!("explain {first}"));
        println!("{told}");
        has(
            &told,
            &["topic `orders`", "key `k`", "hook: waiting", "attempt 1 of 16 failed", "500", "attempt 2 starts in"],
        );
        let told = cli(&scene, &format!("explain {second}"));
        println!("{told}");
        has(&told, &["hook: queued", &format!("{first} of its key `k` comes first"), "attempt 2 starts in"]);
        let told = cli(&scene, "explain k --subscription hook");
        println!("{told}");
        has(&told, &["key `k`", "hook (normal): waiting", "2 events of key `k`"]);
        // What waits before a restart says the same after it.
        scene.host.kill().unwrap();
        scene.host.restart().unwrap();
    }
    cli(&scene, "subscription pause hook --reason lunch");
    let told = cli(&scene, "explain --topic orders --source /e2e --id b");
    has(&told, &["hook: queued", "the subscription is paused by operator", "lunch"]);
    let json: Value = serde_json::from_str(&cli(&scene, &format!("explain {second} --json"))).unwrap();
    assert_eq!((&json["event"]["id"], &json["subscriptions"][0]["state"]), (&json!("b"), &json!("queued")));
    assert_eq!(json["subscriptions"][0]["head"], json!(first));
    has(&cli(&scene, "explain nobody"), &["no subscription has anything of this key"]);
}

#[test]
fn explain_refuses_what_it_cannot_find() {
    let scene = Scene::new();
    scene.topic("orders");
    has(&refused(&scene, "explain 0-99"), &["there is no event at 0-99", "not-found"]);
    has(&refused(&scene, "explain k --subscription nobody"), &["no subscription `nobody`", "not-found"]);
    has(&refused(&scene, "explain --topic nowhere --source s --id i"), &["no topic `nowhere`", "unknown-topic"]);
    has(&refused(&scene, "explain --topic orders --source s --id i"), &["window", "not-found"]);
    has(&refused(&scene, "explain"), &["say which event or key"]);
    has(&refused(&scene, "explain --topic orders"), &["--source", "--id"]);
    has(&refused(&scene, "explain k --key k"), &["cannot be used with"]);
}

#[test]
fn a_drain_finishes_what_is_under_way_and_pauses() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let slow = Script { delay: Duration::from_millis(300), ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", slow)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, "concurrency = 2"));
    scene.store("orders", (0..6).map(|n| event(&format!("e-{n}"), "t", &json!({}))));
    eventually("all to be read", PATIENCE, || (receiver.requests() >= 2).then_some(()));
    let told = cli(&scene, "subscription drain hook");
    println!("{told}");
    has(&told, &["draining", "drains", "then pauses", "left"]);
    scene.store("orders", (6..8).map(|n| event(&format!("e-{n}"), "t", &json!({}))));
    let view = eventually("the drain to end", PATIENCE, || {
        let view = scene.subscription("hook");
        (view["state"] == json!("paused")).then_some(view)
    });
    assert_eq!((&view["paused"]["by"], &view["paused"]["reason"]), (&json!("operator"), &json!("drained")));
    assert_eq!(calls.calls().len(), 6);
    has(&refused(&scene, "subscription drain hook"), &["paused by operator (drained)", "conflict"]);
    has(&refused(&scene, "subscription drain hook --boost 4"), &["resume it first"]);
    cli(&scene, "subscription resume hook");
    has(&refused(&scene, "subscription drain hook --boost 65"), &["from 2 to 64", "invalid"]);
    let told = cli(&scene, "subscription drain hook --boost 4");
    println!("{told}");
    scene.settled("hook");
    eventually("the boost to end", PATIENCE, || scene.subscription("hook")["boost"].is_null().then_some(()));
    assert_eq!(calls.calls().len(), 8);
    has(&refused(&scene, "subscription drain nobody"), &["no subscription `nobody`"]);
}

#[test]
fn a_seek_says_the_count_first_and_goes_both_ways() {
    let (scene, receiver, calls) = stuck("");
    let positions = scene.store("orders", (0..5).map(|n| keyed(&format!("e-{n}"), "t", "k", &json!({}))));
    eventually("the first failure", PATIENCE, || {
        (scene.subscription("hook")["status"]["waiting"] == json!(1)).then_some(())
    });
    receiver.rewrite("/hook", Script::default());
    let third = &positions[2];
    let told = refused(&scene, &format!("subscription seek hook --to {third}"));
    has(&told, &["would go forward", "2 events", "undelivered", "add --yes"]);
    assert_eq!(scene.subscription("hook")["status"]["waiting"], json!(1), "nothing was done");
    has(&cli(&scene, &format!("subscription seek hook --to {third} --yes")), &["went forward", "2 events"]);
    scene.settled("hook");
    let sent = |calls: &Journal| calls.calls().iter().map(|call| call.id.clone()).collect::<Vec<_>>();
    assert_eq!(sent(&calls)[1..], ["e-2", "e-3", "e-4"]);
    let told = cli(&scene, "subscription show hook");
    println!("{told}");
    has(&told, &["let go", "2 in all", "sought"]);
    let told = cli(&scene, &format!("explain {}", positions[0]));
    println!("{told}");
    has(&told, &["hook: let-go", "an operator went forward"]);
    has(&cli(&scene, "subscription seek hook --to latest"), &["already"]);
    has(&refused(&scene, "subscription seek hook --to 1h2"), &["is not a place in the log"]);
    has(&refused(&scene, "subscription seek hook --to 30d"), &["`2h ago`"]);
    let told = cli(&scene, "subscription seek hook --to 1h --yes".replace("1h", "earliest").as_str());
    has(&told, &["went back", "5 events", "delivered again"]);
    scene.settled("hook");
    // The three that had been sent are known by their claims and not sent again.
    assert_eq!(calls.calls().len(), 1 + 3 + 2);
    let ago: Value = scene.admin().post("/v1/subscriptions/hook/seek", &json!({ "to": "2h ago" })).unwrap().unwrap();
    assert_eq!((&ago["direction"], &ago["events"], &ago["done"]), (&json!("back"), &json!(5), &json!(false)));
}

#[test]
fn a_pattern_covers_topics_that_do_not_exist_yet_and_a_start_can_be_a_time() {
    let scene = Scene::new();
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    let by_pattern = |pattern: &str| webhook("hook", pattern, &receiver, "");
    scene.topic("orders.eu");
    scene.store("orders.eu", [event("before", "t", &json!({}))]);
    let told = scene.try_apply("hook", &by_pattern("orders.*"), &["--start", "1h ago"]).unwrap_err();
    has(&told, &["1 stored events", "1h ago", "--yes"]);
    scene.try_apply("hook", &by_pattern("orders.*"), &["--start", "1h ago", "--yes"]).unwrap();
    scene.topic("orders.us");
    scene.topic("orders.us.west");
    scene.store("orders.us.west", [event("deep", "t", &json!({}))]);
    scene.store("orders.us", [event("first", "t", &json!({}))]);
    scene.settled("hook");
    let mut ids: Vec<String> = calls.calls().iter().map(|call| call.id.clone()).collect();
    ids.sort();
    assert_eq!(ids, ["before", "first"]);
    for (pattern, word) in
        [("orders.**.x", "whole last segment"), ("bugle.*", "topics of the host"), ("Orders.*", "no topic")]
    {
        has(&scene.try_apply("hook", &by_pattern(pattern), &[]).unwrap_err(), &["bad pattern", word]);
    }
}

#[test]
fn a_backlog_over_its_cap_expires_or_refuses_and_says_so() {
    let (scene, receiver, _calls) = stuck("backlog = { events = 5 }");
    cli(&scene, "subscription pause hook --reason lunch");
    scene.store("orders", (0..20).map(|n| event(&format!("e-{n}"), "t", &json!({}))));
    eventually("the oldest to expire", PATIENCE, || {
        (scene.subscription("hook")["let_go"]["total"] == json!(15)).then_some(())
    });
    let told = cli(&scene, "subscription show hook");
    println!("{told}");
    has(&told, &["let go", "15 in all", "expired", "at most 5"]);
    has(&scene.host.log_text(), &["the oldest of it has expired undelivered"]);
    let refuse = "backlog = { events = 3, policy = \"refuse-publish\" }";
    scene.apply("hook", &webhook("hook", "orders", &receiver, refuse));
    eventually("publishing to be refused", PATIENCE, || {
        scene.subscription("hook")["status"]["is_backlog_full"].as_bool().filter(|is_full| *is_full)
    });
    let told = cli(&scene, "status");
    println!("{told}");
    has(&told, &["DONE IN", "hook: its backlog is over the cap", "hook: 15 events expired undelivered"]);
    let told = refused(&scene, "publish orders --type t --source s --data {} --id late");
    println!("{told}");
    has(&told, &["quota", "`hook`"]);
    has(&cli(&scene, "subscription show hook"), &["backlog cap", "refused"]);
    let bad = webhook("hook", "orders", &receiver, "backlog = { events = 0 }");
    has(&scene.try_apply("hook", &bad, &[]).unwrap_err(), &["backlog", "more than 0"]);
}

#[test]
fn a_deleted_subscription_takes_its_dead_letters_along_and_leaves_send_records() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let rejecting = Script { reject: 1000, ..Script::default() };
    let (receiver, _calls) = scene.receiver("calls.jsonl", &[("hook", rejecting)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    let position = scene.store("orders", [event("a", "t", &json!({}))]).remove(0);
    scene.dead("hook", 1);
    has(&cli(&scene, &format!("explain {position}")), &["hook: dead", "rejected", "bugle dead list hook"]);
    has(&refused(&scene, "subscription delete hook"), &["dead letters", "send records stay", "--yes"]);
    cli(&scene, "subscription delete hook --yes");
    has(&cli(&scene, &format!("explain {position}")), &["there is no subscription"]);
    eventually("the name to be free", PATIENCE, || {
        scene.try_apply("hook", &webhook("hook", "orders", &receiver, ""), &[]).ok()
    });
    assert_eq!(scene.get("/v1/dead?subscription=hook"), json!([]));
    assert_eq!(scene.subscription("hook")["id"], json!(2));
}
