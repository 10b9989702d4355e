//! Events that are past their time, on a real store: no attempt, a record, and over a restart.

use std::time::UNIX_EPOCH;

use bugle_broker::{Lookup, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::delivery::{CallEnd, Failure, Fault, Retry};
use bugle_core::event::{Event, Timing};
use bugle_core::ids::Offset;
use bugle_core::publish::BatchOutcome;
use bugle_core::row::{Fate, RecordStatus};
use bugle_core::time::{Millis, Timestamp};

use crate::support::{Act, Producer, Script, event, set_up, settled, start, stop, subscription, wait};

fn until(id: &str, key: Option<&str>, at: Timestamp) -> Event {
    event(id, key, "x").timed(Timing { expires: Some(at), ..Timing::default() })
}

fn busy() -> Act {
    let retry = Retry { after: Some(Millis::from_secs(3_600)), reason: "busy".to_owned(), fault: Fault::Channel };
    Act::End(CallEnd::Returned(Err(Failure::Retry(retry))))
}

#[tokio::test]
async fn a_failed_delivery_expires_at_its_time_over_a_restart_and_its_key_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        Script::new(
            |delivery| {
                if delivery.event.event.id() == "code" { busy() } else { Act::End(CallEnd::Returned(Ok(()))) }
            },
        );
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let at = bus.now().after(Millis(1_500));
    let batch = vec![until("code", Some("k"), at), event("after", Some("k"), "x")];
    let first = producer.store("orders", batch).await;
    wait("the first attempt", || !script.ids().is_empty()).await;
    drop(producer);
    stop(bus).await;

    let bus = start(dir.path(), &script, Options::default());
    settled(&bus, "mail", first + 2).await;
    assert!(bus.now() >= at, "it ends at its time, not before");
    assert_eq!(script.ids(), ["code", "after"], "no second attempt, and the next of the key only then");
    let records = bus.find_records(Lookup::Event("code".to_owned()), 10).await.unwrap();
    assert_eq!(records.len(), 1);
    let row = &records[0].row;
    assert_eq!((row.status, row.attempt.0), (RecordStatus::Expired, 1));
    assert!(row.at >= at && row.detail.contains("busy"), "{row:?}");
    let status = bus.status("mail").await.unwrap();
    assert_eq!((status.throughput.expired_deliveries, status.throughput.dead), (1, 0));
    stop(bus).await;
}

#[tokio::test]
async fn what_passed_its_time_while_the_host_was_down_is_never_attempted() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    bus.pause("mail", "operator".to_owned(), "lunch".to_owned(), Vec::new()).await.unwrap();
    let mut producer = Producer::open(&bus, 1).await;
    let at = bus.now().after(Millis(400));
    let timing = Timing { deliver_at: Some(Timestamp(at.0 - 1)), expires: Some(at), ..Timing::default() };
    let later = event("reminder", None, "x").timed(timing);
    let first = producer.store("orders", vec![until("code", None, at), later, event("other", None, "x")]).await;
    drop(producer);
    stop(bus).await;
    // The next start takes the wall's time.
    wait("its time to pass", || UNIX_EPOCH.elapsed().unwrap().as_millis() > u128::from(at.0)).await;

    let bus = start(dir.path(), &script, Options::default());
    bus.resume("mail", Vec::new()).await.unwrap();
    settled(&bus, "mail", first + 3).await;
    assert_eq!(script.ids(), ["other"]);
    let topic = bus.topic("orders").unwrap();
    wait("the release", || bus.scheduled_totals(topic).unwrap().waiting == 0).await;
    let totals = bus.scheduled_totals(topic).unwrap();
    assert_eq!((totals.expired, totals.released), (1, 0));
    assert_eq!(bus.fate(Offset(first + 1)).unwrap().unwrap().fate, Fate::Expired);
    let mut producer = Producer::open(&bus, 1).await;
    match producer.publish("orders", vec![until("late", None, at)]).await {
        BatchOutcome::Stored { stored: 0, refused, .. } => assert_eq!(refused[0].1.code, Code::Expired),
        other => panic!("{other:?}"),
    }
    stop(bus).await;
}
