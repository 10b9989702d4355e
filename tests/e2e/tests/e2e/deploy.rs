//! Changing what runs while it runs: a second revision, a new channel, old events for a new channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bugle_checker::record::Record;
use bugle_harness::{AdminError, eventually};
use bugle_receivers::producer::Counts;
use bugle_receivers::{Journal, Producer, Script};
use serde_json::{Value, json};

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, keyed, revision, webhook};

async fn produce(mut producer: Producer, sent: Arc<AtomicU64>, is_over: Arc<AtomicBool>) -> Counts {
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    for number in 0u64.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        let order = keyed(&format!("e-{number}"), "order.paid", &format!("key-{}", number % 20), &json!({}));
        producer.send("orders", &order).await.unwrap();
        sent.fetch_add(1, Ordering::Relaxed);
    }
    producer.finish().await.unwrap()
}

#[test]
fn a_second_revision_and_a_new_channel_arrive_under_load_without_a_loss() {
    let scene = Scene::new();
    scene.topic("orders");
    let slow = Script { delay: Duration::from_millis(5), ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("first", slow), ("late", Script::default())]);
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    scene.deploy("webhook", &bugle_guests::webhook());
    let applied = scene.apply("first", &webhook("first", "orders", &receiver, ""));
    director.write(Record::Subscription(judge::promise(&applied, "orders", Some(0))));

    let (sent, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let diary = Journal::create(scene.logs.path(), "producer.jsonl").unwrap();
    let producer = scene.producer("shop", &diary);
    let producing = scene.runtime.spawn(produce(producer, Arc::clone(&sent), Arc::clone(&is_over)));
    let go_on = |count| {
        let until = sent.load(Ordering::Relaxed) + count;
        eventually("the producer to go on", PATIENCE, || (sent.load(Ordering::Relaxed) >= until).then_some(()));
    };
    go_on(300);
    let before = scene.get("/v1/plugins/webhook")["revision"].clone();
    let second = revision(&bugle_guests::webhook(), 2);
    let deployed: Result<Value, AdminError> = scene.admin().put_bytes("/v1/plugins/webhook", &second).unwrap();
    assert_ne!(deployed.unwrap()["revision"], before);
    go_on(300);
    let applied = scene.apply("late", &webhook("late", "orders", &receiver, ""));
    director.write(Record::Subscription(judge::promise(&applied, "orders", Some(0))));
    go_on(300);
    is_over.store(true, Ordering::Relaxed);
    let counts = scene.runtime.block_on(producing).unwrap();
    let dump = judge::dump(&scene, 2 * PATIENCE);
    let report = judge::report(&[&director, &calls, &diary], &dump, false);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.figures.repeats, report.figures.kills), (0, 0));
    let of_late = calls.calls().iter().filter(|call| call.subscription == "late").count() as u64;
    assert!(of_late >= 300 && of_late < counts.stored, "{of_late} of {}", counts.stored);
}

#[test]
fn a_new_subscription_gets_new_events_only_unless_told_otherwise() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) =
        scene.receiver("calls.jsonl", &[("latest", Script::default()), ("earliest", Script::default())]);
    scene.store("orders", (0..5).map(|n| event(&format!("old-{n}"), "order.paid", &json!({}))));
    scene.apply("latest", &webhook("latest", "orders", &receiver, ""));
    let earliest = webhook("earliest", "orders", &receiver, "start = \"earliest\"");

    let refusal = scene.try_apply("earliest", &earliest, &[]).unwrap_err();
    assert!(refusal.contains("5 stored events") && refusal.contains("--yes"), "{refusal}");
    let plan = scene.try_apply("earliest", &earliest, &["--dry-run"]).unwrap();
    assert_eq!((&plan["action"], &plan["events"]), (&json!("create"), &json!(5)));
    let missing: Result<Value, AdminError> = scene.admin().get("/v1/subscriptions/earliest").unwrap();
    assert_eq!(missing.unwrap_err().code, "not-found", "neither the refusal nor the plan made it");

    scene.try_apply("earliest", &earliest, &["--yes"]).unwrap();
    scene.store("orders", [event("new", "order.paid", &json!({}))]);
    scene.settled("latest");
    scene.settled("earliest");
    let ids = |name: &str| -> Vec<String> {
        let calls = calls.calls();
        let mut ids: Vec<String> =
            calls.into_iter().filter(|call| call.subscription == name).map(|call| call.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("latest"), ["new"]);
    assert_eq!(ids("earliest"), ["new", "old-0", "old-1", "old-2", "old-3", "old-4"]);
}
