//! Order through refusals at the door: the client, the listener and the admission of the product, with only the disk left out.

use bugle_client::{Client, Code, Event, Outcome};
use bugle_wire::schema::{Abandon, Receipt};
use bugle_wire::{AttributeValue, EventWriter, Frame, limits};
use bytes::Bytes;
use quinn::SendStream;

use crate::admitting::AdmittingHost;
use crate::scripted::{RawClient, hello, open_raw, publish_to, soon};

const SOURCE: &str = "https://shop.example";

/// Writes any bytes it likes on one publish stream, and reads what became of each batch.
struct Raw {
    client: RawClient,
    streams: [Option<SendStream>; 2],
    sequences: [u64; 2],
}

impl Raw {
    async fn start(host: &AdmittingHost) -> Raw {
        let mut client = open_raw(host.address, host.dir.path(), &hello().to_bytes()).await;
        assert!(matches!(client.frame().await, Frame::Welcome(_)));
        Raw { client, streams: [None, None], sequences: [1; 2] }
    }

    async fn write(&mut self, stream: u32, bytes: &[u8]) {
        let slot = &mut self.streams[stream as usize - 1];
        match slot {
            Some(send) => send.write_all(bytes).await.unwrap(),
            None => *slot = Some(self.client.publish(bytes).await),
        }
    }

    async fn receipt(&mut self, topic: &str, stream: u32, events: &[Bytes]) -> Receipt {
        let sequence = self.sequences[stream as usize - 1];
        self.write(stream, &publish_to(topic, stream, sequence, events)).await;
        let receipt = self.client.receipts().await.remove(0);
        if receipt.refused.is_none() {
            self.sequences[stream as usize - 1] += 1;
        }
        receipt
    }

    /// The refusals of a batch: index and code.
    async fn refusals(&mut self, stream: u32, events: &[Bytes]) -> Vec<(u32, Code)> {
        let receipt = self.receipt("orders", stream, events).await;
        receipt.refusals.iter().map(|refusal| (refusal.index, refusal.typed_code())).collect()
    }

    async fn abandon(&mut self, stream: u32, source: &str, id: &str) {
        let abandon = Abandon { stream, topic: "orders".into(), source: source.into(), id: id.into() };
        self.write(stream, &Frame::Abandon(abandon).to_bytes()).await;
        assert!(matches!(self.client.frame().await, Frame::Abandoned(_)));
    }
}

fn writer(id: &str, key: &str) -> EventWriter {
    let mut writer = EventWriter::new(id, SOURCE, "order.paid");
    writer.attribute("partitionkey", AttributeValue::String(key));
    writer
}

fn keyed(id: &str, key: &str) -> Bytes {
    writer(id, key).finish()
}

#[tokio::test]
async fn a_refused_event_that_shows_its_key_holds_that_key_back_and_no_other() {
    let mut too_large = writer("a", "k");
    too_large.binary_data(&vec![0; limits::EVENT_BYTES_MAX]);
    let mut bad_attribute = writer("a", "k");
    bad_attribute.attribute("priority", AttributeValue::String("urgent"));
    let mut cut = writer("a", "k");
    cut.binary_data(&[7; 100]);
    let cut = cut.finish();
    let no_type = {
        let mut writer = EventWriter::new("a", SOURCE, "");
        writer.attribute("partitionkey", AttributeValue::String("k"));
        writer
    };
    let cases = [
        ("too large", too_large.finish(), Code::EVENT_TOO_LARGE),
        ("bad attribute", bad_attribute.finish(), Code::INVALID_ATTRIBUTE),
        ("missing attribute", no_type.finish(), Code::MISSING_ATTRIBUTE),
        ("cut", cut.slice(..cut.len() - 50), Code::MALFORMED_EVENT),
    ];
    for (case, bytes, code) in cases {
        let host = AdmittingHost::start();
        let mut raw = Raw::start(&host).await;
        let first = raw.refusals(1, &[bytes, keyed("b", "k"), keyed("c", "l")]).await;
        assert_eq!(first, [(0, code), (1, Code::BEHIND_REFUSED)], "{case}");
        assert_eq!(raw.refusals(1, &[keyed("b", "k")]).await, [(0, Code::BEHIND_REFUSED)], "{case}");
        assert_eq!(raw.refusals(1, &[keyed("a", "k"), keyed("b", "k")]).await, [], "{case}: sent again");
        assert_eq!(host.ids_of("k"), ["a", "b"], "{case}");
    }
}

#[tokio::test]
async fn an_event_that_shows_no_key_holds_its_publish_stream_back() {
    let host = AdmittingHost::start();
    let mut raw = Raw::start(&host).await;
    let mut number = EventWriter::new("a", SOURCE, "order.paid");
    number.attribute("partitionkey", AttributeValue::Integer(7));
    let no_key = EventWriter::new("free", SOURCE, "order.paid").finish();
    let first = raw.refusals(1, &[number.finish(), keyed("b", "k"), no_key]).await;
    assert_eq!(first, [(0, Code::INVALID_ATTRIBUTE), (1, Code::BEHIND_REFUSED)]);
    assert_eq!(raw.refusals(2, &[keyed("c", "other stream")]).await, []);
    assert_eq!(raw.refusals(1, &[keyed("a", "7"), keyed("b", "k")]).await, [], "sent again with a key that is text");
}

#[tokio::test]
async fn bytes_that_are_no_event_hold_their_stream_back_until_they_are_given_up_without_a_name() {
    let host = AdmittingHost::start();
    let mut raw = Raw::start(&host).await;
    let garbage = Bytes::from_static(&[0xff; 30]);
    let first = raw.refusals(1, &[garbage.clone(), keyed("b", "k")]).await;
    assert_eq!(first, [(0, Code::MALFORMED_EVENT), (1, Code::BEHIND_REFUSED)]);
    raw.abandon(1, SOURCE, "b").await;
    raw.abandon(2, "", "").await;
    assert_eq!(raw.refusals(1, &[keyed("c", "l")]).await, [(0, Code::BEHIND_REFUSED)], "neither was that one");
    raw.abandon(1, "", "").await;
    raw.abandon(1, SOURCE, "c").await;
    assert_eq!(raw.refusals(1, &[keyed("d", "k"), keyed("e", "l")]).await, []);
    // Whatever it sends, a client can get into no state that abandoning does not end.
    for round in 0..20_u8 {
        let hostile: Vec<Bytes> = (0..50_u8).map(|byte| vec![byte.wrapping_mul(round); 40].into()).collect();
        assert_eq!(raw.refusals(1, &hostile).await.len(), 50);
    }
    raw.abandon(1, "", "").await;
    assert_eq!(raw.refusals(1, &[keyed("f", "k")]).await, []);
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_holds_its_keys_back() {
    let host = AdmittingHost::start();
    let mut raw = Raw::start(&host).await;
    let receipt = raw.receipt("later", 1, &[keyed("a", "k"), Bytes::from_static(b"\xff")]).await;
    assert_eq!(receipt.refused.map(|refusal| refusal.typed_code()), Some(Code::UNKNOWN_TOPIC));
    host.create_topic("later");
    let receipt = raw.receipt("later", 1, &[keyed("b", "k"), keyed("c", "l")]).await;
    assert_eq!(receipt.refusals.len(), 2, "the second event of the batch may have been of any key");
    assert!(receipt.refusals[0].detail.contains("`a`"), "{}", receipt.refusals[0].detail);
}

fn event(id: &str, key: &str) -> Event {
    Event::builder(SOURCE, "order.paid").id(id).key(key).build().unwrap()
}

async fn client(host: &AdmittingHost) -> Client {
    let builder = Client::builder(&host.address.to_string()).producer("shop").server_fingerprint(&host.fingerprint);
    builder.connect().await.unwrap()
}

fn codes(outcomes: &[Outcome]) -> Vec<Option<Code>> {
    let code = |outcome: &Outcome| match outcome {
        Outcome::Refused { code, .. } => Some(*code),
        Outcome::Confirmed(_) => None,
        Outcome::Unknown => panic!("the host answers everything"),
    };
    outcomes.iter().map(code).collect()
}

/// Publishes refused events again in their order, as the guide says.
async fn again(client: &Client, topic: &str, events: &[Event], outcomes: &[Outcome]) {
    for (event, outcome) in events.iter().zip(outcomes) {
        if let Outcome::Refused { .. } = outcome {
            let outcome = soon(client.publish(topic, event.clone())).await;
            assert!(outcome.receipt().is_some(), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn pipelined_events_keep_their_order_through_a_missing_topic_and_a_full_disk() {
    let host = AdmittingHost::start();
    let client = client(&host).await;
    let events: Vec<Event> = (0..40).map(|number| event(&format!("{number:02}"), ["k", "l"][number % 2])).collect();
    let mut outcomes = vec![soon(client.publish("later", events[0].clone())).await];
    host.create_topic("later");
    let mut pending = Vec::new();
    for (number, event) in events.iter().enumerate().skip(1) {
        match number {
            10 => outcomes.push(soon(pending.remove(0)).await),
            16 => host.fill_disk(true),
            24 => outcomes.push(soon(pending.remove(0)).await),
            30 => host.fill_disk(false),
            _ => tokio::task::yield_now().await,
        }
        pending.push(client.send("later", event.clone()).await);
    }
    for pending in pending {
        outcomes.push(soon(pending).await);
    }
    let stored = |key: &str| host.ids_of(key);
    assert_eq!(codes(&outcomes)[0], Some(Code::UNKNOWN_TOPIC));
    assert_eq!(stored("k"), [""; 0], "all of its events came after the first");
    assert!(stored("l").is_sorted(), "{:?}", stored("l"));
    again(&client, "later", &events, &outcomes).await;
    for key in ["k", "l"] {
        assert!(stored(key).is_sorted() && stored(key).len() == 20, "{:?}", stored(key));
    }
    soon(client.close()).await;
}

#[tokio::test]
async fn giving_up_takes_its_place_behind_what_was_sent_before() {
    let host = AdmittingHost::start();
    let client = client(&host).await;
    let first = soon(client.publish("later", event("a", "k"))).await;
    assert_eq!(codes(&[first]), [Some(Code::UNKNOWN_TOPIC)]);
    host.create_topic("later");
    let mut pending = Vec::new();
    for id in ["b", "c", "d"] {
        pending.push(client.send("later", event(id, "k")).await);
    }
    soon(client.abandon("later", &event("a", "k"))).await.unwrap();
    for pending in pending {
        assert_eq!(codes(&[soon(pending).await]), [Some(Code::BEHIND_REFUSED)], "they were sent before it");
    }
    for id in ["b", "c", "d"] {
        assert_eq!(codes(&[soon(client.publish("later", event(id, "k"))).await]), [None]);
    }
    assert_eq!(host.ids_of("k"), ["b", "c", "d"]);
    soon(client.close()).await;
}

#[tokio::test]
async fn a_new_session_has_forgotten_what_was_refused() {
    let host = AdmittingHost::start();
    let first = client(&host).await;
    soon(first.publish("later", event("a", "k"))).await;
    soon(first.close()).await;
    host.create_topic("later");
    let second = client(&host).await;
    assert_eq!(codes(&[soon(second.publish("later", event("b", "k"))).await]), [None]);
    soon(second.close()).await;
}
