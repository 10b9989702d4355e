//! Callbacks through the bus: a note and what the provider says of it meet at the committer, over a restart, and outcomes tell.

use bugle_broker::{Bus, CallbackError, Heard, Lookup, Options, StartAt};
use bugle_core::callback::StatusChange;
use bugle_core::import::{Import, Note};
use bugle_core::row::RecordStatus::{self, Bounced, Delivered, Sent};
use bugle_core::spec::Subscription;

use crate::support::{Act, Producer, Script, ack, event, nack, set_up, settled, start_with, stop, subscription, topic};

fn note(recipient: &str) -> Import {
    Import::Note(Note {
        business_key: "order:7".to_owned(),
        recipient: recipient.to_owned(),
        status: Sent,
        provider: "p".to_owned(),
        provider_reference: "m-1".to_owned(),
        detail: String::new(),
    })
}

fn change(reference: &str, recipient: Option<&str>, status: RecordStatus) -> StatusChange {
    let (reference, recipient) = (reference.to_owned(), recipient.map(str::to_owned));
    StatusChange { reference, recipient, status, at: None, detail: String::new() }
}

async fn statuses(bus: &Bus) -> Vec<(String, RecordStatus)> {
    let found = bus.find_records(Lookup::Reference("m-1".to_owned()), 100).await.unwrap();
    found.into_iter().map(|entry| (entry.row.recipient, entry.row.status)).collect()
}

#[tokio::test]
async fn a_note_after_the_provider_has_spoken_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    script.behave_by_name(|name, _| if name == "sms" { Act::Keep } else { Act::End(ack()) });
    let bus = start_with(dir.path(), &script, Options::default(), |spec| spec);
    topic(&bus, "orders").await;
    let outcomes = bus.settled_topic().await.unwrap();
    let listens = Subscription { inbound: true, settled: Some(outcomes), ..subscription("sms") };
    set_up(&bus, listens.clone(), StartAt::Latest).await;
    set_up(&bus, subscription("other"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    let told = |status| vec![change("m-1", None, status)];
    let early = bus.callback("sms", told(Delivered)).await.unwrap();
    assert_eq!(early, Heard { unknown: told(Delivered), ..Heard::default() });

    let mut call = script.take().await;
    call.import(note("a")).await.unwrap();
    call.import(note("b")).await.unwrap();
    call.finish(nack());
    // The attempt failed, and its notes are kept.
    let mut call = script.take().await;
    assert_eq!(bus.callback("sms", told(Delivered)).await.unwrap().moved, 2);
    let of_a = vec![change("m-1", Some("a"), Bounced), change("m-1", Some("c"), Bounced)];
    let heard = bus.callback("sms", of_a.clone()).await.unwrap();
    assert_eq!((heard.moved, heard.same, heard.unknown), (1, 0, of_a[1..].to_vec()));
    call.import(note("a")).await.unwrap();
    call.import(note("b")).await.unwrap();
    call.finish(ack());
    settled(&bus, "sms", first + 1).await;
    let expected = [("a".to_owned(), Bounced), ("b".to_owned(), Delivered)];
    assert_eq!(statuses(&bus).await, expected);
    assert_eq!(bus.callback("other", told(Bounced)).await.unwrap().moved, 0, "only its own subscription's");
    let nobody = bus.callback("none", told(Bounced)).await;
    assert!(matches!(nobody, Err(CallbackError::NotFound(_))));
    stop(bus).await;
    drop(producer);

    let complete = move |spec: Subscription| match &*spec.name {
        "sms" => Subscription { id: spec.id, redelivery: spec.redelivery, ..listens.clone() },
        _ => spec,
    };
    let bus = start_with(dir.path(), &script, Options::default(), complete);
    assert_eq!(statuses(&bus).await, expected);
    assert_eq!(bus.callback("sms", told(Delivered)).await.unwrap(), Heard { same: 2, ..Heard::default() });
    // The event, two deliveries, a bounce, and the end of the delivery itself.
    assert_eq!(bus.end().0, first + 1 + 2 + 1 + 1);
    stop(bus).await;
}
