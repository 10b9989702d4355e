//! What a restart keeps: cursors, waiting deliveries, dedup, order, keys.

use bugle_broker::{Options, StartAt};
use bugle_core::admission::WindowSize;
use bugle_core::publish::{BatchOutcome, IdState};

use crate::support::{Act, Producer, Script, ack, event, nack, set_up, settled, start, stop, subscription, wait};

#[tokio::test]
async fn settled_events_stay_settled_and_unsettled_ones_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| match delivery.event.event.id() {
        "e1" | "e3" => Act::Keep,
        _ => Act::End(ack()),
    });
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..5).map(|n| event(&format!("e{n}"), None, "x")).collect();
    let first = producer.store("orders", events).await;
    wait("all attempts", || script.seen().len() == 5).await;
    let keys_before: Vec<_> = script.seen().into_iter().map(|seen| (seen.id, seen.idempotency_key)).collect();
    // The kept calls never end: the grace is over at once and their deliveries must come again.
    settled(&bus, "mail", first + 1).await;
    bus.shutdown(std::time::Duration::from_millis(50)).await;
    drop(script);
    drop(producer);
    drop(bus);

    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    settled(&bus, "mail", first + 5).await;
    let mut again = script.ids();
    again.sort();
    assert_eq!(again, ["e1", "e3"]);
    for seen in script.seen() {
        assert!(keys_before.contains(&(seen.id, seen.idempotency_key)), "the key survives a restart");
    }
    stop(bus).await;
}

#[tokio::test]
async fn a_waiting_retry_keeps_its_count_and_its_lane_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| if delivery.attempt.0 == 1 { Act::End(nack()) } else { Act::Keep });
    let bus = start(dir.path(), &script, Options::default());
    let mut spec = subscription("mail");
    spec.retry.first_backoff = bugle_core::time::Millis(1);
    set_up(&bus, spec, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", Some("k"), "x"), event("e1", Some("k"), "x")]).await;
    wait("the second attempt", || script.seen().len() >= 2).await;
    bus.shutdown(std::time::Duration::from_millis(200)).await;
    assert_eq!(script.seen().len(), 2, "the later event waits behind the kept call");
    drop((script, producer, bus));

    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    settled(&bus, "mail", first + 2).await;
    let seen = script.seen();
    assert_eq!(seen.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["e0", "e1"]);
    assert!(seen[0].attempt > 1, "spent attempts are remembered: {seen:?}");
    stop(bus).await;
}

#[tokio::test]
async fn a_duplicate_is_known_after_a_restart_and_gets_the_first_position() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x"), event("e1", None, "x")]).await;
    stop(bus).await;
    drop(producer);

    let bus = start(dir.path(), &script, Options::default());
    let mut producer = Producer::open(&bus, 2).await;
    let outcome = producer.publish("orders", vec![event("e1", None, "x"), event("e2", None, "x")]).await;
    let BatchOutcome::Stored { stored, duplicates, refused, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(stored, 1);
    assert_eq!(duplicates.iter().map(|(index, at)| (*index, at.offset.0)).collect::<Vec<_>>(), [(0, first + 1)]);
    assert!(refused.is_empty());
    let changed = producer.publish("orders", vec![event("e1", None, "other")]).await;
    let BatchOutcome::Stored { refused, .. } = changed else { panic!("{changed:?}") };
    assert_eq!(refused[0].1.code, bugle_core::code::Code::IdReused);
    let state = bus.query("orders".into(), "/test".to_owned(), "e1".to_owned()).await.unwrap();
    assert!(matches!(state, Some(IdState::Stored(at)) if at.offset.0 == first + 1));
    let state = bus.query("orders".into(), "/test".to_owned(), "never".to_owned()).await.unwrap();
    assert_eq!(state, Some(IdState::NotInWindow));
    assert_eq!(bus.query("nowhere".into(), "/test".to_owned(), "e1".to_owned()).await.unwrap(), None);
    stop(bus).await;
}

#[tokio::test]
async fn a_duplicate_is_found_in_sealed_blocks_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let window = WindowSize { ids: 200, ..WindowSize::default() };
    let options = Options { window, ring_bytes_max: 1, ..Options::default() };
    let bus = start(dir.path(), &script, options);
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let page = |from: usize| (from..from + 20).map(|n| event(&format!("e{n}"), None, "x")).collect::<Vec<_>>();
    for from in (0..400).step_by(20) {
        producer.store("orders", page(from)).await;
    }
    let all_known = async |producer: &mut Producer| {
        for from in (220..400).step_by(20) {
            let outcome = producer.publish("orders", page(from)).await;
            let BatchOutcome::Stored { stored, duplicates, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!((stored, duplicates.len()), (0, 20), "from {from}");
        }
    };
    all_known(&mut producer).await;
    assert!(bus.commits().lookups.get() > 0);
    stop(bus).await;
    drop(producer);
    let bus = start(dir.path(), &script, options);
    let mut producer = Producer::open(&bus, 2).await;
    all_known(&mut producer).await;
    stop(bus).await;
}

#[tokio::test]
async fn a_subscription_is_changed_and_deleted_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    set_up(&bus, subscription("sms"), StartAt::Latest).await;
    bus.delete_subscription("mail", Vec::new()).await.unwrap();
    assert!(bus.delete_subscription("mail", Vec::new()).await.is_err());
    assert!(bus.status("mail").await.is_none());
    stop(bus).await;

    let bus = start(dir.path(), &script, Options::default());
    let names: Vec<_> = bus.subscriptions().into_iter().map(|spec| spec.name.to_string()).collect();
    assert_eq!(names, ["sms"]);
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let id = |name: &str| bus.subscriptions().into_iter().find(|spec| &*spec.name == name).unwrap().id;
    assert!(id("mail") > id("sms"), "a number is never used again");
    stop(bus).await;
}
