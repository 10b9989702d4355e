//! Drain, boost and seek through the bus, over a restart.

use std::time::{Duration, Instant};

use bugle_broker::{Bus, Options, StartAt};
use bugle_core::ids::Offset;
use bugle_core::spec::Subscription;
use bugle_core::subscription::{DRAINED, Status};
use bugle_core::time::Timestamp;

use crate::support::{
    Act, PATIENCE, Producer, Script, ack, event, nack, set_up, settled, start, stop, subscription, wait,
};

async fn machine(bus: &Bus, name: &str) -> Status {
    bus.status(name).await.unwrap().machine.unwrap()
}

async fn until(bus: &Bus, name: &str, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = machine(bus, name).await;
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_drained(status: &Status) -> bool {
    status.paused.as_ref().is_some_and(|paused| paused.reason == DRAINED)
}

fn events(range: std::ops::Range<u64>) -> Vec<bugle_core::event::Event> {
    range.map(|n| event(&format!("e{n}"), Some("a"), "x")).collect()
}

#[tokio::test]
async fn a_drain_ends_in_a_pause_even_with_a_restart_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", events(0..3)).await;
    until(&bus, "mail", "all three to be read", |status| status.read.0 == first + 3).await;
    bus.drain("mail", Vec::new()).await.unwrap();
    let end = machine(&bus, "mail").await.run.drain_to;
    assert_eq!(end, Some(Offset(first + 3)));
    producer.store("orders", events(3..5)).await;
    script.take().await.finish(ack());
    wait("the second call", || script.kept() == 1).await;
    drop(script.take().await);
    drop(producer);
    stop(bus).await;
    script.behave(|_| Act::End(ack()));
    let bus = start(dir.path(), &script, Options::default());
    let status = until(&bus, "mail", "the drain to end", is_drained).await;
    assert_eq!((status.floor, status.run.drain_to), (Offset(first + 3), None));
    assert!(!script.ids().contains(&"e3".to_owned()), "{:?}", script.ids());
    bus.resume("mail", Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 5).await;
    stop(bus).await;
}

#[tokio::test]
async fn a_boost_raises_the_places_and_ends_by_itself_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, Subscription { concurrency: 2, ..subscription("mail") }, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let many = (0..100).map(|n| event(&format!("e{n}"), None, "x")).collect();
    let first = producer.store("orders", many).await;
    wait("two calls", || script.kept() == 2).await;
    bus.boost("mail", 4, Vec::new()).await.unwrap();
    wait("eight calls", || script.kept() == 8).await;
    let status = machine(&bus, "mail").await;
    assert_eq!((status.places, status.run.boost.map(|boost| boost.until)), (8, Some(Offset(first + 100))));
    for _ in 0..8 {
        drop(script.take().await);
    }
    drop(producer);
    stop(bus).await;
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    settled(&bus, "mail", first + 100).await;
    let status = until(&bus, "mail", "the boost to end", |status| status.run.boost.is_none()).await;
    assert_eq!(status.places, 32, "the tests' catalog keeps no concurrency");
    stop(bus).await;
}

#[tokio::test]
async fn a_seek_forward_lets_go_and_a_seek_back_delivers_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|_| Act::End(nack()));
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", events(0..6)).await;
    wait("a failure", || !script.seen().is_empty()).await;
    let count = bus.count_between(&bus.subscriptions()[0], Offset(first), Offset(first + 4)).await.unwrap();
    assert_eq!((count.events, count.is_cut), (4, false));
    script.behave(|_| Act::End(ack()));
    bus.seek("mail", Offset(first + 4), Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 6).await;
    assert_eq!(machine(&bus, "mail").await.let_go.unwrap().to, Offset(first + 4));
    let late = |ids: Vec<String>| ids.into_iter().filter(|id| id != "e0").collect::<Vec<_>>();
    assert_eq!(late(script.ids()), ["e4", "e5"]);
    drop(producer);
    stop(bus).await;
    let bus = start(dir.path(), &script, Options::default());
    assert_eq!(machine(&bus, "mail").await.floor, Offset(first + 6));
    bus.seek("mail", Offset(first + 2), Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 6).await;
    assert_eq!(late(script.ids()), ["e4", "e5", "e2", "e3", "e4", "e5"]);
    bus.seek("mail", Offset(u64::MAX), Vec::new()).await.unwrap();
    assert_eq!(machine(&bus, "mail").await.floor, Offset(first + 6), "not beyond the end");
    stop(bus).await;
}

#[tokio::test]
async fn a_seek_back_that_was_durable_is_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", events(0..6)).await;
    settled(&bus, "mail", first + 6).await;
    bus.pause("mail", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    bus.seek("mail", Offset(first + 1), Vec::new()).await.unwrap();
    drop(producer);
    stop(bus).await;
    let bus = start(dir.path(), &script, Options::default());
    assert_eq!(machine(&bus, "mail").await.floor, Offset(first + 1));
    bus.resume("mail", Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 6).await;
    assert_eq!(script.ids()[6..], ["e1", "e2", "e3", "e4", "e5"]);
    stop(bus).await;
}

#[tokio::test]
async fn a_time_means_the_first_event_that_was_accepted_then_or_later() {
    let dir = tempfile::tempdir().unwrap();
    let bus = start(dir.path(), &Script::acks(), Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    assert_eq!(bus.offset_at(Timestamp(0)).await.unwrap(), bus.end());
    for n in 0..40 {
        producer.store("orders", events(n..n + 1)).await;
    }
    let page = bus.read(bus.floor(), bugle_store::EventBounds { events_max: 100, bytes_max: 1 << 20 }).await.unwrap();
    for stored in &page.events {
        let expected = page.events.iter().find(|other| other.received >= stored.received).unwrap();
        assert_eq!(bus.offset_at(stored.received).await.unwrap(), expected.position.offset);
    }
    assert_eq!(bus.offset_at(Timestamp(0)).await.unwrap(), bus.floor());
    assert_eq!(bus.offset_at(Timestamp(u64::MAX)).await.unwrap(), bus.end());
    drop(producer);
    stop(bus).await;
}

#[tokio::test]
async fn the_pace_tells_what_is_left_and_how_fast_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", events(0..10)).await;
    settled(&bus, "mail", first + 10).await;
    bus.pause("mail", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    producer.store("orders", events(10..15)).await;
    let status = bus.status("mail").await.unwrap();
    assert_eq!((status.unsettled, status.pace.settled, status.pace.arrived), (5, 10, 15));
    drop(producer);
    stop(bus).await;
}
