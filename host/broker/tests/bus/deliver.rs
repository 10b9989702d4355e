//! From publish to settled: order, retries, dead letters, pausing, filters.

use std::collections::BTreeMap;
use std::time::Duration;

use bugle_broker::{ApplySubscription, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::publish::BatchOutcome;
use bugle_core::retention::Shelf;
use bugle_core::spec::{Filter, Subscription};
use bugle_store::DeadEntry;

use crate::support::{Act, Producer, Script, ack, dead, event, nack, set_up, settled, start, stop, subscription, wait};

#[tokio::test]
async fn published_events_are_delivered_and_settled() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..10).map(|n| event(&format!("e{n}"), None, "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 10).await;
    let mut ids = script.ids();
    ids.sort();
    assert_eq!(ids, (0..10).map(|n| format!("e{n}")).collect::<Vec<_>>());
    let status = bus.status("mail").await.unwrap();
    assert_eq!(status.throughput.acked, 10);
    assert_eq!(status.backlog_max, 0);
    let durable = || bus.throughputs().pop().unwrap().1.settle_ms.total();
    wait("the settlements to be durable", || durable() == 10).await;
    stop(bus).await;
}

#[tokio::test]
async fn events_of_a_key_run_one_at_a_time_in_order_and_other_keys_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..9).map(|n| event(&format!("e{n}"), Some(&format!("k{}", n % 3)), "x")).collect();
    let first = producer.store("orders", events).await;
    for _ in 0..3 {
        wait("one call of each key", || script.kept() == 3).await;
        for _ in 0..3 {
            script.take().await.finish(ack());
        }
    }
    settled(&bus, "mail", first + 9).await;
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in script.seen() {
        by_key.entry(seen.key.unwrap()).or_default().push(seen.id);
    }
    assert_eq!(by_key["k0"], ["e0", "e3", "e6"]);
    assert_eq!(by_key["k1"], ["e1", "e4", "e7"]);
    assert_eq!(by_key["k2"], ["e2", "e5", "e8"]);
    stop(bus).await;
}

#[tokio::test]
async fn a_nacked_event_runs_again_with_the_same_key_and_blocks_only_its_lane() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| {
        Act::End(if delivery.event.event.id() == "e0" && delivery.attempt.0 == 1 { nack() } else { ack() })
    });
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = vec![event("e0", Some("a"), "x"), event("e1", Some("a"), "x"), event("e2", Some("b"), "x")];
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 3).await;
    let of = |id: &str| script.seen().into_iter().filter(|seen| seen.id == id).collect::<Vec<_>>();
    let tries = of("e0");
    assert_eq!(tries.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(tries[0].idempotency_key, tries[1].idempotency_key);
    assert_eq!(of("e1").len(), 1);
    let lane: Vec<_> =
        script.seen().into_iter().filter(|seen| seen.key.as_deref() == Some("a")).map(|s| s.id).collect();
    assert_eq!(lane, ["e0", "e0", "e1"]);
    stop(bus).await;
}

#[tokio::test]
async fn an_event_that_never_succeeds_becomes_a_dead_letter_with_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| match delivery.event.event.id() {
        "poison" => Act::End(nack()),
        "wrong" => Act::End(CallEnd::Returned(Err(Failure::Reject("no such user".to_owned())))),
        _ => Act::End(ack()),
    });
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = ["poison", "wrong", "good"].map(|id| event(id, None, "x")).to_vec();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 3).await;
    let dead = dead(&bus, "mail", 2).await;
    let causes: Vec<_> =
        dead.iter().map(|DeadEntry { row, .. }| (row.event.event.id(), row.cause.as_str(), row.attempts)).collect();
    assert_eq!(causes, [("poison", "attempts-exhausted", 3), ("wrong", "rejected", 1)]);
    assert_eq!(dead[0].row.notes.len(), 3);
    stop(bus).await;
}

#[tokio::test]
async fn a_paused_subscription_keeps_its_events_until_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    bus.pause("mail", "operator".to_owned(), "maintenance".to_owned(), Vec::new()).await.unwrap();
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    let status = bus.status("mail").await.unwrap();
    assert!(status.machine.unwrap().paused.is_some());
    assert!(script.seen().is_empty());
    bus.resume("mail", Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 1).await;
    assert_eq!(script.ids(), ["e0"]);
    assert!(bus.pause("nobody", String::new(), String::new(), Vec::new()).await.is_err());
    stop(bus).await;
}

#[tokio::test]
async fn a_filter_selects_and_a_change_of_it_holds_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    let only = |id: &str| Subscription {
        filter: Filter::Exact { attribute: "id".to_owned(), value: id.to_owned() },
        ..subscription("mail")
    };
    set_up(&bus, only("e1"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..3).map(|n| event(&format!("e{n}"), None, "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 3).await;
    let row = |spec: &Subscription| spec.id.0.to_string().into_bytes();
    let apply = ApplySubscription { spec: only("e4"), start: StartAt::Latest, row, also: Vec::new() };
    bus.apply_subscription(apply).await.unwrap();
    let events = (3..6).map(|n| event(&format!("e{n}"), None, "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 3).await;
    assert_eq!(script.ids(), ["e1", "e4"]);
    stop(bus).await;
}

#[tokio::test]
async fn a_new_subscription_starts_where_it_is_told_and_the_count_says_what_that_means() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("first"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..5).map(|n| event(&format!("e{n}"), None, "x")).collect();
    let first = producer.store("orders", events).await;
    assert_eq!(bus.count(&subscription("all"), StartAt::Earliest).await.unwrap().events, 5);
    assert_eq!(bus.count(&subscription("none"), StartAt::Latest).await.unwrap().events, 0);
    set_up(&bus, subscription("all"), StartAt::Earliest).await;
    set_up(&bus, subscription("none"), StartAt::Latest).await;
    settled(&bus, "all", first + 5).await;
    settled(&bus, "none", first + 5).await;
    let of = |name: &str| script.seen().iter().filter(|seen| seen.subscription == name).count();
    assert_eq!((of("first"), of("all"), of("none")), (5, 5, 0));
    stop(bus).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_costs_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    drop(script.take().await);
    let again = script.take().await;
    assert_eq!(again.delivery().attempt.0, 1);
    again.finish(ack());
    settled(&bus, "mail", first + 1).await;
    stop(bus).await;
}

#[tokio::test]
async fn a_lapsed_call_is_run_again_and_its_late_end_has_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    let spec = Subscription { lease: bugle_core::time::Millis(50), ..subscription("mail") };
    set_up(&bus, spec, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    let lapsed = script.take().await;
    let second = script.take().await;
    assert_ne!(lapsed.delivery().ticket, second.delivery().ticket);
    second.finish(ack());
    settled(&bus, "mail", first + 1).await;
    lapsed.finish(nack());
    let status = bus.status("mail").await.unwrap();
    assert_eq!(status.throughput.acked, 1);
    assert_eq!(status.throughput.nacked, 0);
    stop(bus).await;
}

#[tokio::test]
async fn bad_batches_are_refused_one_by_one_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    match producer.publish("nowhere", vec![event("e0", None, "x")]).await {
        BatchOutcome::Refused(refusal) => assert_eq!(refusal.code, Code::UnknownTopic),
        other @ BatchOutcome::Stored { .. } => panic!("{other:?}"),
    }
    stop(bus).await;
}

#[tokio::test]
async fn shutdown_waits_for_calls_and_starts_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", Some("k"), "x"), event("e1", Some("k"), "x")]).await;
    let call = script.take().await;
    let ending = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown(Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await;
    call.finish(ack());
    ending.await.unwrap();
    assert_eq!(script.ids(), ["e0"]);
    assert!(bus.create_topic("late".into(), Shelf::default(), |_| Vec::new(), Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_failing_subscriber_makes_no_other_one_run_twice() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("good"), StartAt::Latest).await;
    set_up(&bus, subscription("bad"), StartAt::Latest).await;
    script.behave_by_name(|name, _| Act::End(if name == "bad" { nack() } else { ack() }));
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..4).map(|n| event(&format!("e{n}"), Some("k"), "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "good", first + 4).await;
    settled(&bus, "bad", first + 4).await;
    let of = |name: &str| script.seen().iter().filter(|seen| seen.subscription == name).count();
    assert_eq!((of("good"), of("bad")), (4, 12));
    assert_eq!(dead(&bus, "bad", 4).await.len(), 4);
    stop(bus).await;
}
