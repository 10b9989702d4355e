//! Scheduled events on a real store: stored at once, delivered when due, over a restart, and counted without a scan.

use bugle_broker::{Options, StartAt};
use bugle_core::event::{Event, Timing};
use bugle_core::ids::Offset;
use bugle_core::row::Fate;
use bugle_core::schedule::Due;
use bugle_core::time::{Millis, Timestamp};

use crate::support::{Producer, Script, event, set_up, settled, start, stop, subscription, wait};

fn later(id: &str, key: Option<&str>, at: Timestamp) -> Event {
    event(id, key, "x").timed(Timing { deliver_at: Some(at), ..Timing::default() })
}

#[tokio::test]
async fn a_scheduled_event_is_delivered_when_it_is_due_and_in_its_lane_then() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let topic = bus.topic("orders").unwrap();
    let mut producer = Producer::open(&bus, 1).await;
    let due = bus.now().after(Millis(300));
    let batch =
        vec![later("late", Some("k"), due), event("now", Some("k"), "x"), later("past", Some("k"), Timestamp(5))];
    let first = producer.store("orders", batch).await;
    settled(&bus, "mail", first + 3).await;
    assert_eq!(script.ids(), ["now", "past"], "what is scheduled holds nobody up");
    assert_eq!(bus.scheduled_totals(topic).unwrap().waiting, 1);
    let listed = bus.scheduled(topic, Due::default(), 10).await.unwrap();
    assert_eq!((listed.events.len(), listed.events[0].event.id(), listed.next), (1, "late", None));
    wait("the release", || script.ids().len() == 3).await;
    assert!(bus.now() >= due);
    assert_eq!(script.ids()[2], "late");
    settled(&bus, "mail", first + 4).await;
    let totals = bus.scheduled_totals(topic).unwrap();
    assert_eq!((totals.waiting, totals.released), (0, 1));
    let fate = bus.fate(Offset(first)).unwrap().unwrap();
    assert!(matches!(fate.fate, Fate::Released { to } if to.offset == Offset(first + 3)), "{fate:?}");
    stop(bus).await;
}

#[tokio::test]
async fn what_fell_due_while_the_host_was_down_is_released_in_due_order() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let soon = bus.now().after(Millis(400));
    let times = [30, 10, 20, 600_000];
    let batch = times.iter().map(|ms| later(&ms.to_string(), None, soon.after(Millis(*ms)))).collect();
    let first = producer.store("orders", batch).await;
    assert!(bus.now() < soon, "the machine is too slow for this test: nothing may be due yet");
    drop(producer);
    stop(bus).await;
    assert_eq!(script.ids(), Vec::<String>::new());

    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    wait("the releases", || script.ids().len() == 3).await;
    settled(&bus, "mail", first + 7).await;
    let mut seen = script.seen();
    seen.sort_by_key(|seen| seen.offset);
    let in_order: Vec<_> = seen.iter().map(|seen| seen.id.as_str()).collect();
    assert_eq!(in_order, ["10", "20", "30"]);
    let topic = bus.topic("orders").unwrap();
    assert_eq!(bus.scheduled_totals(topic).unwrap().waiting, 1);
    stop(bus).await;
}

#[tokio::test]
async fn a_subscription_made_before_the_release_gets_the_event_and_one_made_after_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("first"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![later("late", None, bus.now().after(Millis(300)))]).await;
    set_up(&bus, subscription("second"), StartAt::Latest).await;
    settled(&bus, "first", first + 2).await;
    settled(&bus, "second", first + 2).await;
    set_up(&bus, subscription("third"), StartAt::Latest).await;
    producer.store("orders", vec![event("after", None, "x")]).await;
    settled(&bus, "third", first + 3).await;
    let of =
        |name: &str| script.seen().into_iter().filter(|seen| seen.subscription == name).map(|seen| seen.id).collect();
    let (second, third): (Vec<String>, Vec<String>) = (of("second"), of("third"));
    assert_eq!(second.first().map(String::as_str), Some("late"));
    assert_eq!(third, ["after"]);
    stop(bus).await;
}
