//! Clients that break the protocol: each gets a stable code, and nobody else notices.

use std::time::Duration;

use crate::scripted::{Host, RawClient, event, hello, publish, soon, stored};
use bugle_wire::schema::{Hello, Query, Receipts};
use bugle_wire::{Code, Frame};
use bytes::Bytes;

/// A frame of any bytes.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn query() -> Frame {
    Frame::Query(Query { request: 1, topic: "orders".into(), source: "s".into(), id: "i".into() })
}

/// A session that goes on publishing while others misbehave.
struct Healthy {
    client: RawClient,
    stream: quinn::SendStream,
    sequence: u64,
}

impl Healthy {
    async fn new(host: &mut Host) -> Self {
        let (client, _) = host.session().await;
        let stream = client.publish(&[]).await;
        let mut healthy = Self { client, stream, sequence: 0 };
        healthy.check(host).await;
        healthy
    }

    async fn check(&mut self, host: &mut Host) {
        self.sequence += 1;
        self.stream.write_all(&publish(1, self.sequence, &[event("healthy", 10)])).await.unwrap();
        let (batch, results) = loop {
            let (batch, results) = host.batch().await;
            if batch.sequence.0 == self.sequence && batch.events[0].as_ref().is_ok_and(|event| event.id() == "healthy")
            {
                break (batch, results);
            }
        };
        results.deliver(vec![stored(&batch, 1)]);
        assert_eq!(self.client.receipts().await[0].sequence, self.sequence);
    }
}

#[tokio::test]
async fn a_bad_first_frame_is_refused_with_its_code() {
    let mut host = Host::start();
    let mut healthy = Healthy::new(&mut host).await;
    let hello_of = |versions: Vec<u32>, producer: &str| {
        Frame::Hello(Hello { versions, producer: producer.into(), ..Hello::default() }).to_bytes()
    };
    let cases: [(&str, Bytes, Code); 9] = [
        ("garbage", framed(&[0xff; 20]).into(), Code::MALFORMED_FRAME),
        ("empty", Bytes::from_static(&[0, 0, 0, 0]), Code::MALFORMED_FRAME),
        ("too long for a hello", Bytes::from_static(&[0, 0, 0x40, 1]), Code::FRAME_TOO_LONG),
        ("no common version", hello_of(vec![2, 3], "shop"), Code::VERSION_UNSUPPORTED),
        ("no version", hello_of(Vec::new(), "shop"), Code::VERSION_UNSUPPORTED),
        ("no producer", hello_of(vec![1], ""), Code::INVALID),
        ("query first", query().to_bytes(), Code::UNEXPECTED_FRAME),
        ("publish first", publish(1, 1, &[event("a", 1)]), Code::UNEXPECTED_FRAME),
        ("host's frame", Frame::Receipts(Receipts::default()).to_bytes(), Code::UNEXPECTED_FRAME),
    ];
    for (case, bytes, code) in cases {
        let mut client = host.say(&bytes).await;
        assert_eq!(client.ended().await, code, "{case}");
    }
    healthy.check(&mut host).await;
    assert_eq!(host.counters.read().opened, 1);
}

#[tokio::test]
async fn bad_bytes_on_a_publish_stream_end_that_session_only() {
    let mut host = Host::start();
    let mut healthy = Healthy::new(&mut host).await;
    let one = || event("a", 1);
    let cases: [(&str, Vec<u8>, Code); 11] = [
        ("garbage", framed(&[0xff; 20]), Code::MALFORMED_FRAME),
        ("cut message", framed(&[0x22, 0x7f, 0x08, 1]), Code::MALFORMED_FRAME),
        ("too long", vec![0, 0x10, 0, 1], Code::FRAME_TOO_LONG),
        ("unknown kind", framed(&[0xfa, 0x06, 0]), Code::UNEXPECTED_FRAME),
        ("second hello", hello().to_bytes().to_vec(), Code::UNEXPECTED_FRAME),
        ("query", query().to_bytes().to_vec(), Code::UNEXPECTED_FRAME),
        ("no events", publish(1, 1, &[]).to_vec(), Code::INVALID_BATCH),
        ("too many events", publish(1, 1, &vec![Bytes::new(); 4097]).to_vec(), Code::INVALID_BATCH),
        ("stream 0", publish(0, 1, &[one()]).to_vec(), Code::UNEXPECTED_FRAME),
        ("stream 9", publish(9, 1, &[one()]).to_vec(), Code::UNEXPECTED_FRAME),
        ("two numbers", [publish(1, 1, &[one()]), publish(2, 1, &[one()])].concat(), Code::UNEXPECTED_FRAME),
    ];
    for (case, bytes, code) in cases {
        let (mut client, session) = host.session().await;
        let _stream = client.publish(&bytes).await;
        assert_eq!(client.ended().await, code, "{case}");
        host.closed(session).await;
    }
    healthy.check(&mut host).await;
    assert_eq!(host.counters.read().broken, 11);
}

#[tokio::test]
async fn a_stream_that_ends_or_resets_inside_a_frame_ends_the_session() {
    let host = Host::start();
    let whole = publish(1, 1, &[event("a", 100)]);
    let (mut client, _) = host.session().await;
    client.publish(&whole[..50]).await.finish().unwrap();
    assert_eq!(client.ended().await, Code::MALFORMED_FRAME);
    let (mut client, _) = host.session().await;
    client.publish(&whole[..50]).await.reset(1_u32.into()).unwrap();
    assert_eq!(client.ended().await, Code::UNEXPECTED_FRAME);
}

#[tokio::test]
async fn a_number_is_free_again_when_its_stream_is_finished() {
    let mut host = Host::start();
    let (mut client, _) = host.session().await;
    let mut first = client.publish(&publish(1, 1, &[event("a", 1)])).await;
    host.batch().await;
    first.finish().unwrap();
    soon(first.stopped()).await.unwrap();
    // The host may see the end of the first stream only after the second one.
    let second = client.publish(&publish(1, 2, &[event("b", 1)])).await;
    host.batch().await;
    let _third = client.publish(&publish(1, 3, &[event("c", 1)])).await;
    assert_eq!(client.ended().await, Code::UNEXPECTED_FRAME, "two streams at once");
    drop(second);
}

#[tokio::test]
async fn the_same_batch_twice_at_once_is_refused() {
    let mut host = Host::start();
    let (mut client, session) = host.session().await;
    let frame = publish(1, 1, &[event("a", 1)]);
    let _stream = client.publish(&[frame.clone(), frame].concat()).await;
    let (batch, results) = host.batch().await;
    assert_eq!(client.ended().await, Code::UNEXPECTED_FRAME);
    host.closed(session).await;
    // A result that comes after the end harms nobody.
    results.deliver(vec![stored(&batch, 1)]);
}

#[tokio::test]
async fn bad_bytes_on_the_control_stream_end_the_session() {
    let host = Host::start();
    let cases: [(&str, Vec<u8>, Code); 4] = [
        ("garbage", framed(&[0xff; 20]), Code::MALFORMED_FRAME),
        ("second hello", hello().to_bytes().to_vec(), Code::UNEXPECTED_FRAME),
        ("publish", publish(1, 1, &[event("a", 1)]).to_vec(), Code::UNEXPECTED_FRAME),
        ("too long", vec![0xff; 4], Code::FRAME_TOO_LONG),
    ];
    for (case, bytes, code) in cases {
        let (mut client, _) = host.session().await;
        client.send.write_all(&bytes).await.unwrap();
        assert_eq!(client.ended().await, code, "{case}");
    }
    let (mut client, _) = host.session().await;
    client.send.finish().unwrap();
    assert_eq!(client.ended().await, Code::UNEXPECTED_FRAME, "finished");
}

#[tokio::test]
async fn whoever_says_nothing_is_closed_at_the_deadline() {
    let mut host = Host::start_with(|config| config.handshake = Duration::from_millis(200));
    let silent = host.connect().await.unwrap();
    let half = host.say(&hello().to_bytes()[..7]).await;
    assert!(matches!(soon(silent.closed()).await, quinn::ConnectionError::ApplicationClosed(_)));
    assert_eq!(half.close_code().await, Code::TIMEOUT);
    Healthy::new(&mut host).await;
}

#[tokio::test]
async fn other_protocols_and_too_many_sessions_are_turned_away() {
    let mut host = Host::start_with(|config| config.sessions_max = 1);
    assert!(host.connect_as(b"h3").await.is_err());
    let mut healthy = Healthy::new(&mut host).await;
    assert!(host.connect().await.is_err());
    healthy.check(&mut host).await;
    assert!(host.counters.read().turned_away >= 1);
}

#[tokio::test]
async fn before_the_welcome_no_publish_stream_can_be_opened() {
    let host = Host::start();
    let connection = host.connect().await.unwrap();
    let opened = tokio::time::timeout(Duration::from_millis(100), connection.open_uni()).await;
    assert!(opened.is_err(), "the host allows none");
}
