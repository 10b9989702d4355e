//! The backlog cap through the bus: what expires, what is refused, and that it ends.

use std::time::{Duration, Instant};

use bugle_broker::{Bus, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::publish::BatchOutcome;
use bugle_core::row::LetGoWhy;
use bugle_core::spec::{BacklogCap, BacklogPolicy, Subscription};

use crate::support::{PATIENCE, Producer, Script, event, set_up, settled, start, stop, subscription, topic, wait};

fn capped(events_max: u64, policy: BacklogPolicy) -> Subscription {
    Subscription { backlog: BacklogCap { events_max, policy, ..BacklogCap::default() }, ..subscription("mail") }
}

async fn paused(bus: &Bus) {
    bus.pause("mail", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
}

fn ten(from: u64) -> Vec<bugle_core::event::Event> {
    (from..from + 10).map(|n| event(&format!("e{n}"), None, "x")).collect()
}

#[tokio::test]
async fn the_oldest_events_of_a_paused_subscription_expire_with_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, capped(4, BacklogPolicy::ExpireOldest), StartAt::Latest).await;
    paused(&bus).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", ten(0)).await;
    settled(&bus, "mail", first + 6).await;
    let status = bus.status("mail").await.unwrap();
    let row = status.machine.unwrap().let_go.unwrap();
    assert_eq!((row.from.0, row.to.0, row.events, row.why), (first, first + 6, 6, LetGoWhy::Expired));
    assert_eq!(status.unsettled, 4);
    // Counted once the row is durable.
    wait("the expiry to be told", || bus.throughputs()[0].1.expired == 6).await;
    bus.resume("mail", Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 10).await;
    let mut ids = script.ids();
    ids.sort();
    assert_eq!(ids, ["e6", "e7", "e8", "e9"]);
    drop(producer);
    stop(bus).await;
    let (store, _) = bugle_store::Store::open(dir.path(), bugle_store::Options::default()).unwrap();
    assert_eq!(store.let_go(bugle_core::ids::SubscriptionId(1)).unwrap(), [row], "the row is durable");
}

#[tokio::test]
async fn publishing_is_refused_by_name_until_the_backlog_is_worked_off() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, capped(4, BacklogPolicy::RefusePublish), StartAt::Latest).await;
    topic(&bus, "refunds").await;
    paused(&bus).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", ten(0)).await;
    let deadline = Instant::now() + PATIENCE;
    let mut session = 1;
    let refusal = loop {
        // A refused batch did not use up its place in its stream, so each try has a session of its own.
        session += 1;
        match Producer::open(&bus, session)
            .await
            .publish("orders", vec![event(&format!("x{:?}", Instant::now()), None, "x")])
            .await
        {
            BatchOutcome::Refused(refusal) => break refusal,
            BatchOutcome::Stored { .. } => assert!(Instant::now() < deadline, "publishing goes on over the cap"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refusal.code, Code::Quota);
    assert!(refusal.retry_after.is_some() && refusal.detail.contains("`mail`"), "{}", refusal.detail);
    assert!(bus.status("mail").await.unwrap().machine.unwrap().is_backlog_full);
    let other = Producer::open(&bus, 1_000).await.publish("refunds", vec![event("r0", None, "x")]).await;
    assert!(matches!(other, BatchOutcome::Stored { stored: 1, .. }), "other topics are open: {other:?}");
    bus.resume("mail", Vec::new()).await.unwrap();
    loop {
        session += 1;
        let outcome = Producer::open(&bus, session).await.publish("orders", vec![event("last", None, "x")]).await;
        if matches!(outcome, BatchOutcome::Stored { .. }) {
            break;
        }
        assert!(Instant::now() < deadline, "publishing is refused although nothing is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(bus.commits().backlog_full.get() > 0);
    drop(producer);
    stop(bus).await;
}

#[tokio::test]
async fn deleting_the_subscription_ends_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let bus = start(dir.path(), &Script::acks(), Options::default());
    set_up(&bus, capped(4, BacklogPolicy::RefusePublish), StartAt::Latest).await;
    paused(&bus).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", ten(0)).await;
    let deadline = Instant::now() + PATIENCE;
    while !bus.status("mail").await.unwrap().machine.unwrap().is_backlog_full {
        assert!(Instant::now() < deadline, "the backlog is never found full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bus.delete_subscription("mail", Vec::new()).await.unwrap();
    let outcome = producer.publish("orders", vec![event("after", None, "x")]).await;
    assert!(matches!(outcome, BatchOutcome::Stored { stored: 1, .. }), "{outcome:?}");
    drop(producer);
    stop(bus).await;
}
