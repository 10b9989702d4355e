//! Old events go, in whole epochs, once every subscription has settled them, and not before.

use std::path::Path;
use std::sync::Arc;

use bugle_broker::{Bus, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::ids::Offset;
use bugle_core::publish::{BatchOutcome, Try};
use bugle_core::retention::Retention;
use bugle_core::time::Millis;

use crate::support::{Producer, Script, event, set_up, settled, start_in_epochs, stop, subscription, wait};

const EPOCH_BYTES: u64 = 16 << 10;

fn open(dir: &Path, script: &Arc<Script>) -> Bus {
    let retention = Retention { age: Millis::from_secs(3600), bytes: 2 * EPOCH_BYTES };
    start_in_epochs(dir, script, Options { retention, ring_bytes_max: 1, ..Options::default() }, EPOCH_BYTES)
}

/// Publishes until the log has begun so many more epochs; gives the number of events so far.
async fn fill(bus: &Bus, producer: &mut Producer, mut next: u64, epochs: u32) -> u64 {
    let newest = || bus.store().epochs().last().map_or(0, |epoch| epoch.number);
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
    let bus = open(dir.path(), &script);
    set_up(&bus, subscription("quick"), StartAt::Latest).await;
    set_up(&bus, subscription("slow"), StartAt::Latest).await;
    bus.pause("slow", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    let mut producer = Producer::open(&bus, 1).await;
    let count = fill(&bus, &mut producer, 0, 4).await;
    settled(&bus, "quick", count).await;
    let slow = bus.subscriptions().into_iter().find(|spec| &*spec.name == "slow").unwrap().id;
    wait("the pin to be noticed", || bus.pinned().by == Some(slow)).await;
    assert_eq!((bus.floor(), bus.pinned().from), (Offset(0), Offset(0)), "nothing goes that somebody needs");

    bus.resume("slow", Vec::new()).await.unwrap();
    settled(&bus, "slow", count).await;
    wait("old events to go", || bus.floor() > Offset(0)).await;
    wait("nobody to pin", || bus.pinned().by.is_none()).await;
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

    let bus = open(dir.path(), &script);
    assert!(bus.floor() >= floor, "what is gone stays gone");
    let mut producer = Producer::open(&bus, 2).await;
    let count = fill(&bus, &mut producer, count, 2).await;
    settled(&bus, "slow", count).await;
    wait("more to go", || bus.floor() > floor).await;
    stop(bus).await;
}
