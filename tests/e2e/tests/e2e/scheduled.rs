//! Scheduled events through the whole product: ten thousand of them with kills between, refusals, lists, explain.

use std::collections::HashMap;

use bugle_checker::record::Record;
use bugle_client::{Event, Outcome, Timestamp};
use bugle_harness::eventually;
use bugle_receivers::{Journal, Script, now_us};
use serde_json::json;

use crate::judge;
use crate::scene::{PATIENCE, Scene, webhook};

const EVENTS: u64 = 10_000;
/// The last is due so long after the first.
const SPREAD_MS: u64 = 6_000;
/// Deliveries in flight at once: what one kill may repeat at most.
const CONCURRENCY: u64 = 64;
const KILLS: u64 = 4;
/// The accepted clock follows the wall to a few milliseconds.
const CLOCK_US: u64 = 5_000;

/// A time of the journals' clock, which does not begin in 1970, on the wall.
fn at(ms: u64) -> Timestamp {
    let wall = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let wall = i64::try_from(wall).unwrap() + i64::try_from(ms).unwrap() - i64::try_from(now_ms()).unwrap();
    Timestamp::from_unix_ms(wall).unwrap()
}

fn now_ms() -> u64 {
    now_us() / 1_000
}

fn later(id: &str, due_ms: u64) -> Event {
    Event::builder("/e2e", "reminder.due")
        .id(id)
        .deliver_at(at(due_ms))
        .json(&json!({ "id": id }).to_string())
        .build()
        .unwrap()
}

#[test]
fn ten_thousand_scheduled_events_come_once_each_and_none_early_through_kills() {
    let mut scene = Scene::new();
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("reminders", Script::default())]);
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let applied =
        scene.apply("reminders", &webhook("reminders", "orders", &receiver, &format!("concurrency = {CONCURRENCY}")));
    director.write(Record::Subscription(judge::promise(&applied, "orders", Some(CONCURRENCY))));
    let journal = Journal::create(scene.logs.path(), "producer.jsonl").unwrap();
    let mut producer = scene.producer("producer", &journal);
    let first = now_ms() + 2_000;
    let due: HashMap<String, u64> = (0..EVENTS)
        .map(|number| (format!("r{number}"), first + number * 7_919 % EVENTS * SPREAD_MS / EVENTS))
        .collect();
    let events: Vec<Event> = due.iter().map(|(id, due)| later(id, *due)).collect();
    let sending = scene.runtime.spawn(async move {
        for event in &events {
            producer.send("orders", event).await.unwrap();
        }
        producer.finish().await.unwrap()
    });
    for kill in 1..=KILLS {
        let when = first + kill * SPREAD_MS / (KILLS + 1);
        eventually("the time of the next kill", PATIENCE, || (now_ms() >= when).then_some(()));
        judge::kill(&mut scene, &director);
    }
    let counts = scene.finish(vec![sending]);
    assert_eq!((counts.refused, counts.unknown), (0, 0), "every publish must end confirmed: {counts:?}");
    eventually("everything to be released", 2 * PATIENCE, || {
        let status = scene.get("/v1/status");
        (status["scheduled"] == 0).then_some(())
    });
    let dump = judge::dump(&scene, 2 * PATIENCE);
    let report = judge::report(&[&director, &journal, &calls], &dump, false);
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    let mut accepted: HashMap<String, u64> = HashMap::new();
    for record in calls.records().unwrap() {
        if let Record::Call(call) = record {
            let due = due[&call.id];
            assert!(
                call.at_us + CLOCK_US >= due * 1_000,
                "{} came at {} us and is due at {due} ms",
                call.id,
                call.at_us
            );
            *accepted.entry(call.id).or_default() += 1;
        }
    }
    assert_eq!(accepted.len() as u64, EVENTS);
    // The webhook claims nothing: a kill repeats what was in flight, and never more than that.
    let again: u64 = accepted.values().map(|times| times - 1).sum();
    println!("{again} of {EVENTS} calls were repeated by {KILLS} kills");
    assert!(again <= KILLS * CONCURRENCY);
}

#[test]
fn an_effect_of_a_scheduled_event_happens_once_whatever_is_killed() {
    let mut scene = Scene::new();
    scene.probe(
        "counted",
        "concurrency = 16\nretry = { first_backoff = \"50ms\", backoff_max = \"200ms\" }\ngrants = { kv = true }",
    );
    let first = now_ms() + 1_500;
    let event = |number: u64| {
        let data = json!({ "counter": format!("once/{number}") }).to_string();
        let builder = Event::builder("/e2e", "claim-kv-confirm-retry");
        builder.id(&format!("c{number}")).deliver_at(at(first + number % 40 * 50)).json(&data).build().unwrap()
    };
    scene.store("counted", (0..400).map(event));
    for kill in 0..3 {
        eventually("the next kill", PATIENCE, || (now_ms() >= first + 300 + kill * 500).then_some(()));
        scene.host.kill().unwrap();
        scene.host.restart().unwrap();
    }
    eventually("everything to be released", PATIENCE, || (scene.get("/v1/status")["scheduled"] == 0).then_some(()));
    scene.settled("counted");
    let page = scene.get("/v1/kv/counted?prefix=once/&limit=1000");
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 400);
    assert!(entries.iter().all(|entry| entry["value"] == "1"), "an effect happened twice");
}

#[test]
fn a_scheduled_event_is_listed_counted_and_explained_and_a_wrong_time_is_refused() {
    let mut scene = Scene::new();
    let (receiver, _calls) = scene.receiver("calls.jsonl", &[("reminders", Script::default())]);
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    scene.apply("reminders", &webhook("reminders", "orders", &receiver, ""));
    let publish = |arguments: &[&str]| {
        let fixed = ["publish", "orders", "--type", "order.unpaid", "--source", "shop", "--data", "{}"];
        scene.host.cli(&[&fixed, arguments].concat()).map_err(|error| error.to_string())
    };
    let far = publish(&["--id", "far", "--delay", "10000h"]).unwrap_err();
    assert!(far.contains("400 days") && far.contains("invalid-attribute"), "{far}");
    let both = publish(&["--delay", "1s", "--deliver-at", "2999-01-01T00:00:00Z"]).unwrap_err();
    assert!(both.contains("cannot be used with"), "{both}");
    let no_time = publish(&["--deliver-at", "tomorrow"]).unwrap_err();
    assert!(no_time.contains("tomorrow"), "{no_time}");
    publish(&["--id", "hour", "--key", "user-1", "--delay", "1h"]).unwrap();
    publish(&["--id", "soon", "--key", "user-1", "--delay", "600ms"]).unwrap();

    let list = scene.get("/v1/topics/orders/scheduled");
    let ids: Vec<_> = list["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert!(ids == ["soon", "hour"] || ids == ["hour"], "{list}");
    let position = list["events"].as_array().unwrap().last().unwrap()["position"].as_str().unwrap().to_owned();
    let told = scene.host.cli(&["explain", &position]).unwrap();
    assert!(told.contains("scheduled: it waits until"), "{told}");
    let shown = scene.host.cli(&["topic", "show", "orders"]).unwrap();
    assert!(shown.contains("wait"), "{shown}");
    let bad = scene.admin().get::<serde_json::Value>("/v1/topics/orders/scheduled?from=tomorrow").unwrap();
    assert!(format!("{bad:?}").contains("not a place in the schedule"), "{bad:?}");
    let none = scene.admin().get::<serde_json::Value>("/v1/topics/nowhere/scheduled").unwrap();
    assert!(format!("{none:?}").contains("unknown-topic"), "{none:?}");

    let released = eventually("the first release", PATIENCE, || {
        let told = scene.get("/v1/explain?topic=orders&source=shop&id=soon");
        (told["event"]["scheduled"]["state"] == "released").then_some(told)
    });
    let copy = released["event"]["scheduled"]["copy"].as_str().unwrap();
    assert_eq!(released["subscriptions"][0]["subscription"], "reminders");
    let told = scene.host.cli(&["explain", copy]).unwrap();
    assert!(told.contains("released copy of the scheduled event"), "{told}");
    scene.host.stop().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(
        scene.get("/v1/topics/orders")["scheduled"],
        json!({ "waiting": 1, "released": 1, "cancelled": 0, "replaced": 0, "expired": 0 })
    );
    let listed = scene.host.cli(&["scheduled", "list", "orders"]).unwrap();
    assert!(listed.contains("hour") && !listed.contains("soon"), "{listed}");
}

#[test]
fn a_retry_of_a_scheduled_publish_gets_the_first_place_before_and_after_the_release() {
    let scene = Scene::new();
    scene.topic("orders");
    let event = later("once", now_ms() + 400);
    let place = |outcome: &Outcome| outcome.receipt().map(|receipt| (receipt.position.to_string(), receipt.duplicate));
    let first = place(&scene.publish("orders", [event.clone()])[0]).unwrap();
    let again = place(&scene.publish("orders", [event.clone()])[0]).unwrap();
    assert_eq!((first.1, again), (false, (first.0.clone(), true)));
    eventually("the release", PATIENCE, || (scene.get("/v1/status")["scheduled"] == 0).then_some(()));
    assert_eq!(place(&scene.publish("orders", [event])[0]).unwrap(), (first.0, true));
    // Two events are in the log: the one that waited and its copy.
    assert_eq!(scene.get("/v1/topics/orders/events?from=earliest")["events"].as_array().unwrap().len(), 2);
}

#[test]
fn scheduled_events_are_cancelled_exactly_and_replaced_by_a_later_one() {
    let mut scene = Scene::new();
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("reminders", Script::default())]);
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    scene.apply("reminders", &webhook("reminders", "orders", &receiver, ""));
    let keyed = |id: &str, key: &str, due_ms: u64| {
        let data = json!({ "id": id }).to_string();
        Event::builder("/e2e", "reminder.due").id(id).key(key).deliver_at(at(due_ms)).json(&data).build().unwrap()
    };
    let hour = now_ms() + 3_600_000;
    let soon = now_ms() + 500;
    scene.store(
        "orders",
        [keyed("a1", "a", hour), keyed("a2", "a", hour), keyed("b1", "b", hour), keyed("c1", "c", soon)],
    );
    let cancel = |arguments: &[&str]| {
        let told = scene.host.cli(&[&["scheduled", "cancel", "orders"], arguments].concat());
        told.map_err(|error| error.to_string())
    };
    assert_eq!(cancel(&["--source", "/e2e", "--id", "a1"]).unwrap(), "1 cancelled\n");
    assert!(cancel(&["--source", "/e2e", "--id", "a1"]).unwrap().contains("was cancelled"));
    assert!(cancel(&["--source", "/e2e", "--id", "never"]).unwrap_err().contains("no event of that source and id"));
    assert!(cancel(&["--id", "a1"]).is_err() && cancel(&[]).is_err());
    assert_eq!(cancel(&["--key", "a"]).unwrap(), "1 cancelled\n");
    assert_eq!(cancel(&["--key", "a"]).unwrap(), "0 cancelled\n");
    eventually("the release", PATIENCE, || (scene.get("/v1/status")["scheduled"] == 1).then_some(()));
    assert!(cancel(&["--source", "/e2e", "--id", "c1"]).unwrap().contains("too late"));
    let both = json!({ "source": "/e2e", "id": "b1", "key": "b" });
    let refused = scene.admin().post::<serde_json::Value>("/v1/topics/orders/scheduled/cancel", &both).unwrap();
    assert!(format!("{refused:?}").contains("give `source` and `id`"), "{refused:?}");

    // An event that says so takes the place of what waits.
    let publish = |arguments: &[&str]| {
        let fixed = ["publish", "orders", "--type", "order.paid", "--source", "shop", "--data", "{}"];
        scene.host.cli(&[&fixed, arguments].concat()).map_err(|error| error.to_string())
    };
    let no_key = Event::builder("/e2e", "order.paid").id("no-key").replaces_pending().build().unwrap();
    let outcome = scene.publish("orders", [no_key]);
    assert!(matches!(&outcome[0], Outcome::Refused { detail, .. } if detail.contains("ordering key")), "{outcome:?}");
    publish(&["--id", "paid", "--key", "b", "--replaces-pending"]).unwrap();
    let told = scene.get("/v1/explain?topic=orders&source=/e2e&id=b1");
    assert_eq!(told["event"]["scheduled"]["state"], "replaced");
    let actions = scene.get("/v1/audit?limit=100");
    let rows: Vec<_> = actions.as_array().unwrap().iter().filter(|row| row["action"] == "scheduled.cancel").collect();
    let details: Vec<_> = rows.iter().map(|row| row["detail"].as_str().unwrap()).collect();
    assert_eq!(details, ["1 cancelled", "1 cancelled"], "a cancel that found nothing leaves no row");
    scene.host.stop().unwrap();
    scene.host.restart().unwrap();
    let counts = &scene.get("/v1/topics/orders")["scheduled"];
    assert_eq!(counts, &json!({ "waiting": 0, "released": 1, "cancelled": 2, "replaced": 1, "expired": 0 }));
    scene.settled("reminders");
    let mut called: Vec<String> = calls
        .records()
        .unwrap()
        .into_iter()
        .filter_map(|record| if let Record::Call(call) = record { Some(call.id) } else { None })
        .collect();
    called.sort();
    assert_eq!(called, ["c1", "paid"]);
}
