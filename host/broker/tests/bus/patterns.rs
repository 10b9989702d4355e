//! Topic patterns: what exists is covered at once, what is created later from its first event on, restart or not.

use bugle_broker::{ApplySubscription, Options, StartAt, SubscriptionError};
use bugle_core::ids::TopicId;
use bugle_core::spec::Subscription;

use crate::support::{Producer, Script, event, set_up, settled, start, start_with, stop, subscription, topic};

fn by_pattern(name: &str, patterns: &[&str]) -> Subscription {
    let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
    Subscription { topics: Vec::new(), patterns, ..subscription(name) }
}

#[tokio::test]
async fn topics_that_exist_and_topics_that_come_are_covered_from_their_first_event_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    topic(&bus, "orders.eu").await;
    topic(&bus, "refunds").await;
    set_up(&bus, by_pattern("mail", &["orders.*"]), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders.eu", vec![event("e0", None, "x")]).await;
    producer.store("refunds", vec![event("r0", None, "x")]).await;
    for late in ["orders.us", "orders.asia"] {
        topic(&bus, late).await;
        producer.store(late, vec![event(late, None, "x")]).await;
    }
    topic(&bus, "orders.us.west").await;
    let last = producer.store("orders.us.west", vec![event("w0", None, "x")]).await;
    // A worker that covers none of the last topics is not woken by them; this one it covers.
    let last = producer.store("orders.eu", vec![event("e1", None, "x")]).await.max(last);
    settled(&bus, "mail", last + 1).await;
    let mut ids = script.ids();
    ids.sort();
    assert_eq!(ids, ["e0", "e1", "orders.asia", "orders.us"]);
    drop(producer);
    stop(bus).await;
}

#[tokio::test]
async fn a_restart_finds_by_the_pattern_what_was_created_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, by_pattern("mail", &["orders.**"]), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    topic(&bus, "orders.eu").await;
    let first = producer.store("orders.eu", vec![event("e0", None, "x")]).await;
    settled(&bus, "mail", first + 1).await;
    bus.pause("mail", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    let id = topic(&bus, "orders.us.west").await;
    producer.store("orders.us.west", vec![event("e1", None, "x")]).await;
    drop(producer);
    stop(bus).await;
    let bus = start_with(dir.path(), &script, Options::default(), |spec| Subscription {
        id: spec.id,
        ..by_pattern("mail", &["orders.**"])
    });
    assert!(bus.subscriptions()[0].topics.contains(&id));
    bus.resume("mail", Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 2).await;
    assert_eq!(script.ids(), ["e0", "e1"]);
    stop(bus).await;
}

#[tokio::test]
async fn a_subscription_needs_a_topic_or_a_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let bus = start(dir.path(), &Script::acks(), Options::default());
    let spec = Subscription { topics: Vec::<TopicId>::new(), ..subscription("mail") };
    let apply =
        ApplySubscription { spec, start: StartAt::Latest, row: |_: &Subscription| Vec::new(), also: Vec::new() };
    assert!(matches!(bus.apply_subscription(apply).await, Err(SubscriptionError::Empty(_))));
    set_up(&bus, by_pattern("mail", &["not.there.yet"].map(|_| "x.*")), StartAt::Earliest).await;
    assert_eq!(bus.subscriptions()[0].topics, Vec::<TopicId>::new());
    stop(bus).await;
}
