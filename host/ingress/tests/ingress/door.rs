//! The listener with a scripted host behind it: what reaches the host, what comes back, who is turned away.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::scripted::{Host, HostProcess, RawClient, Seen, config, event, hello, position, publish, soon, stored};
use bugle_client::{Client, Event, Outcome};
use bugle_core::code::Code as CoreCode;
use bugle_core::ids::{ProducerEpoch, Sequence, StreamId};
use bugle_core::publish::{BatchOutcome, BatchResult, Refusal, Try};
use bugle_core::time::Millis;
use bugle_ingress::{CertificateSource, Config, ListenError, Listener, TokenHash};
use bugle_wire::schema::{Abandon, Hello, Query, QueryStatus};
use bugle_wire::{Code, Frame, limits};
use bytes::Bytes;
use sha2::{Digest, Sha256};

#[tokio::test]
async fn a_session_is_welcomed_with_its_epoch_and_limits() {
    let mut host = Host::start_with(|config| config.incarnation = vec![7; 16]);
    host.remember(2, 40);
    let hello = Hello { versions: vec![1], producer: "shop".into(), epoch: Some(3), ..Hello::default() };
    let mut client = host.say(&Frame::Hello(hello).to_bytes()).await;
    let Seen::Open(open) = host.seen().await else { panic!("a session is opened") };
    assert_eq!((&*open.producer, open.epoch), ("shop", Some(ProducerEpoch(3))));
    let Frame::Welcome(welcome) = client.frame().await else { panic!("it is welcomed") };
    assert_eq!((welcome.version, welcome.session, welcome.epoch), (1, open.session.0, 3));
    assert_eq!(welcome.incarnation, vec![7; 16]);
    assert_eq!((welcome.streams[0].stream, welcome.streams[0].sequence), (2, 40));
    assert_eq!(welcome.limits.unwrap().credit_bytes as usize, limits::CREDIT_BYTES);
    assert_eq!(host.counters.read().open, 1);
    drop(client);
    host.closed(welcome.session).await;
}

#[tokio::test]
async fn batches_reach_the_host_in_order_and_one_commit_is_one_frame() {
    let mut host = Host::start();
    let (mut client, session) = host.session().await;
    let frames = [publish(1, 1, &[event("a", 10), Bytes::from_static(b"\xff")]), publish(1, 2, &[event("b", 10)])];
    let _stream = client.publish(&frames.concat()).await;
    let (first, results) = host.batch().await;
    let (second, _) = host.batch().await;
    assert_eq!((first.session.0, first.stream, first.sequence), (session, StreamId(1), Sequence(1)));
    assert_eq!((&*first.topic, first.attempt), ("orders", Try::First));
    assert_eq!(first.events[0].as_ref().unwrap().id(), "a");
    assert_eq!(first.events[1].as_ref().unwrap_err().refusal.code, CoreCode::MalformedEvent);
    assert_eq!(second.sequence, Sequence(2));
    let refusal = first.events[1].clone().unwrap_err().refusal;
    let outcome = BatchOutcome::Stored {
        first: Some(position(5)),
        stored: 1,
        duplicates: Vec::new(),
        refused: vec![(1, refusal)],
    };
    let first = BatchResult { stream: first.stream, sequence: first.sequence, outcome };
    results.deliver(vec![first, stored(&second, 6)]);
    let receipts = client.receipts().await;
    assert_eq!(receipts.iter().map(|receipt| receipt.first_offset).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(receipts[0].refusals[0].code, Code::MALFORMED_EVENT.number());
    assert_eq!(host.counters.read().events, 3);
}

#[tokio::test]
async fn a_refused_batch_is_told_with_its_retry_time() {
    let mut host = Host::start();
    let (mut client, _) = host.session().await;
    let _stream = client.publish(&publish(1, 1, &[event("a", 10)])).await;
    let (batch, results) = host.batch().await;
    let refusal = Refusal { code: CoreCode::DiskFull, retry_after: Some(Millis(500)), detail: "5 % left".into() };
    let outcome = BatchOutcome::Refused(refusal);
    results.deliver(vec![BatchResult { stream: batch.stream, sequence: batch.sequence, outcome }]);
    let refused = client.receipts().await.remove(0).refused.unwrap();
    assert_eq!((refused.typed_code(), refused.retry_after_ms), (Code::DISK_FULL, Some(500)));
}

#[tokio::test]
async fn questions_and_abandonments_are_answered() {
    let mut host = Host::start();
    let (mut client, session) = host.session().await;
    for (topic, id) in [("orders", "stored"), ("orders", "other"), ("nowhere", "stored")] {
        let query = Query { request: 1, topic: topic.into(), source: "s".into(), id: id.into() };
        client.send.write_all(&Frame::Query(query).to_bytes()).await.unwrap();
    }
    let mut answers = Vec::new();
    for _ in 0..3 {
        let Frame::QueryResult(result) = client.frame().await else { panic!("an answer comes") };
        answers.push((result.status(), result.offset, result.refused.map(|refusal| refusal.typed_code())));
    }
    let expected = [
        (QueryStatus::Stored, 9, None),
        (QueryStatus::NotInWindow, 0, None),
        (QueryStatus::Unspecified, 0, Some(Code::UNKNOWN_TOPIC)),
    ];
    assert_eq!(answers, expected);
    let abandon = Abandon { stream: 1, topic: "orders".into(), source: "s".into(), id: "a".into() };
    let _stream = client.publish(&Frame::Abandon(abandon).to_bytes()).await;
    let Frame::Abandoned(answer) = client.frame().await else { panic!("an answer comes") };
    assert_eq!((answer.stream, &*answer.topic, &*answer.id), (1, "orders", "a"));
    let abandoned = loop {
        if let Seen::Abandon(abandoned) = host.seen().await {
            break abandoned;
        }
    };
    assert_eq!((abandoned.session.0, abandoned.stream, &*abandoned.topic), (session, StreamId(1), "orders"));
    assert_eq!((&*abandoned.source, &*abandoned.id), ("s", "a"));
}

/// Asks a question and awaits the answer: whatever was under way has had its turn since.
async fn round_trip(client: &mut RawClient) {
    let query = Query { request: 1, topic: "orders".into(), source: "s".into(), id: "i".into() };
    client.send.write_all(&Frame::Query(query).to_bytes()).await.unwrap();
    assert!(matches!(client.frame().await, Frame::QueryResult(_)));
}

#[tokio::test]
async fn a_session_over_its_credit_is_not_read() {
    const FRAME_BYTES: usize = 200_000;
    let mut host = Host::start();
    let (mut client, _) = host.session().await;
    let frames = (2 * limits::CREDIT_BYTES / FRAME_BYTES) as u64;
    let within_credit = limits::CREDIT_BYTES / FRAME_BYTES;
    let connection = client.connection.clone();
    let writing = tokio::spawn(async move {
        let mut send = connection.open_uni().await.unwrap();
        for sequence in 1..=frames {
            send.write_all(&publish(1, sequence, &[event("a", FRAME_BYTES)])).await.unwrap();
        }
        send.finish().unwrap();
    });
    let mut waiting = VecDeque::new();
    while waiting.len() < within_credit - 1 {
        waiting.push_back(host.batch().await);
    }
    for _ in 0..50 {
        round_trip(&mut client).await;
    }
    let read = host.counters.read().frames as usize;
    assert!(read <= within_credit + 1, "{read} frames were read without a receipt");
    for offset in 0..frames {
        let (batch, results) = match waiting.pop_front() {
            Some(batch) => batch,
            None => host.batch().await,
        };
        results.deliver(vec![stored(&batch, offset)]);
        assert_eq!(client.receipts().await[0].sequence, offset + 1);
    }
    soon(writing).await.unwrap();
}

#[tokio::test]
async fn only_accepted_tokens_come_in() {
    let hash = TokenHash(Sha256::digest(b"secret").into());
    let host = Host::start_with(|config| config.tokens = vec![hash]);
    let with = |token: &str| {
        let hello = Hello { versions: vec![1], producer: "shop".into(), token: token.into(), ..Hello::default() };
        Frame::Hello(hello).to_bytes()
    };
    for wrong in ["", "other", "secret "] {
        assert_eq!(host.say(&with(wrong)).await.ended().await, Code::UNAUTHENTICATED);
    }
    assert!(matches!(host.say(&with("secret")).await.frame().await, Frame::Welcome(_)));
    assert_eq!(host.counters.read().opened, 1);
}

#[tokio::test]
async fn shutdown_tells_clients_and_waits_for_their_receipts() {
    let mut host = Host::start();
    let (mut client, session) = host.session().await;
    let _stream = client.publish(&publish(1, 1, &[event("a", 10)])).await;
    let (batch, results) = host.batch().await;
    host.stop();
    let Frame::GoAway(go_away) = client.frame().await else { panic!("it is told") };
    assert_eq!((go_away.code, go_away.grace_ms), (Code::GOING_AWAY.number(), 5000));
    let mut late = host.say(&hello().to_bytes()).await;
    assert_eq!(late.ended().await, Code::GOING_AWAY);
    results.deliver(vec![stored(&batch, 1)]);
    assert_eq!(client.receipts().await.len(), 1);
    client.connection.close(0_u32.into(), b"");
    host.closed(session).await;
    host.stopped().await;
}

#[tokio::test]
async fn a_client_that_ignores_the_farewell_is_closed_after_the_grace() {
    let mut host = Host::start_with(|config| config.grace = Duration::from_millis(50));
    let (mut client, _) = host.session().await;
    host.stop();
    assert!(matches!(client.frame().await, Frame::GoAway(_)));
    assert_eq!(client.ended().await, Code::GOING_AWAY);
    host.stopped().await;
}

#[tokio::test]
async fn a_host_whose_store_failed_ends_sessions_with_unknown_results() {
    let mut host = Host::start();
    let (mut client, session) = host.session().await;
    host.fail();
    let _stream = client.publish(&publish(1, 1, &[event("a", 10)])).await;
    assert_eq!(client.ended().await, Code::STORAGE_FAILED);
    host.closed(session).await;
}

#[tokio::test]
async fn beyond_loopback_certificate_and_tokens_are_required() {
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::bind(config(dir.path())).unwrap();
    let files = CertificateSource::Files {
        certificate: dir.path().join("quic-cert.pem"),
        key: dir.path().join("quic-key.pem"),
    };
    let mut open = config(dir.path());
    open.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
    let refused = |config| matches!(Listener::bind(config), Err(ListenError::Exposed { .. }));
    assert!(refused(open.clone()));
    open.tokens = vec![TokenHash([1; 32])];
    assert!(refused(open.clone()), "a development certificate is not enough");
    open.certificate = files;
    assert_eq!(Listener::bind(open.clone()).unwrap().fingerprint(), listener.fingerprint());
    open.tokens.clear();
    assert!(refused(open));
    let mut small = config(dir.path());
    small.waiting_bytes_max = 10;
    assert!(matches!(Listener::bind(small), Err(ListenError::TooSmall { setting: "waiting_bytes_max", .. })));
    let mut taken = config(dir.path());
    taken.listen = listener.local_address().unwrap();
    assert!(matches!(Listener::bind(taken), Err(ListenError::Socket { .. })));
}

#[tokio::test]
async fn the_rust_client_publishes_through_the_door() {
    let mut host = Host::start();
    let builder =
        Client::builder(&host.address.to_string()).producer("shop").server_fingerprint(&host.fingerprint).streams(2);
    let client = soon(builder.connect()).await.unwrap();
    let events: Vec<Event> = (0..2000)
        .map(|number| Event::builder("s", "t").key(&format!("key-{}", number % 50)).text("payload").build().unwrap())
        .collect();
    let publishing = client.publish_many("orders", events);
    let serving = async {
        let mut offset = 0;
        while offset < 2000 {
            let (batch, results) = host.batch().await;
            results.deliver(vec![stored(&batch, offset)]);
            offset += batch.events.len() as u64;
        }
    };
    let (outcomes, ()) = tokio::join!(publishing, serving);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Confirmed(_))));
    let mut offsets: Vec<u64> = outcomes.iter().filter_map(|o| o.receipt()).map(|r| r.position.offset).collect();
    offsets.sort_unstable();
    assert!(offsets.into_iter().eq(0..2000), "each event has a place of its own");
    let frames = host.counters.read().frames;
    assert!(frames < 200, "{frames} frames: events travel together");
    client.close().await;
}

#[tokio::test]
async fn clients_of_a_killed_host_come_back_to_the_next_one_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, fingerprint) = HostProcess::start(config(dir.path()));
    let builder = Client::builder(&address.to_string()).producer("shop").server_fingerprint(&fingerprint);
    let client = soon(builder.connect()).await.unwrap();
    let event = || Event::builder("s", "t").text("payload").build().unwrap();
    assert!(soon(client.publish("orders", event())).await.receipt().is_some());
    first.kill();
    let pending = client.send("orders", event()).await;
    let (_second, again, _) = HostProcess::start(Config { listen: address, ..config(dir.path()) });
    assert_eq!(again, address);
    let start = Instant::now();
    assert!(soon(pending).await.receipt().is_some());
    assert!(start.elapsed() < Duration::from_secs(5), "well before the idle time-out: {:?}", start.elapsed());
    assert_eq!(client.counters().sessions, 2);
}
