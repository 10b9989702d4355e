//! Outcomes as events: in the batch of the end, handed to who covers them, over a restart, and none of their own.

use bugle_broker::{Options, StartAt};
use bugle_core::spec::Subscription;

use crate::support::{Act, Producer, Script, ack, event, nack, set_up, settled, start_with, stop, subscription, topic};

#[tokio::test]
async fn each_end_is_told_once_to_who_covers_the_topic_and_that_is_told_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    script.behave_by_name(|name, delivery| {
        let fails = name == "sms" && delivery.event.event.id() == "e1";
        Act::End(if fails { nack() } else { ack() })
    });
    let bus = start_with(dir.path(), &script, Options::default(), |spec| spec);
    topic(&bus, "orders").await;
    let outcomes = bus.settled_topic().await.unwrap();
    assert_eq!(bus.settled_topic().await.unwrap(), outcomes, "made once");
    let tells = move |spec: Subscription| Subscription { settled: Some(outcomes), ..spec };
    set_up(&bus, tells(subscription("sms")), StartAt::Latest).await;
    let audit = Subscription { topics: vec![outcomes], ..tells(subscription("audit")) };
    set_up(&bus, audit.clone(), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", ["e0", "e1"].map(|id| event(id, Some("k"), "x")).to_vec()).await;
    // Two events, and an outcome of each.
    settled(&bus, "audit", first + 4).await;
    stop(bus).await;
    drop(producer);

    let complete = move |spec: Subscription| match &*spec.name {
        "audit" => Subscription { id: spec.id, redelivery: spec.redelivery, ..audit.clone() },
        _ => tells(spec),
    };
    let bus = start_with(dir.path(), &script, Options::default(), complete);
    let mut producer = Producer::open(&bus, 2).await;
    producer.store("orders", vec![event("e2", Some("k"), "x")]).await;
    settled(&bus, "audit", first + 6).await;
    assert_eq!(bus.end().0, first + 6, "outcomes have none");
    let told: Vec<String> =
        script.seen().into_iter().filter(|seen| seen.subscription == "audit").map(|seen| seen.id).collect();
    let at = |offset: u64, outcome: &str| format!("sms/0-{offset}/{outcome}");
    assert_eq!((told.len(), &told[0]), (3, &at(first, "sent")));
    assert_eq!(told[1], at(first + 1, "dead"));
    assert!(told[2].ends_with("/sent"), "{told:?}");
    stop(bus).await;
}
