//! Private topics: made with their subscription, closed to everyone else, covered whatever the filter says.

use bugle_broker::{CreateTopicError, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::origin::is_reserved;
use bugle_core::publish::BatchOutcome;
use bugle_core::retention::Shelf;
use bugle_core::spec::{Filter, Subscription};

use crate::support::{Producer, Script, event, set_up, start, stop, subscription};

#[tokio::test]
async fn a_private_topic_is_made_with_its_subscription_and_stays_the_same_over_changes_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let first = bus.topic("bugle.to.mail").unwrap();
    assert_eq!(bus.subscriptions()[0].redelivery, Some(first));
    let changed = Subscription { filter: Filter::Any(Vec::new()), concurrency: 3, ..subscription("mail") };
    set_up(&bus, changed, StartAt::Latest).await;
    assert_eq!(bus.subscriptions()[0].redelivery, Some(first));
    stop(bus).await;
    let bus = start(dir.path(), &script, Options::default());
    assert_eq!((bus.subscriptions()[0].redelivery, bus.topic("bugle.to.mail")), (Some(first), Some(first)));
    bus.delete_subscription("mail", Vec::new()).await.unwrap();
    assert_eq!(bus.topic("bugle.to.mail"), None);
    set_up(&bus, subscription("mail"), StartAt::Earliest).await;
    assert!(bus.topic("bugle.to.mail").unwrap() > first, "nothing of the old one comes to the new one");
    stop(bus).await;
}

#[tokio::test]
async fn a_subscription_from_before_private_topics_gets_one_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let old = bus.topic("bugle.to.mail").unwrap();
    let (kind, key) = (bugle_core::step::CatalogKind::Topic, "bugle.to.mail".to_owned());
    bus.define(kind, key, None, Vec::new()).await.unwrap();
    stop(bus).await;
    for _ in 0..2 {
        let bus = start(dir.path(), &script, Options::default());
        let made = bus.topic("bugle.to.mail").unwrap();
        assert_eq!((bus.subscriptions()[0].redelivery, made.0), (Some(made), old.0 + 1), "made once");
        stop(bus).await;
    }
}

#[tokio::test]
async fn topics_of_the_host_are_refused_to_producers_and_operators() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    for (session, topic) in [(1, "bugle.to.mail"), (2, "bugle.anything")] {
        let mut producer = Producer::open(&bus, session).await;
        match producer.publish(topic, vec![event("e", None, "x")]).await {
            BatchOutcome::Refused(refusal) => {
                assert_eq!(refusal.code, Code::Denied);
                assert!(refusal.detail.contains(topic) && refusal.detail.contains("host alone"), "{}", refusal.detail);
            }
            other @ BatchOutcome::Stored { .. } => panic!("{other:?}"),
        }
        let made = bus.create_topic(topic.into(), Shelf::default(), |_| Vec::new(), Vec::new()).await;
        assert!(matches!(made, Err(CreateTopicError::Reserved(_))), "{made:?}");
    }
    assert_eq!(bus.topics().iter().filter(|topic| is_reserved(&topic.name)).count(), 1);
    assert!(script.seen().is_empty());
    stop(bus).await;
}
