//! Old epochs of the log go once everybody has settled them; who keeps them is told; what is gone is told as gone; topics of
//! different retentions go apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bugle_checker::record::Record;
use bugle_client::{Event, Timestamp};
use bugle_harness::eventually;
use bugle_receivers::producer::Counts;
use bugle_receivers::{Dice, Journal, Producer, Script};
use serde_json::{Value, json};

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, seed, webhook};

/// Deliveries in flight at once: what one kill may repeat at most.
const CONCURRENCY: u64 = 16;

/// Time between two events of a producer.
const PACE: Duration = Duration::from_millis(20);

/// Nothing younger goes. What a kill leaves in doubt must be retried while it is younger than this by ten seconds, for which a producer's
/// clock may be wrong: a start that takes longer than 35 s would leave some of it refused.
const AT_LEAST: &str = "45s";

/// Kills, each at a moment when old events go.
const KILLS: u64 = 4;

fn kept(scene: &Scene, topic: &str) -> Value {
    scene.get(&format!("/v1/topics/{topic}"))["kept"].clone()
}

fn number(position: &Value) -> u64 {
    position.as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap()
}

/// Publishes so many MiB of new events.
fn fill(scene: &Scene, topic: &str, mib: u64) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let text = "x".repeat(200_000);
    for _ in 0..mib {
        let id = || format!("filling-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        scene.store(topic, (0..5).map(|_| event(&id(), "t", &json!({ "text": text }))));
    }
}

fn refused(scene: &Scene, words: &[&str], told: &[&str]) {
    let error = scene.host.cli(words).unwrap_err().to_string();
    assert!(told.iter().all(|part| error.contains(part)), "{words:?}: {error}");
}

#[test]
fn old_events_go_and_a_paused_subscription_is_named_as_the_one_that_keeps_them() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    scene.host.cli(&["subscription", "pause", "hook"]).unwrap();
    let set =
        scene.host.cli(&["retention", "set", "default", "--age", "2h", "--size", "1MiB", "--at-least", "0s"]).unwrap();
    assert!(set.contains("2h") && set.contains("1MiB"), "{set}");
    fill(&scene, "orders", 5);
    let pinned = eventually("the pin to be told", PATIENCE, || {
        fill(&scene, "orders", 1);
        let kept = kept(&scene, "orders");
        (kept["pinned_by"] == json!("hook")).then_some(kept)
    });
    assert_eq!(pinned["from"], json!("0-0"), "nothing goes that is needed: {pinned}");
    assert!(pinned["pinned_bytes"].as_u64().unwrap() > 1 << 20, "{pinned}");
    let told = scene.get("/v1/doctor").to_string();
    assert!(told.contains("log-pinned") && told.contains("bugle subscription seek hook --to latest"), "{told}");
    let shown = scene.host.cli(&["topic", "show", "orders"]).unwrap();
    assert!(shown.contains("0-0") && shown.contains("subscription hook, which has not settled it"), "{shown}");
    let metrics = scene.admin().text("/metrics").unwrap();
    let pinned =
        metrics.lines().find(|line| line.starts_with("bugle_log_pinned_bytes{retention=\"default\"}")).unwrap();
    assert!(!pinned.ends_with(" 0"), "{pinned}");
    assert!(scene.host.cli(&["status"]).unwrap().contains("default from 0-0"));

    scene.host.cli(&["subscription", "resume", "hook"]).unwrap();
    scene.settled("hook");
    let from = eventually("old events to go", PATIENCE, || {
        let kept = kept(&scene, "orders");
        (number(&kept["from"]) > 0 && kept["pinned_by"].is_null()).then(|| number(&kept["from"]))
    });
    let delivered = calls.calls().len();
    let told = ["0-0 is not kept any more; the oldest one that is kept is 0-"];
    refused(&scene, &["subscription", "seek", "hook", "--to", "0-0"], &told);
    refused(&scene, &["tail", "orders", "--from", "0-0", "--no-follow"], &told);
    let first = scene.get("/v1/topics/orders/events?from=earliest&limit=1");
    assert!(number(&first["events"][0]["position"]) >= from, "{first}");

    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.settled("hook");
    assert!(number(&kept(&scene, "orders")["from"]) > 0, "what is gone stays gone");
    refused(&scene, &["explain", "0-0"], &["0-0"]);
    assert_eq!(scene.get("/v1/retentions/default")["size"], json!("1MiB"), "the rules are durable");
    scene.store("orders", [event("last", "t", &json!({}))]);
    scene.settled("hook");
    let ids: Vec<String> = calls.calls().into_iter().map(|call| call.id).collect();
    assert_eq!(ids.iter().filter(|id| *id == "last").count(), 1);
    assert!(ids.len() <= delivered + 1 + 32, "only what was under way at the kill may come again: {}", ids.len());
    let audit = scene.host.cli(&["audit", "list"]).unwrap();
    assert!(audit.contains("retention.set") && audit.contains("age 2h, size 1MiB"), "{audit}");
}

#[test]
fn each_topic_has_its_retention_and_what_cannot_be_meant_is_refused() {
    let mut scene = Scene::new();
    scene.topic("orders");
    refused(&scene, &["topic", "create", "clicks", "--retention", "short"], &["no retention `short`", "`default`"]);
    refused(&scene, &["retention", "set", "short", "--age", "0s"], &["0ms", "at least 1s"]);
    refused(&scene, &["retention", "set", "short", "--age", "90000d"], &["at most"]);
    refused(&scene, &["retention", "set", "short", "--size", "1KiB"], &["1KiB", "at least 1MiB"]);
    refused(&scene, &["retention", "set", "short", "--size", "1GB"], &["not a size"]);
    refused(&scene, &["retention", "set", "short", "--age", "1m", "--at-least", "2m"], &["at least 2m and at most 1m"]);
    refused(&scene, &["retention", "show", "short"], &["no retention `short`"]);
    let short = ["retention", "set", "short", "--size", "1MiB", "--when-done", "true", "--at-least", "0s"];
    scene.host.cli(&short).unwrap();
    for name in ["second", "third"] {
        scene.host.cli(&["retention", "set", name, "--age", "1h"]).unwrap();
    }
    refused(&scene, &["retention", "set", "fourth", "--age", "1h"], &["at most 4", "`short`"]);
    scene.host.cli(&["topic", "create", "clicks", "--retention", "short"]).unwrap();
    refused(&scene, &["topic", "set", "orders", "--retention", "long"], &["no retention `long`"]);
    refused(&scene, &["topic", "set", "nowhere", "--retention", "short"], &["no topic `nowhere`"]);

    // A paused subscription on the orders does not keep the clicks.
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    scene.host.cli(&["subscription", "pause", "hook"]).unwrap();
    refused(&scene, &["topic", "set", "bugle.subscription.hook", "--retention", "short"], &["bugle."]);
    scene.store("orders", [event("order-1", "t", &json!({}))]);
    let from = eventually("clicks to go", PATIENCE, || {
        fill(&scene, "clicks", 1);
        let from = number(&kept(&scene, "clicks")["from"]);
        (from > 1).then_some(from)
    });
    assert_eq!(kept(&scene, "orders")["from"], json!("0-0"));
    refused(&scene, &["tail", "clicks", "--from", "0-1", "--no-follow"], &["not kept", "0-"]);
    let first = scene.get("/v1/topics/orders/events?from=0-0&limit=1");
    assert_eq!(first["events"][0]["position"], json!("0-0"), "orders are there although clicks behind are gone");

    // Moved to another retention, from now on.
    scene.host.cli(&["topic", "set", "clicks", "--retention", "second"]).unwrap();
    let moved = scene.store("clicks", [event("moved", "t", &json!({}))]);
    assert_eq!(kept(&scene, "clicks")["retention"], json!("second"));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(kept(&scene, "clicks")["retention"], json!("second"));
    assert!(number(&scene.get("/v1/retentions/short")["kept"]["from"]) >= from);
    let last = scene.get(&format!("/v1/topics/clicks/events?from={}&limit=1", moved[0]));
    assert_eq!(last["events"][0]["event"]["id"], json!("moved"), "{last}");
    scene.host.cli(&["subscription", "resume", "hook"]).unwrap();
    scene.settled("hook");
    assert_eq!(calls.calls().len(), 1, "the order came, over the gap");
    let checked = scene.host.cli(&["doctor"]).unwrap_or_else(|error| error.to_string());
    assert!(!checked.contains("missing"), "{checked}");
    a_backup_has_what_is_kept(&mut scene, &moved[0]);
}

/// And so has the host that is restored from it.
fn a_backup_has_what_is_kept(scene: &mut Scene, moved: &str) {
    let backup = scene.host.directory().join("backup");
    let backup = backup.to_str().unwrap();
    scene.host.cli(&["backup", "create", backup]).unwrap();
    scene.host.cli(&["backup", "check", backup]).unwrap();
    let before = scene.get("/v1/retentions");
    scene.host.kill().unwrap();
    let data = scene.host.data();
    std::fs::rename(data.path(), scene.host.directory().join("lost")).unwrap();
    scene.host.cli(&["restore", backup]).unwrap();
    scene.host.restart().unwrap();
    let after = scene.get("/v1/retentions");
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!(
            (&before["name"], &before["size"], &before["topics"]),
            (&after["name"], &after["size"], &after["topics"])
        );
        assert!(number(&after["kept"]["from"]) >= number(&before["kept"]["from"]), "{before} {after}");
    }
    let last = scene.get(&format!("/v1/topics/clicks/events?from={moved}&limit=1"));
    assert_eq!(last["events"][0]["event"]["id"], json!("moved"), "{last}");
    refused(scene, &["tail", "clicks", "--from", "0-1", "--no-follow"], &["not kept"]);
}

#[test]
fn killed_while_old_events_go_it_keeps_every_promise() {
    let dice = Dice(seed());
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let failing = Script { dice, fail: 50, ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", failing)]);
    let applied = scene.apply("hook", &webhook("hook", "orders", &receiver, &format!("concurrency = {CONCURRENCY}")));
    let rules = ["--size", "1MiB", "--when-done", "true", "--at-least", AT_LEAST];
    scene.host.cli(&[&["retention", "set", "default"], &rules[..]].concat()).unwrap();
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    director.write(Record::Subscription(judge::promise(&applied, "orders", Some(CONCURRENCY))));
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut journals, mut producers) = (vec![director.clone(), calls], Vec::new());
    for number in 0..2 {
        let name = format!("producer-{number}");
        let journal = Journal::create(scene.logs.path(), &format!("{name}.jsonl")).unwrap();
        let producer = scene.producer(&name, &journal);
        producers.push(scene.runtime.spawn(produce(producer, name, dice, Arc::clone(&is_over))));
        journals.push(journal);
    }
    let mut from = 0;
    for _ in 0..KILLS {
        // More may be going at this moment: the first epoch of a look is gone.
        from = eventually("old events to go", 2 * PATIENCE, || {
            let now = number(&kept(&scene, "orders")["from"]);
            (now > from).then_some(now)
        });
        judge::kill(&mut scene, &director);
        assert!(number(&kept(&scene, "orders")["from"]) >= from, "what is gone stays gone");
    }
    is_over.store(true, Ordering::Relaxed);
    let counts = scene.finish(producers);
    assert_eq!((counts.refused, counts.unknown), (0, 0), "every publish must end confirmed: {counts:?}");
    let dump = judge::dump(&scene, PATIENCE);
    assert!(dump.contains("\"dropped\""), "the dump says what is gone");
    let all: Vec<&Journal> = journals.iter().collect();
    let report = judge::report(&all, &dump, false);
    println!("gone below {from}\n{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.figures.kills as u64, KILLS);
    let checked = scene.host.cli(&["doctor"]).unwrap_or_else(|error| error.to_string());
    assert!(!checked.contains("missing") && !checked.contains("damaged"), "{checked}");
}

async fn produce(mut producer: Producer, name: String, dice: Dice, is_over: Arc<AtomicBool>) -> Counts {
    let mut pace = tokio::time::interval(PACE);
    let data = json!({ "text": "x".repeat(4_000) }).to_string();
    for number in 0_u64.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        let id = format!("{name}-{number}");
        let key = format!("key-{}", dice.roll("key", &id, 40));
        // With its time, a retry can be told from one of an event that is gone.
        let made = Event::builder("/e2e", "order.paid").id(&id).key(&key).time(now());
        producer.send("orders", &made.json(&data).build().unwrap()).await.unwrap();
    }
    producer.finish().await.unwrap()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ms(since.as_millis() as i64).unwrap()
}
