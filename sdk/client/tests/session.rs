//! The client against a scripted host: results, retries, reconnects, back-pressure, refusals.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod scripted;

use std::collections::HashMap;
use std::time::Duration;

use bugle_client::{Client, Code, ConnectError, Event, Outcome, PendingReceipt, Position, QueryError, Receipt, Stored};
use bugle_wire::schema::{Abandoned, Duplicate, GoAway, QueryResult, QueryStatus, Receipt as WireReceipt, Refusal};
use bugle_wire::{EventView, Frame};
use futures_util::FutureExt;
use scripted::{Host, Peer, soon};

fn event(id: &str) -> Event {
    Event::builder("https://shop.example", "order.paid").id(id).build().unwrap()
}

fn keyed(id: &str, key: &str) -> Event {
    Event::builder("https://shop.example", "order.paid").id(id).key(key).build().unwrap()
}

fn confirmed(offset: u64, duplicate: bool) -> Outcome {
    Outcome::Confirmed(Receipt { position: Position { slot: 0, offset }, duplicate })
}

fn code_of(outcome: &Outcome) -> Code {
    match outcome {
        Outcome::Refused { code, .. } => *code,
        Outcome::Confirmed(_) | Outcome::Unknown => panic!("not refused: {outcome:?}"),
    }
}

/// Waits until the client has done something that only its counters show.
async fn until(client: &Client, reached: impl Fn(&bugle_client::Counters) -> bool) {
    soon(async {
        while !reached(&client.counters()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A client whose first event was confirmed, and which connects again with the receipt of its second one still to come.
async fn second_in_doubt(host: &Host) -> (Client, PendingReceipt, Peer) {
    let (client, mut peer) = host.welcome(host.client()).await;
    let first = client.send("orders", event("a")).await;
    let batch = peer.publish().await;
    peer.confirm(&batch, 1).await;
    soon(first).await;
    let second = client.send("orders", event("b")).await;
    peer.publish().await;
    peer.cut();
    (client, second, host.accept().await)
}

#[tokio::test]
async fn a_publish_is_confirmed_with_its_position() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client().token("secret").group("shops")).await;
    assert_eq!((&*peer.hello.producer, &*peer.hello.token, &*peer.hello.group), ("shop", "secret", "shops"));
    assert_eq!((&*peer.hello.versions, peer.hello.epoch), (&[1][..], None));
    let serve = async {
        let batch = peer.publish().await;
        assert_eq!((batch.topic(), batch.stream, batch.sequence, batch.retry), ("orders", 1, 1, false));
        let bytes = batch.events().next().unwrap();
        assert_eq!(EventView::parse(&bytes).unwrap().id, "a");
        peer.confirm(&batch, 1234).await;
    };
    let (outcome, ()) = tokio::join!(client.publish("orders", event("a")), serve);
    assert_eq!(outcome, confirmed(1234, false));
    assert_eq!(outcome.receipt().unwrap().position.to_string(), "0-1234");
    client.close().await;
}

#[tokio::test]
async fn each_event_of_a_batch_has_its_own_result() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let serve = async {
        let mut seen = 0;
        while seen < 4 {
            let batch = peer.publish().await;
            if batch.event_count() == 1 {
                peer.confirm(&batch, 0).await;
            } else {
                peer.receipt(WireReceipt {
                    stream: 1,
                    sequence: batch.sequence,
                    first_offset: 10,
                    count: 1,
                    duplicates: vec![Duplicate { index: 1, slot: 0, offset: 3 }],
                    refusals: vec![Refusal { index: 2, code: 41, retry_after_ms: Some(1500), detail: "later".into() }],
                    ..Default::default()
                })
                .await;
            }
            seen += batch.event_count();
        }
    };
    let first = client.send("orders", event("first")).await;
    // The first event has left before the others are queued.
    until(&client, |counters| counters.frames == 1).await;
    let events = ["a", "b", "c"].map(event);
    let (outcomes, ()) = tokio::join!(client.publish_many("orders", events), serve);
    assert_eq!(first.await, confirmed(0, false));
    let refused =
        Outcome::Refused { code: Code::QUOTA, retry_after: Some(Duration::from_millis(1500)), detail: "later".into() };
    assert_eq!(outcomes, [confirmed(10, false), confirmed(3, true), refused]);
    let counters = client.counters();
    assert_eq!((counters.confirmed, counters.duplicates, counters.refused), (2, 1, 1));
}

#[tokio::test]
async fn a_lost_connection_is_resumed_with_the_same_ids() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let first = client.send("orders", event("a")).await;
    let batch = peer.publish().await;
    peer.cut();
    let second = client.send("orders", event("b")).await;
    let mut peer = host.accept().await;
    assert_eq!(peer.hello.epoch, Some(1), "the producer's life goes on");
    peer.welcome(1, &[]).await;
    let again = peer.publish().await;
    assert_eq!((again.stream, again.sequence, again.retry), (1, 1, true));
    assert!(again.events().eq(batch.events()), "byte for byte");
    peer.confirm(&again, 5).await;
    assert_eq!(soon(first).await, confirmed(5, false));
    let next = peer.publish().await;
    assert_eq!((next.sequence, next.retry), (2, false));
    peer.confirm(&next, 6).await;
    assert_eq!(soon(second).await, confirmed(6, false));
    assert_eq!(client.counters().sessions, 2);
}

#[tokio::test]
async fn a_host_that_gives_a_new_epoch_gets_new_numbers() {
    let host = Host::start();
    let (_client, second, mut peer) = second_in_doubt(&host).await;
    peer.welcome(2, &[]).await;
    let again = peer.publish().await;
    assert_eq!((again.sequence, again.retry), (1, true));
    peer.confirm(&again, 2).await;
    assert_eq!(soon(second).await, confirmed(2, false));
}

#[tokio::test]
async fn a_host_with_another_store_is_told_and_asked_by_ids() {
    let host = Host::start();
    let (client, second, mut peer) = second_in_doubt(&host).await;
    // The number of the epoch is the same by chance, and so is the sequence; neither says anything of the batch.
    peer.welcome_as(b"restored", 1, &[(1, 2)]).await;
    let again = peer.publish().await;
    assert_eq!((again.sequence, again.retry), (3, true), "it is not taken for the batch decided there");
    let refused = Some(Refusal { code: Code::UNAVAILABLE.number(), ..Default::default() });
    peer.receipt(WireReceipt { stream: 1, sequence: 3, refused, ..Default::default() }).await;
    assert_eq!(soon(second).await, Outcome::Unknown, "whether the other store has it is not known");
    assert_eq!((client.counters().sessions, client.counters().restores), (2, 1));
}

#[tokio::test]
async fn without_an_answer_the_outcome_is_unknown() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client().publish_timeout(Duration::from_millis(100))).await;
    let outcome = soon(client.publish("orders", event("a"))).await;
    assert_eq!(outcome, Outcome::Unknown);
    // The host's late answer is understood and the session goes on.
    let batch = peer.publish().await;
    peer.confirm(&batch, 1).await;
    let again = client.send("orders", event("a")).await;
    let batch = peer.publish().await;
    assert_eq!(batch.sequence, 2);
    peer.receipt(WireReceipt {
        stream: 1,
        sequence: 2,
        duplicates: vec![Duplicate { index: 0, slot: 0, offset: 1 }],
        ..Default::default()
    })
    .await;
    assert_eq!(soon(again).await, confirmed(1, true));
    assert_eq!((client.counters().unknown, client.counters().sessions), (1, 1));
}

#[tokio::test]
async fn sending_waits_when_too_much_is_in_flight() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client().in_flight(1 << 20, 3)).await;
    let mut pending: Vec<PendingReceipt> = Vec::new();
    for id in ["a", "b", "c"] {
        pending.push(client.send("orders", event(id)).await);
    }
    let mut fourth = Box::pin(client.send("orders", event("d")));
    assert!((&mut fourth).now_or_never().is_none(), "three are in flight");
    let batch = peer.publish().await;
    peer.confirm(&batch, 0).await;
    pending.push(soon(fourth).await);
    let mut offset = batch.event_count() as u64;
    while offset < 4 {
        let batch = peer.publish().await;
        peer.confirm(&batch, offset).await;
        offset += batch.event_count() as u64;
    }
    for (offset, pending) in (0..).zip(pending) {
        assert_eq!(soon(pending).await, confirmed(offset, false), "in call order");
    }
}

#[tokio::test]
async fn a_key_stays_on_its_stream() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client().streams(4)).await;
    let mut sent = Vec::new();
    for round in 0..3 {
        for key in 0..16 {
            let (id, key) = (format!("{key}-{round}"), format!("key-{key}"));
            sent.push(client.send("orders", keyed(&id, &key)).await);
        }
    }
    let mut stream_of_key: HashMap<String, u32> = HashMap::new();
    let mut rounds: HashMap<String, Vec<String>> = HashMap::new();
    let mut received = 0;
    for stream in (0..4).cycle() {
        if received == sent.len() {
            break;
        }
        // A stream without events stays silent: look at the next one.
        let turn = Duration::from_millis(10);
        let Ok(Frame::Publish(batch)) = tokio::time::timeout(turn, peer.on_stream(stream)).await else {
            continue;
        };
        for bytes in batch.events() {
            let view = EventView::parse(&bytes).unwrap();
            let key = view.partition_key.unwrap().to_owned();
            assert_eq!(*stream_of_key.entry(key.clone()).or_insert(batch.stream), batch.stream);
            rounds.entry(key).or_default().push(view.id.to_owned());
        }
        peer.confirm(&batch, received as u64).await;
        received += batch.event_count();
    }
    assert_eq!(rounds.len(), 16);
    for (key, ids) in rounds {
        let number = key.strip_prefix("key-").unwrap();
        assert_eq!(ids, [0, 1, 2].map(|round| format!("{number}-{round}")), "call order per key");
    }
    for pending in sent {
        assert!(soon(pending).await.receipt().is_some());
    }
}

#[tokio::test]
async fn questions_are_answered_and_asked_again_after_a_reconnect() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let ask = client.query("orders", "https://shop.example", "a");
    let serve = async {
        let Frame::Query(query) = peer.control().await else { panic!("a query is asked") };
        assert_eq!((&*query.topic, &*query.source, &*query.id), ("orders", "https://shop.example", "a"));
        peer.cut();
        let mut peer = host.accept().await;
        peer.welcome(1, &[]).await;
        let Frame::Query(query) = peer.control().await else { panic!("a query is asked") };
        let status = QueryStatus::Stored.into();
        peer.send(Frame::QueryResult(QueryResult {
            request: query.request,
            status,
            slot: 0,
            offset: 9,
            refused: None,
        }))
        .await;
        peer
    };
    let (answer, mut peer) = tokio::join!(ask, serve);
    assert_eq!(answer, Ok(Stored::At(Position { slot: 0, offset: 9 })));
    let serve = async {
        for status in [QueryStatus::NotInWindow, QueryStatus::Unspecified] {
            let Frame::Query(query) = peer.control().await else { panic!("a query is asked") };
            let refused = (status == QueryStatus::Unspecified).then(|| Refusal { code: 21, ..Default::default() });
            let result = QueryResult { request: query.request, status: status.into(), refused, ..Default::default() };
            peer.send(Frame::QueryResult(result)).await;
        }
    };
    let ask = async { (client.query("orders", "s", "b").await, client.query("nowhere", "s", "c").await) };
    let ((unknown, refused), ()) = tokio::join!(ask, serve);
    assert_eq!(unknown, Ok(Stored::NotInWindow));
    assert_eq!(refused, Err(QueryError::Refused { code: Code::UNKNOWN_TOPIC, detail: String::new() }));
}

#[tokio::test]
async fn a_refused_event_can_be_given_up() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let refused = keyed("a", "user-42");
    let serve = async {
        let Frame::Abandon(abandon) = peer.on_stream(0).await else { panic!("an abandonment is sent") };
        assert_eq!((abandon.stream, &*abandon.topic, &*abandon.id), (1, "orders", "a"));
        let (stream, topic, source, id) = (abandon.stream, abandon.topic, abandon.source, abandon.id);
        peer.send(Frame::Abandoned(Abandoned { stream, topic, source, id })).await;
    };
    let (taken, ()) = tokio::join!(client.abandon("orders", &refused), serve);
    assert_eq!(taken, Ok(()));
}

#[tokio::test]
async fn giving_up_is_said_behind_what_was_sent_before_and_again_after_a_reconnect() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let refused = keyed("a", "user-42");
    let first = client.send("orders", keyed("b", "user-42")).await;
    let batch = peer.publish().await;
    let second = client.send("orders", keyed("c", "user-42")).await;
    let serve = async {
        // The second batch waits for the receipt of the first, and the abandonment for the second batch.
        peer.confirm(&batch, 1).await;
        assert_eq!(peer.publish().await.sequence, 2);
        assert!(matches!(peer.on_stream(0).await, Frame::Abandon(abandon) if abandon.id == "a"));
        peer.cut();
        let mut peer = host.accept().await;
        peer.welcome(1, &[(1, 1)]).await;
        let batch = peer.publish().await;
        assert_eq!((batch.sequence, batch.retry), (2, true));
        let Frame::Abandon(abandon) = peer.on_stream(0).await else { panic!("it is said again") };
        peer.confirm(&batch, 2).await;
        let (stream, topic, source, id) = (abandon.stream, abandon.topic, abandon.source, abandon.id);
        peer.send(Frame::Abandoned(Abandoned { stream, topic, source, id })).await;
        peer
    };
    let (taken, _peer) = tokio::join!(client.abandon("orders", &refused), serve);
    assert_eq!(taken, Ok(()));
    assert_eq!(soon(first).await, confirmed(1, false));
    assert_eq!(soon(second).await, confirmed(2, false));
}

#[tokio::test]
async fn a_host_that_goes_away_gets_nothing_new_and_is_connected_to_again() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let first = client.send("orders", event("a")).await;
    let batch = peer.publish().await;
    peer.send(Frame::GoAway(GoAway { code: 7, detail: "restart".into(), grace_ms: 1000 })).await;
    peer.confirm(&batch, 1).await;
    assert_eq!(soon(first).await, confirmed(1, false));
    let second = client.send("orders", event("b")).await;
    host.accept().await.refuse(Code::GOING_AWAY, Some(1)).await;
    let mut peer = host.accept().await;
    peer.welcome(1, &[(1, 1)]).await;
    let batch = peer.publish().await;
    assert_eq!((batch.sequence, batch.retry), (2, false), "it was not sent to the host that went away");
    peer.confirm(&batch, 2).await;
    assert_eq!(soon(second).await, confirmed(2, false));
}

#[tokio::test]
async fn closing_sends_what_is_queued_and_awaits_it() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let mut pending = Vec::new();
    for id in 0..100 {
        pending.push(client.send("orders", event(&id.to_string())).await);
    }
    let serve = async {
        let mut offset = 0;
        while offset < 100 {
            let batch = peer.publish().await;
            peer.confirm(&batch, offset).await;
            offset += batch.event_count() as u64;
        }
        soon(peer.connection.closed()).await;
    };
    tokio::join!(client.close(), serve);
    for (offset, pending) in (0..).zip(pending) {
        assert_eq!(pending.now_or_never(), Some(confirmed(offset, false)));
    }
    let late = client.publish("orders", event("late")).await;
    assert_eq!(code_of(&late), Code::UNAVAILABLE);
}

#[tokio::test]
async fn a_host_that_refuses_for_good_ends_the_client() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let sent = client.send("orders", event("a")).await;
    peer.publish().await;
    peer.cut();
    host.accept().await.refuse(Code::UNAUTHENTICATED, None).await;
    assert_eq!(soon(sent).await, Outcome::Unknown);
    let outcome = soon(client.publish("orders", event("b"))).await;
    assert_eq!(code_of(&outcome), Code::UNAUTHENTICATED);
    assert_eq!(soon(client.query("orders", "s", "a")).await, Err(QueryError::NoAnswer));
}

#[tokio::test]
async fn nonsense_from_the_host_ends_the_session_not_the_client() {
    let host = Host::start();
    let (client, mut peer) = host.welcome(host.client()).await;
    let sent = client.send("orders", event("a")).await;
    peer.publish().await;
    peer.send_raw(&[0, 0, 0, 2, 0xff, 0xff]).await;
    soon(peer.connection.closed()).await;
    let mut peer = host.accept().await;
    peer.welcome(1, &[]).await;
    let batch = peer.publish().await;
    // A receipt for more events than were sent.
    let wrong = WireReceipt { stream: 1, sequence: batch.sequence, count: 7, ..Default::default() };
    peer.receipt(wrong).await;
    soon(peer.connection.closed()).await;
    let mut peer = host.accept().await;
    peer.welcome(1, &[]).await;
    let batch = peer.publish().await;
    peer.confirm(&batch, 3).await;
    assert_eq!(soon(sent).await, confirmed(3, false));
}

#[tokio::test]
async fn connecting_says_why_it_failed() {
    let host = Host::start();
    let other = Host::start();
    let wrong = host.client().server_fingerprint(&other.fingerprint);
    let (error, _) = tokio::join!(soon(wrong.connect()), host.accept_fails());
    assert!(matches!(error, Err(ConnectError::Unreachable { .. })), "{error:?}");
    let refuse = async { host.accept().await.refuse(Code::VERSION_UNSUPPORTED, None).await };
    let (error, ()) = tokio::join!(host.client().connect(), refuse);
    assert!(matches!(error, Err(ConnectError::Refused { code: Code::VERSION_UNSUPPORTED, .. })), "{error:?}");
    for settings in [
        Client::builder("127.0.0.1:1").producer("p"),
        host.client().producer(""),
        host.client().server_fingerprint("ab"),
        host.client().ca(b"no certificate"),
        host.client().streams(9),
        host.client().in_flight(0, 1),
        host.client().token(&"x".repeat(5000)),
    ] {
        assert!(matches!(settings.connect().await, Err(ConnectError::Settings { .. })));
    }
    let error = Client::builder("no port").producer("p").server_fingerprint(&host.fingerprint).connect().await;
    assert!(matches!(error, Err(ConnectError::Resolve { .. })), "{error:?}");
}

#[tokio::test]
async fn a_certificate_can_be_trusted_by_its_authority() {
    let host = Host::start();
    let builder = host.client().ca(host.certificate_pem.as_bytes());
    let (client, _peer) = host.welcome(builder.clone().server_name("localhost")).await;
    client.close().await;
    let (error, _) = tokio::join!(soon(builder.server_name("other.example").connect()), host.accept_fails());
    assert!(matches!(error, Err(ConnectError::Unreachable { .. })), "{error:?}");
}

#[tokio::test]
async fn what_can_never_be_sent_is_refused_at_once() {
    let host = Host::start();
    let (client, _peer) = host.welcome(host.client()).await;
    for topic in ["", &"t".repeat(256)] {
        assert_eq!(code_of(&client.publish(topic, event("a")).await), Code::INVALID);
    }
}

#[test]
fn nobody_waits_for_a_runtime_that_stopped() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, pending, _peer) = runtime.block_on(async {
        let host = Host::start();
        let (client, mut peer) = host.welcome(host.client()).await;
        let pending = client.send("orders", event("a")).await;
        peer.publish().await;
        (client, pending, (host, peer))
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    assert_eq!(pending.now_or_never(), Some(Outcome::Unknown));
    let late = client.publish("orders", event("b")).now_or_never().unwrap();
    assert_eq!(code_of(&late), Code::UNAVAILABLE);
}
