//! Imports of a call through the bus: all or none with what settles them, claims, follow-ups, conflicts.

use bugle_broker::{KvSwap, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::ids::Name;
use bugle_core::import::{ClaimOutcome, Entry, Import, NewEvent, Note, Reply, Strength};
use bugle_core::row::RecordStatus;
use bugle_core::time::Millis;

use crate::support::{Producer, Script, ack, event, nack, set_up, settled, start, stop, subscription};

fn claim(key: &str) -> Import {
    Import::Claim { key: key.to_owned(), strength: Strength::Strong, keep: Millis::from_secs(60) }
}

fn put(key: &str, value: &str) -> Import {
    Import::KvPut { key: key.to_owned(), value: value.as_bytes().to_vec(), ttl: None }
}

fn note(recipient: &str) -> Import {
    Import::Note(Note {
        business_key: "order:7".to_owned(),
        recipient: recipient.to_owned(),
        status: RecordStatus::Sent,
        provider: "test".to_owned(),
        provider_reference: "1".to_owned(),
        detail: String::new(),
    })
}

fn follow_up(kind: &str) -> Import {
    Import::Publish(vec![NewEvent {
        topic: "orders".to_owned(),
        kind: kind.to_owned(),
        subject: None,
        key: None,
        id: None,
        content_type: None,
        deliver_at: None,
        expires: None,
        class: bugle_core::event::Class::Normal,
        attributes: Vec::new(),
        data: b"next".to_vec(),
    }])
}

fn value(entry: Option<Entry>) -> Option<String> {
    entry.map(|entry| String::from_utf8(entry.value).unwrap())
}

#[tokio::test]
async fn effects_land_with_the_ack_and_not_with_a_nack() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let store = Name::from("mail");
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;

    let mut call = script.take().await;
    assert_eq!(call.import(put("k", "one")).await, Ok(Reply::Done));
    assert_eq!(call.import(note("user:1")).await, Ok(Reply::Done));
    assert!(matches!(call.import(follow_up("next")).await, Ok(Reply::Ids(_))));
    call.finish(nack());

    let mut call = script.take().await;
    assert_eq!(call.delivery().attempt.0, 2);
    assert_eq!(bus.kv_get(&store, "k").unwrap(), None, "a nacked call leaves no kv change");
    assert_eq!(call.import(put("k", "two")).await, Ok(Reply::Done));
    assert!(matches!(call.import(follow_up("next")).await, Ok(Reply::Ids(_))));
    call.finish(ack());
    let follow = script.take().await;
    assert_eq!(follow.delivery().event.position.offset.0, first + 1, "one follow-up, of the acked call");
    let stored = &follow.delivery().event.event;
    assert_eq!(stored.attribute(bugle_broker::HOPS_ATTRIBUTE), Some("1"));
    assert_eq!(stored.source(), "bugle:mail");
    follow.finish(ack());
    settled(&bus, "mail", first + 2).await;
    assert_eq!(value(bus.kv_get(&store, "k").unwrap()).as_deref(), Some("two"));
    let records = bus.records_of("mail", "order:7".to_owned(), None).await.unwrap();
    assert_eq!(records.len(), 1, "a record is kept on every verdict");
    stop(bus).await;
}

#[tokio::test]
async fn a_confirmed_claim_and_its_effects_survive_a_nack_and_answer_done() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;

    let mut call = script.take().await;
    let Ok(Reply::Claim(ClaimOutcome::Claimed { claim: id, uncertain: false })) = call.import(claim("order:7")).await
    else {
        panic!("the claim is free")
    };
    assert_eq!(call.import(put("inside", "kept")).await, Ok(Reply::Done));
    let confirm = Import::Confirm { claim: id, receipt: Some(b"r".to_vec()) };
    assert_eq!(call.import(confirm).await, Ok(Reply::Done));
    assert_eq!(call.import(put("outside", "lost")).await, Ok(Reply::Done));
    call.finish(nack());

    let mut call = script.take().await;
    let outcome = call.import(claim("order:7")).await;
    assert_eq!(outcome, Ok(Reply::Claim(ClaimOutcome::Done(Some(b"r".to_vec())))));
    call.finish(ack());
    settled(&bus, "mail", first + 1).await;
    let store = Name::from("mail");
    assert_eq!(value(bus.kv_get(&store, "inside").unwrap()).as_deref(), Some("kept"));
    assert_eq!(bus.kv_get(&store, "outside").unwrap(), None);
    stop(bus).await;
}

#[tokio::test]
async fn an_open_claim_makes_another_call_wait_and_is_uncertain_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", None, "x"), event("e1", None, "x")]).await;
    let (mut one, mut two) = (script.take().await, script.take().await);
    assert!(matches!(one.import(claim("k")).await, Ok(Reply::Claim(ClaimOutcome::Claimed { .. }))));
    assert!(matches!(two.import(claim("k")).await, Ok(Reply::Claim(ClaimOutcome::Busy(_)))));
    bus.shutdown(std::time::Duration::from_millis(20)).await;
    drop((one, two, producer, script));
    drop(bus);

    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    let mut call = script.take().await;
    let outcome = call.import(claim("k")).await;
    assert!(matches!(outcome, Ok(Reply::Claim(ClaimOutcome::Claimed { uncertain: true, .. }))), "{outcome:?}");
    drop(call);
    drop(script.take().await);
    bus.shutdown(std::time::Duration::from_millis(20)).await;
}

#[tokio::test]
async fn two_calls_that_change_what_they_read_never_lose_an_update() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x"), event("e1", None, "x")]).await;
    let get = || Import::KvGet { key: "n".to_owned() };
    let mut calls = vec![script.take().await, script.take().await];
    for call in &mut calls {
        assert_eq!(call.import(get()).await, Ok(Reply::Entry(None)));
        assert_eq!(call.import(put("n", "1")).await, Ok(Reply::Done));
    }
    for call in calls {
        call.finish(ack());
    }
    let mut again = script.take().await;
    assert_eq!(again.delivery().attempt.0, 1, "a conflict costs no attempt");
    let Ok(Reply::Entry(seen)) = again.import(get()).await else { panic!("kv answers") };
    assert_eq!(value(seen).as_deref(), Some("1"));
    assert_eq!(again.import(put("n", "2")).await, Ok(Reply::Done));
    again.finish(ack());
    settled(&bus, "mail", first + 2).await;
    assert_eq!(value(bus.kv_get(&Name::from("mail"), "n").unwrap()).as_deref(), Some("2"));
    assert_eq!(bus.status("mail").await.unwrap().throughput.conflicts, 1);
    stop(bus).await;
}

#[tokio::test]
async fn operators_write_kv_under_the_same_versions() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    let store = Name::from("inbox");
    bus.kv_put(&store, "a".to_owned(), Some(b"1".to_vec()), None, Vec::new()).await.unwrap();
    bus.kv_put(&store, "b".to_owned(), Some(b"2".to_vec()), None, Vec::new()).await.unwrap();
    let seen = bus.kv_get(&store, "a").unwrap().unwrap();
    let swap = |expect| KvSwap { key: "a".to_owned(), expect, value: Some(b"3".to_vec()), expires: None };
    assert!(!bus.kv_swap(&store, swap(None), Vec::new()).await.unwrap());
    assert!(bus.kv_swap(&store, swap(Some(seen.version)), Vec::new()).await.unwrap());
    assert!(!bus.kv_swap(&store, swap(Some(seen.version)), Vec::new()).await.unwrap());
    let (page, next) = bus.kv_scan(&store, String::new(), None, 10).await.unwrap();
    assert_eq!(next, None);
    let page: Vec<_> = page.into_iter().map(|(key, entry)| (key, entry.value)).collect();
    assert_eq!(page, [("a".to_owned(), b"3".to_vec()), ("b".to_owned(), b"2".to_vec())]);
    bus.kv_put(&store, "a".to_owned(), None, None, Vec::new()).await.unwrap();
    let (page, _) = bus.kv_scan(&store, String::new(), Some("a".to_owned()), 10).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(bus.kv_get(&store, "a").unwrap(), None);
    stop(bus).await;
}

#[tokio::test]
async fn a_follow_up_that_cannot_be_encoded_or_has_no_topic_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    let mut call = script.take().await;
    assert_eq!(call.import(follow_up("bad")).await.unwrap_err().code, Code::Invalid);
    let Import::Publish(mut events) = follow_up("good") else { unreachable!("it is a publish") };
    events[0].topic = "nowhere".to_owned();
    let refused = call.import(Import::Publish(events)).await.unwrap_err();
    assert!(matches!(refused.code, Code::NotFound | Code::UnknownTopic), "{refused:?}");
    call.finish(ack());
    settled(&bus, "mail", first + 1).await;
    stop(bus).await;
}

#[tokio::test]
async fn extend_and_waiting_answer_from_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..3).map(|n| event(&format!("e{n}"), Some("k"), "x")).collect();
    let first = producer.store("orders", events).await;
    let mut call = script.take().await;
    assert_eq!(call.import(Import::Waiting).await, Ok(Reply::Count(2)));
    let granted = call.import(Import::Extend(Millis::from_secs(90))).await;
    assert!(matches!(granted, Ok(Reply::Granted(by)) if by.0 > 60_000), "{granted:?}");
    call.finish(ack());
    script.take().await.finish(ack());
    script.take().await.finish(ack());
    settled(&bus, "mail", first + 3).await;
    stop(bus).await;
}

#[tokio::test]
async fn subscriptions_of_a_channel_share_its_claims_over_a_restart_and_a_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    let of = |name: &str| bugle_core::spec::Subscription { channel: Some("sms".into()), ..subscription(name) };
    set_up(&bus, of("one"), StartAt::Latest).await;
    let apply = |spec: bugle_core::spec::Subscription| bugle_broker::ApplySubscription {
        spec,
        start: StartAt::Latest,
        row: |spec: &bugle_core::spec::Subscription| spec.id.0.to_string().into_bytes(),
        also: Vec::new(),
    };
    bus.apply_subscription(apply(of("two"))).await.unwrap();
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    let weak = |key: &str| Import::Claim { key: key.to_owned(), strength: Strength::Weak, keep: Millis::from_secs(60) };
    let mut call = script.take().await;
    for import in [claim("order:7"), weak("order:8")] {
        let Ok(Reply::Claim(ClaimOutcome::Claimed { claim: id, .. })) = call.import(import).await else {
            panic!("the first one gets it")
        };
        assert_eq!(call.import(Import::Confirm { claim: id, receipt: Some(b"r".to_vec()) }).await, Ok(Reply::Done));
    }
    call.finish(ack());
    let mut call = script.take().await;
    let done = Ok(Reply::Claim(ClaimOutcome::Done(Some(b"r".to_vec()))));
    assert_eq!(call.import(claim("order:7")).await, done);
    assert_eq!(call.import(weak("order:8")).await, done);
    call.finish(ack());
    for name in ["one", "two"] {
        settled(&bus, name, first + 1).await;
    }
    let facts =
        bus.claims("two", vec!["order:7".to_owned(), "order:8".to_owned(), "order:9".to_owned()]).await.unwrap();
    assert_eq!(format!("{facts:?}"), "[Done, Done, Free]");
    let refused = bus.apply_subscription(apply(subscription("two"))).await.unwrap_err();
    assert!(refused.to_string().contains("`channel` of subscription `two`"), "{refused}");
    bus.delete_subscription("one", Vec::new()).await.unwrap();
    drop(producer);
    stop(bus).await;

    let (store, _) = bugle_store::Store::open(dir.path(), bugle_store::Options::default()).unwrap();
    assert!(store.claim("channel/sms", "order:7").unwrap().is_some(), "it is the channel's, not the subscription's");
    assert!(store.claim("channel/sms", "order:8").unwrap().is_none(), "a weak claim has no row under its key");
    let marks: Vec<_> = store.window_marks().map(|mark| mark.unwrap()).collect();
    let marks: Vec<_> = marks.iter().map(|(scope, mark)| (&**scope, mark.key.as_str())).collect();
    assert_eq!(marks, [("channel/sms", "order:8")]);
}

#[tokio::test]
async fn a_done_weak_claim_is_remembered_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let weak = || Import::Claim { key: "k".to_owned(), strength: Strength::Weak, keep: Millis::from_secs(3600) };
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x")]).await;
    let mut call = script.take().await;
    let Ok(Reply::Claim(ClaimOutcome::Claimed { claim: id, .. })) = call.import(weak()).await else { panic!("free") };
    assert_eq!(call.import(Import::Confirm { claim: id, receipt: Some(b"r".to_vec()) }).await, Ok(Reply::Done));
    call.finish(ack());
    settled(&bus, "mail", first + 1).await;
    drop(producer);
    stop(bus).await;
    let bus = start(dir.path(), &script, Options::default());
    let mut producer = Producer::open(&bus, 2).await;
    producer.store("orders", vec![event("e1", None, "x")]).await;
    let mut call = script.take().await;
    assert_eq!(call.import(weak()).await, Ok(Reply::Claim(ClaimOutcome::Done(Some(b"r".to_vec())))));
    call.finish(ack());
    drop(producer);
    stop(bus).await;
}
