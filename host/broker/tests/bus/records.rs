//! Send records through the bus: in the batch of the settlement, over a restart, found by what they are known for, late, removed.

use std::time::{Duration, Instant};

use bugle_broker::{Bus, Lookup, Options, StartAt};
use bugle_core::import::{Import, Note};
use bugle_core::row::RecordStatus::{self, Attempted, Dead, Sent};
use bugle_core::spec::Subscription;
use bugle_core::time::{Millis, Timestamp};

use crate::support::{
    Act, PATIENCE, Producer, Script, ack, event_with, nack, set_up, settled, start_with, stop, subscription,
};

fn recorded() -> Subscription {
    Subscription { records: true, ..subscription("sms") }
}

fn event(id: &str) -> bugle_core::event::Event {
    event_with(id, "/test", Some("k"), &[("businesskey", "order:7")], "x")
}

async fn found(bus: &Bus, lookup: Lookup) -> Vec<(String, String, RecordStatus, u32)> {
    let found = bus.find_records(lookup, 100).await.unwrap();
    let told = |row: bugle_core::row::RecordRow| (row.event_id, row.recipient, row.status, row.attempt.0);
    found.into_iter().map(|entry| told(entry.row)).collect()
}

fn told(id: &str, recipient: &str, status: RecordStatus, tries: u32) -> (String, String, RecordStatus, u32) {
    (id.to_owned(), recipient.to_owned(), status, tries)
}

#[tokio::test]
async fn each_delivery_has_its_record_after_a_restart_and_plugins_add_recipients() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| match (delivery.event.event.id(), delivery.attempt.0) {
        ("e0", _) => Act::Keep,
        ("e1", 1) | ("e2", _) => Act::End(nack()),
        _ => Act::End(ack()),
    });
    let bus = start_with(dir.path(), &script, Options::default(), |_| recorded());
    set_up(&bus, recorded(), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", ["e0", "e1", "e2"].map(event).to_vec()).await;
    let mut call = script.take().await;
    let note = Note {
        business_key: "order:7".to_owned(),
        recipient: "user:42".to_owned(),
        status: Sent,
        provider: "sms.example".to_owned(),
        provider_reference: "sm-77".to_owned(),
        detail: String::new(),
    };
    call.import(Import::Note(note)).await.unwrap();
    assert_eq!(found(&bus, Lookup::Event("e0".to_owned())).await, [], "nothing before the end of the call");
    call.finish(ack());
    settled(&bus, "sms", first + 3).await;
    stop(bus).await;
    drop(producer);

    let bus = start_with(dir.path(), &script, Options::default(), |spec| Subscription { id: spec.id, ..recorded() });
    let mut all = found(&bus, Lookup::BusinessKey("order:7".to_owned())).await;
    all.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
    let expected =
        [told("e0", "", Sent, 1), told("e0", "user:42", Sent, 1), told("e1", "", Sent, 2), told("e2", "", Dead, 3)];
    assert_eq!(all, expected);
    assert_eq!(found(&bus, Lookup::Reference("sm-77".to_owned())).await, [told("e0", "user:42", Sent, 1)]);
    assert_eq!(found(&bus, Lookup::Recipient("user:42".to_owned())).await, [told("e0", "user:42", Sent, 1)]);
    assert_eq!(found(&bus, Lookup::Event("e2".to_owned())).await, [told("e2", "", Dead, 3)]);
    assert_eq!(found(&bus, Lookup::Event("e3".to_owned())).await, []);
    assert_eq!(bus.late_records(Timestamp::NEVER, None, 10).await.unwrap().found, [], "nothing has to follow any more");
    stop(bus).await;
}

#[tokio::test]
async fn what_waits_too_long_is_found_and_old_records_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| Act::End(if delivery.event.event.id() == "e1" { nack() } else { ack() }));
    let hour = Millis::from_secs(3600);
    let retry = bugle_core::spec::RetryPolicy { attempts_max: 3, first_backoff: hour, backoff_max: hour };
    let waits = move || Subscription { retry, ..recorded() };
    let bus = start_with(dir.path(), &script, Options::default(), move |_| waits());
    set_up(&bus, waits(), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", ["e0", "e1"].map(event).to_vec()).await;
    settled(&bus, "sms", first + 1).await;
    let deadline = Instant::now() + PATIENCE;
    while found(&bus, Lookup::Event("e1".to_owned())).await != [told("e1", "", Attempted, 1)] {
        assert!(Instant::now() < deadline, "the failed attempt has no record");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let late = bus.late_records(Timestamp::NEVER, None, 10).await.unwrap().found;
    assert_eq!((late.len(), late[0].row.event_id.as_str()), (1, "e1"));
    assert_eq!(bus.late_records(late[0].row.at, None, 10).await.unwrap().found, [], "not so long");
    stop(bus).await;
    drop(producer);

    let options = Options { records_kept: Millis(0), ..Options::default() };
    let keep = move |spec: Subscription| Subscription { id: spec.id, ..waits() };
    let bus = start_with(dir.path(), &script, options, keep);
    let deadline = Instant::now() + PATIENCE;
    while !found(&bus, Lookup::BusinessKey("order:7".to_owned())).await.is_empty() {
        assert!(Instant::now() < deadline, "old records stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bus.late_records(Timestamp::NEVER, None, 10).await.unwrap().found, []);
    stop(bus).await;
}
