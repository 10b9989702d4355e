//! Old events go, in whole epochs, once every subscription that covers their retention has settled them, and not before.

use std::path::Path;
use std::sync::Arc;

use bugle_broker::{Bus, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::ids::{Name, Offset, TopicId};
use bugle_core::publish::{BatchOutcome, Try};
use bugle_core::retention::{KeepClass, Retention, Shelf};
use bugle_core::spec::{Subscription, Topic};
use bugle_core::time::Millis;

use crate::support::{Producer, Script, event, set_up, settled, start_in_epochs, stop, subscription, wait};

const EPOCH_BYTES: u64 = 16 << 10;
/// About two epochs.
const RULES: Retention =
    Retention { age: Millis::from_secs(3_600), bytes: 2 * EPOCH_BYTES, when_done: false, at_least: Millis(0) };

/// Half a minute, if one takes 5 ms.
const ROUNDS_MAX: u64 = 6_000;

fn short() -> KeepClass {
    KeepClass::new(1).unwrap()
}

async fn open(dir: &Path, script: &Arc<Script>) -> Bus {
    let bus = start_in_epochs(dir, script, Options { ring_bytes_max: 1, ..Options::default() }, EPOCH_BYTES);
    bus.set_retention(KeepClass::DEFAULT, RULES, Vec::new()).await.unwrap();
    bus
}

/// Publishes until the log of the default retention has begun so many more epochs; gives the number of events so far.
async fn fill(bus: &Bus, producer: &mut Producer, mut next: u64, epochs: u32) -> u64 {
    let newest = || bus.epochs_of(KeepClass::DEFAULT).last().map_or(0, |epoch| epoch.number);
    let until = newest() + epochs;
    while newest() < until {
        let events = (next..next + 10).map(|n| event(&format!("e{n}"), None, &"x".repeat(200))).collect();
        producer.store("orders", events).await;
        next += 10;
    }
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_epochs_go_and_a_subscription_that_stands_still_keeps_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = open(dir.path(), &script).await;
    set_up(&bus, subscription("quick"), StartAt::Latest).await;
    set_up(&bus, subscription("slow"), StartAt::Latest).await;
    bus.pause("slow", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    let mut producer = Producer::open(&bus, 1).await;
    let count = fill(&bus, &mut producer, 0, 4).await;
    settled(&bus, "quick", count).await;
    let slow = bus.subscriptions().into_iter().find(|spec| &*spec.name == "slow").unwrap().id;
    let pinned = || bus.pinned(KeepClass::DEFAULT);
    wait("the pin to be noticed", || pinned().by == Some(slow)).await;
    assert_eq!((bus.floor(), pinned().from), (Offset(0), Offset(0)), "nothing goes that somebody needs");

    bus.resume("slow", Vec::new()).await.unwrap();
    settled(&bus, "slow", count).await;
    wait("old events to go", || bus.floor() > Offset(0)).await;
    wait("nobody to pin", || pinned().by.is_none()).await;
    let floor = bus.floor();
    assert_eq!(script.seen().len() as u64, 2 * count, "each got all of it");
    // A repeat of an event that is gone is not stored again; an id that is still known gets its place.
    let outcome = producer.attempt("orders", vec![event("e0", None, "x")], Try::Retry).await;
    let BatchOutcome::Stored { stored: 0, refused, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused[0].1.code, Code::TooOld);
    // A seek to before the oldest kept event goes there.
    bus.seek("quick", Offset(0), Vec::new()).await.unwrap();
    settled(&bus, "quick", count).await;
    let again = script.seen().len() as u64 - 2 * count;
    assert!(again > 0 && again <= count - floor.0, "{again} of {count} from {floor}");
    stop(bus).await;
    drop(producer);

    let bus = open(dir.path(), &script).await;
    assert!(bus.floor() >= floor, "what is gone stays gone");
    let mut producer = Producer::open(&bus, 2).await;
    let count = fill(&bus, &mut producer, count, 2).await;
    settled(&bus, "slow", count).await;
    wait("more to go", || bus.floor() > floor).await;
    stop(bus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_a_short_retention_goes_while_a_slow_subscription_keeps_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = open(dir.path(), &script).await;
    set_up(&bus, subscription("slow"), StartAt::Latest).await;
    bus.pause("slow", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    let done = Retention { age: Millis::from_secs(3_600), bytes: 1 << 30, when_done: true, at_least: Millis(0) };
    bus.set_retention(short(), done, Vec::new()).await.unwrap();
    let row = |topic: &Topic| topic.id.to_string().into_bytes();
    let clicks = bus.create_topic(Name::from("clicks"), Shelf::new(short()), row, Vec::new()).await.unwrap().id;
    let of_clicks = Subscription { topics: vec![clicks], ..subscription("counts") };
    set_up(&bus, of_clicks, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let text = "x".repeat(1_000);
    let mut rounds = 0;
    while bus.oldest_of(&[clicks]) == Offset(0) {
        assert!(rounds < ROUNDS_MAX, "waited in vain for clicks to go");
        for topic in ["clicks", "orders"] {
            producer.store(topic, vec![event(&format!("{topic}{rounds}"), None, &text)]).await;
        }
        rounds += 1;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    settled(&bus, "counts", 2 * rounds).await;
    assert_eq!((bus.oldest_of(&[TopicId(1)]), bus.floor()), (Offset(0), Offset(0)), "orders are still needed");
    // A repeat of a click that is gone is not stored again; an order is found.
    let outcome = producer.attempt("clicks", vec![event("clicks0", None, &text)], Try::Retry).await;
    let BatchOutcome::Stored { stored: 0, refused, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused[0].1.code, Code::TooOld);
    let outcome = producer.attempt("orders", vec![event("orders0", None, &text)], Try::Retry).await;
    let BatchOutcome::Stored { stored: 0, duplicates, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(duplicates.len(), 1);

    bus.resume("slow", Vec::new()).await.unwrap();
    settled(&bus, "slow", 2 * rounds).await;
    let orders = script.ids().iter().filter(|id| id.starts_with("orders")).count() as u64;
    assert_eq!(orders, rounds, "each order, though clicks between are gone");
    stop(bus).await;
}
