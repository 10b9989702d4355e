//! A sick receiver: the breaker leaves it alone, nobody pays, critical events go elsewhere, and everything comes in the end.

use bugle_checker::record::CallAnswer;
use bugle_client::Event;
use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

const NORMAL: usize = 60;
const CRITICAL: usize = 6;

fn critical(id: &str) -> Event {
    let json = json!({
        "specversion": "1.0", "id": id, "source": "/e2e", "type": "code.sent", "priority": "critical", "data": {}
    });
    Event::from_json(&json.to_string()).unwrap()
}

/// Answers everything with 500, for ever.
fn sick() -> Script {
    Script { fail: 1000, faulty_calls: u32::MAX, ..Script::default() }
}

fn breaker(scene: &Scene, name: &str) -> Value {
    scene.subscription(name)["status"]["channel"].clone()
}

#[test]
fn an_outage_spends_no_attempts_and_critical_events_take_the_other_way() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", sick()), ("backup", Script::default())]);
    scene.apply("backup", &webhook("backup", "orders", &receiver, "filter = { exact = { type = \"never\" } }"));
    let policy = "breaker = { open_first = \"300ms\", open_max = \"600ms\" }\n\
                  degrade = [{ while = \"sick\", classes = [\"critical\"], do = \"reroute\", to = \"backup\" }]";
    scene.apply("hook", &webhook("hook", "orders", &receiver, policy));
    scene.store("orders", (0..NORMAL).map(|n| event(&format!("n-{n}"), "order.paid", &json!({}))));
    eventually("the breaker to open", PATIENCE, || (breaker(&scene, "hook")["breaker"] != "closed").then_some(()));
    scene.store("orders", (0..CRITICAL).map(|n| critical(&format!("c-{n}"))));
    let channel = eventually("critical events to be handed on", PATIENCE, || {
        let channel = breaker(&scene, "hook");
        // One of them may be with the sick receiver, as a probe.
        (channel["rerouted"].as_u64().unwrap() >= CRITICAL as u64 - 1).then_some(channel)
    });
    assert_eq!((&channel["blamed"], channel["reason"].as_str().unwrap().contains("500")), (&json!("channel"), true));
    let shown = scene.host.cli(&["subscription", "show", "hook"]).unwrap();
    assert!(
        shown.contains("blamed: channel") && shown.contains("next probe") && shown.contains("rule 1 counts"),
        "{shown}"
    );
    let handed_on = |n: &usize| {
        let told = format!("/v1/explain?topic=orders&source=/e2e&id=c-{n}&subscription=hook");
        let why = scene.get(&told)["subscriptions"][0]["why"][0].as_str().unwrap_or_default().to_owned();
        why == "not sent, on purpose: degrade rule 1: handed on (class critical)"
    };
    assert!((0..CRITICAL).filter(handed_on).count() >= CRITICAL - 1, "explain says what became of them");
    scene.settled("backup");
    let metrics = scene.admin().text("/metrics").unwrap();
    assert!(metrics.contains("bugle_breaker_opened_total{subscription=\"hook\"} 1"), "{metrics}");
    // A subscription that others hand events to cannot go.
    let told = scene.host.cli(&["subscription", "delete", "backup", "--yes"]).unwrap_err().to_string();
    assert!(told.contains("`hook` reroutes events to `backup`"), "{told}");
    receiver.rewrite("/hook", Script::default());
    scene.settled("hook");
    assert_eq!(breaker(&scene, "hook")["breaker"], "closed");
    assert_eq!(scene.get("/v1/dead?subscription=hook").as_array().unwrap().len(), 0);
    let calls = calls.calls();
    let acked = |id: &str| calls.iter().filter(|call| call.id == id && call.answer == CallAnswer::Accepted).count();
    for id in (0..NORMAL).map(|n| format!("n-{n}")).chain((0..CRITICAL).map(|n| format!("c-{n}"))) {
        assert_eq!(acked(&id), 1, "{id} was taken once");
    }
}

#[test]
fn a_poison_event_beside_healthy_ones_dies_with_its_cause_and_delays_nobody() {
    let scene = Scene::new();
    scene.probe("probe", "retry = { first_backoff = \"20ms\", backoff_max = \"100ms\" }\ngrants = { kv = true }");
    let status = || scene.subscription("probe")["status"].clone();
    // Breaks count from the first one on, and only while others succeed: so they succeed after the first and before the others.
    scene.store("probe", [event("poison", "trap-when", &json!({}))]);
    eventually("the first break", PATIENCE, || (status()["retried"] == 1).then_some(()));
    scene.store("probe", (0..NORMAL).map(|n| event(&format!("ok-{n}"), "ok", &json!({}))));
    eventually("the others", PATIENCE, || (status()["delivered"] == NORMAL).then_some(()));
    scene.host.cli(&["kv", "put", "probe", "go", "1"]).unwrap();
    let dead = scene.dead("probe", 1);
    assert_eq!((&dead[0]["cause"], &dead[0]["attempts"]), (&json!("poison"), &json!(4)), "{}", dead[0]);
    assert!(dead[0]["reason"].as_str().unwrap().contains("said trap"), "{}", dead[0]);
    scene.settled("probe");
    let status = status();
    assert_eq!((&status["delivered"], &status["retried"]), (&json!(NORMAL), &json!(4)), "{status}");
    assert_eq!(status["channel"]["breaker"], "closed");
}

#[test]
fn a_plugin_that_traps_on_everything_is_quarantined_through_a_kill_and_until_its_next_revision() {
    let mut scene = Scene::new();
    scene.probe("probe", "breaker = { open_first = \"10m\", open_max = \"10m\" }");
    scene.store("probe", (0..NORMAL).map(|n| event(&format!("e-{n}"), "trap", &json!({}))));
    eventually("the plugin to be blamed", PATIENCE, || {
        let channel = breaker(&scene, "probe");
        (channel["breaker"] == "open").then(|| assert_eq!(channel["blamed"], "plugin"))
    });
    let attempts = |scene: &Scene| scene.subscription("probe")["status"]["attempts"].as_u64().unwrap();
    assert!(attempts(&scene) <= 64, "{} attempts", attempts(&scene));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!((breaker(&scene, "probe")["breaker"].clone(), attempts(&scene)), (json!("open"), 0));
    // A new revision is tried at once; this one has not learned to handle them either.
    scene.deploy("probe", &bugle_guests::probe());
    eventually("a probe", PATIENCE, || (attempts(&scene) == 1).then_some(()));
    assert_eq!(scene.get("/v1/dead?subscription=probe").as_array().unwrap().len(), 0);
}

#[test]
fn a_policy_is_tried_on_history_without_sending() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    let plain = webhook("hook", "orders", &receiver, "");
    scene.apply("hook", &plain);
    let told = scene.host.cli(&["policy", "simulate", "hook"]).unwrap_err().to_string();
    assert!(told.contains("no degrade rule"), "{told}");
    scene.store("orders", (0..NORMAL).map(|n| event(&format!("n-{n}"), "order.paid", &json!({}))));
    scene.store("orders", (0..CRITICAL).map(|n| critical(&format!("c-{n}"))));
    scene.settled("hook");
    let before = calls.calls().len();
    let line = "degrade = [{ while = \"sick\", classes = [\"normal\", \"low\"], do = \"defer\" }]";
    let candidate = scene.host.directory().join("candidate.toml");
    let text = format!("name = \"hook\"\n{}", webhook("hook", "orders", &receiver, line));
    std::fs::write(&candidate, text).unwrap();
    let file = candidate.to_str().unwrap();
    let answer = scene.host.cli(&["policy", "simulate", "hook", "--file", file, "--json"]).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let class = |at: usize, class: &str| answer["healths"][at]["classes"][class].clone();
    let counts =
        |sent: usize, deferred: usize| json!({ "sent": sent, "deferred": deferred, "rerouted": 0, "dropped": 0 });
    assert_eq!(answer["events"], json!(NORMAL + CRITICAL));
    assert_eq!((class(0, "normal"), class(0, "critical")), (counts(NORMAL, 0), counts(CRITICAL, 0)), "healthy");
    assert_eq!((class(1, "normal"), class(1, "critical")), (counts(0, NORMAL), counts(CRITICAL, 0)), "sick");
    let shown = scene.host.cli(&["policy", "simulate", "hook", "--file", file, "--health", "sick"]).unwrap();
    assert!(shown.contains("nothing was sent") && shown.contains("DEFERRED"), "{shown}");
    assert_eq!(calls.calls().len(), before);
    // And it is one line of the subscription's file.
    scene.apply("hook", &webhook("hook", "orders", &receiver, line));
    let refusals = [
        ("degrade = [{ do = \"reroute\", to = \"none\" }]", "`none`, which does not exist"),
        ("degrade = [{ do = \"reroute\", to = \"hook\" }]", "its own subscription"),
        ("degrade = [{ while = \"ill\", do = \"drop\" }]", "`ill`"),
        ("rate = \"fast\"", "`100/s`"),
        ("burst = 5", "`burst` has no `rate`"),
        ("breaker = { probes = 0 }", "`breaker.probes`"),
        ("blame = { events_min = 1 }", "`blame.events_min`"),
        ("prefetch = \"1KiB\"", "`prefetch`"),
    ];
    for (line, wanted) in refusals {
        let told = scene.try_apply("hook", &webhook("hook", "orders", &receiver, line), &[]).unwrap_err();
        assert!(told.contains(wanted), "{line}: {told}");
    }
}
