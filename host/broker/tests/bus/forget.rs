//! Deleting a subscription: what goes, what stays, what calls under way may still do, and a restart in the middle.

use bugle_broker::{ApplySubscription, Options, StartAt, SubscriptionError};
use bugle_core::code::Code;
use bugle_core::event::Class;
use bugle_core::ids::{Name, SubscriptionId};
use bugle_core::import::{ClaimOutcome, Import, NewEvent, Reply, Strength};
use bugle_core::spec::Subscription;
use bugle_core::step::CatalogKind;
use bugle_core::time::Millis;

use crate::support::{Act, Producer, Script, ack, event, nack, set_up, settled, start, stop, subscription, wait};

fn claim(key: &str) -> Import {
    Import::Claim { key: key.to_owned(), strength: Strength::Strong, keep: Millis::from_secs(3600) }
}

/// Rows of the store that belong to the subscription or lie under its name.
fn left(dir: &std::path::Path, id: SubscriptionId, name: &str) -> Vec<String> {
    let (store, _) = bugle_store::Store::open(dir, bugle_store::Options::default()).unwrap();
    let rows = store.subscription(id).unwrap();
    let mut left = Vec::new();
    if rows != bugle_store::SubscriptionRows::default() {
        left.push(format!("{rows:?}"));
    }
    left.extend(store.dead(id, None, 10).unwrap().iter().map(|row| format!("{row:?}")));
    left.extend(store.kv_scan(name, "", None, 10, 1 << 20).unwrap().rows.iter().map(|row| format!("{row:?}")));
    left.extend(store.claim(name, "order:7").unwrap().iter().map(|row| format!("{row:?}")));
    left.extend(store.catalog_list(CatalogKind::Deleted, None, 10).unwrap().iter().map(|row| format!("{row:?}")));
    left
}

async fn apply_again(bus: &bugle_broker::Bus) -> Result<SubscriptionId, SubscriptionError> {
    let row = |spec: &Subscription| spec.id.0.to_string().into_bytes();
    let apply = ApplySubscription { spec: subscription("mail"), start: StartAt::Earliest, row, also: Vec::new() };
    bus.apply_subscription(apply).await.map(|_| bus.subscriptions()[0].id)
}

#[tokio::test]
async fn a_deleted_subscription_leaves_nothing_and_its_number_is_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| Act::End(if delivery.event.event.id() == "e0" { nack() } else { ack() }));
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..4).map(|n| event(&format!("e{n}"), Some(&format!("k{n}")), "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 4).await;
    bus.kv_put(&Name::from("mail"), "k".to_owned(), Some(b"v".to_vec()), None, Vec::new()).await.unwrap();
    bus.delete_subscription("mail", Vec::new()).await.unwrap();
    assert!(matches!(bus.delete_subscription("mail", Vec::new()).await, Err(SubscriptionError::NotFound(_))));
    let mut applied = apply_again(&bus).await;
    while matches!(applied, Err(SubscriptionError::StillEnding(_))) {
        tokio::task::yield_now().await;
        applied = apply_again(&bus).await;
    }
    assert_eq!(applied.unwrap(), SubscriptionId(2));
    settled(&bus, "mail", first + 4).await;
    drop(producer);
    stop(bus).await;
    assert_eq!(left(dir.path(), SubscriptionId(1), "mail"), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_under_way_ends_without_effect_and_keeps_the_name_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", Some("a"), "x")]).await;
    let mut call = script.take().await;
    bus.delete_subscription("mail", Vec::new()).await.unwrap();
    // It still runs, and takes a claim under the name of the old subscription.
    call.import(claim("order:7")).await.unwrap();
    let refused = apply_again(&bus).await.unwrap_err();
    assert!(matches!(&refused, SubscriptionError::StillEnding(name) if &**name == "mail"), "{refused}");
    call.finish(ack());
    let mut applied = apply_again(&bus).await;
    while matches!(applied, Err(SubscriptionError::StillEnding(_))) {
        tokio::task::yield_now().await;
        applied = apply_again(&bus).await;
    }
    assert_eq!(applied.unwrap(), SubscriptionId(2));
    // The new subscription finds the claim free.
    let mut call = script.take().await;
    let reply = call.import(claim("order:7")).await.unwrap();
    assert!(matches!(reply, Reply::Claim(ClaimOutcome::Claimed { uncertain: false, .. })), "{reply:?}");
    call.finish(ack());
    drop(producer);
    stop(bus).await;
}

#[tokio::test]
async fn a_restart_while_the_last_call_runs_finishes_the_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", Some("a"), "x")]).await;
    let mut call = script.take().await;
    bus.delete_subscription("mail", Vec::new()).await.unwrap();
    call.import(claim("order:7")).await.unwrap();
    // What a crash leaves: the files as they are while the call still runs.
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let again = start(crashed.path(), &Script::acks(), Options::default());
    assert!(again.subscriptions().is_empty());
    let applied = apply_again(&again).await.unwrap();
    assert_eq!(applied, SubscriptionId(2), "the name is free, since no call is left");
    stop(again).await;
    assert_eq!(left(crashed.path(), SubscriptionId(1), "mail"), Vec::<String>::new());
    call.finish(ack());
    drop(producer);
    stop(bus).await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[tokio::test]
async fn an_event_that_feeds_itself_is_stopped_with_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("loop"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", Some("a"), "x")]).await;
    let follow_up = || NewEvent {
        topic: "orders".to_owned(),
        kind: "again".to_owned(),
        subject: None,
        key: None,
        id: None,
        deliver_at: None,
        expires: None,
        class: Class::Normal,
        content_type: None,
        attributes: Vec::new(),
        data: b"x".to_vec(),
    };
    let mut hops = 0;
    let refused = loop {
        wait("the next call", || script.kept() > 0).await;
        let mut call = script.take().await;
        match call.import(Import::Publish(vec![follow_up()])).await {
            Ok(_) => {
                hops += 1;
                assert!(hops < 100, "nobody stops the loop");
                call.finish(ack());
            }
            Err(refused) => {
                call.finish(ack());
                break refused;
            }
        }
    };
    assert_eq!((hops, refused.code), (16, Code::Quota));
    assert!(refused.message.contains("a loop is refused"), "{}", refused.message);
    drop(producer);
    stop(bus).await;
}
