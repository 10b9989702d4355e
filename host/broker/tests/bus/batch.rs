//! Deliveries that share a call: who is in one, what takes effect at the call, and what a broken call leaves.

use bugle_broker::{Bus, Call, Options, StartAt};
use bugle_core::code::Code;
use bugle_core::delivery::{CallEnd, Settles};
use bugle_core::ids::{Name, Revision, Ticket};
use bugle_core::import::{Import, Reply};
use bugle_core::spec::Subscription;

use crate::support::{Producer, Script, ack, event, nack, set_up, settled, start, stop, subscription, wait};

/// A bus whose subscription takes up to `batch_max` deliveries per call, and a producer.
async fn bus_of(dir: &std::path::Path, script: &std::sync::Arc<Script>, batch_max: u32) -> (Bus, Producer) {
    let bus = start(dir, script, Options::default());
    set_up(&bus, Subscription { batch_max, ..subscription("mail") }, StartAt::Latest).await;
    let producer = Producer::open(&bus, 1).await;
    (bus, producer)
}

fn first_of(call: &Call) -> Option<Ticket> {
    call.delivery().batch.map(|batch| batch.first)
}

/// Takes so many calls, as the sandbox would run them.
async fn take(script: &Script, count: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let mut call = script.take().await;
        call.runs_on(Revision([1; 32]), Settles::AtCall);
        calls.push(call);
    }
    calls
}

fn put(key: &str) -> Import {
    Import::KvPut { key: key.to_owned(), value: b"1".to_vec(), ttl: None }
}

fn has(bus: &Bus, key: &str) -> bool {
    bus.kv_get(&Name::from("mail"), key).unwrap().is_some()
}

fn trap() -> CallEnd {
    CallEnd::Trapped("unreachable".to_owned())
}

#[tokio::test]
async fn what_is_ready_together_is_in_one_call_and_each_is_settled_by_its_own_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, mut producer) = bus_of(dir.path(), &script, 3).await;
    let first = producer.store("orders", (0..4).map(|n| event(&format!("e{n}"), None, "x")).collect()).await;
    let calls = take(&script, 4).await;
    assert!(first_of(&calls[0]).is_some());
    assert_eq!(first_of(&calls[0]), first_of(&calls[2]));
    assert_ne!(first_of(&calls[0]), first_of(&calls[3]));
    let ends = [ack(), nack(), ack(), ack()];
    Call::finish_all(calls.into_iter().zip(ends));
    let again = take(&script, 1).await.remove(0);
    assert_eq!((again.delivery().event.event.id(), again.delivery().attempt.0), ("e1", 2));
    again.finish(ack());
    settled(&bus, "mail", first + 4).await;
    stop(bus).await;
}

#[tokio::test]
async fn an_ack_at_the_call_is_durable_with_its_effects_and_a_later_trap_does_not_undo_it() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, mut producer) = bus_of(dir.path(), &script, 16).await;
    let first = producer.store("orders", (0..3).map(|n| event(&format!("e{n}"), None, "x")).collect()).await;
    let mut calls = take(&script, 3).await;
    for call in &mut calls {
        call.import(put(&format!("of/{}", call.delivery().event.event.id()))).await.unwrap();
    }
    assert_eq!(calls[0].import(Import::Ack).await, Ok(Reply::Done));
    assert!(calls[0].is_settled() && has(&bus, "of/e0"), "committed at the call");
    assert_eq!(calls[0].import(Import::Ack).await, Ok(Reply::Done), "the same answer again");
    assert_eq!(calls[0].import(put("late")).await.unwrap_err().code, Code::Settled);
    assert!(!has(&bus, "of/e1"));
    Call::finish_all(calls.into_iter().map(|call| (call, trap())));
    let alone = take(&script, 2).await;
    let told: Vec<_> = alone
        .iter()
        .map(|call| (call.delivery().attempt.0, call.delivery().batch.is_none(), call.delivery().wants_fresh))
        .collect();
    assert_eq!(told, [(1, true, true); 2], "uncharged, alone, on a fresh instance");
    assert!(!has(&bus, "of/e1"), "what the trapped call had buffered is gone");
    alone.into_iter().for_each(|call| call.finish(ack()));
    settled(&bus, "mail", first + 3).await;
    let throughput = bus.status("mail").await.unwrap().throughput;
    assert_eq!((throughput.acked, throughput.broke), (3, 2));
    stop(bus).await;
}

#[tokio::test]
async fn of_two_that_changed_what_they_read_the_second_is_told_at_the_call_and_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, mut producer) = bus_of(dir.path(), &script, 16).await;
    let first = producer.store("orders", vec![event("e0", None, "x"), event("e1", None, "x")]).await;
    let mut calls = take(&script, 2).await;
    for call in &mut calls {
        call.import(Import::KvGet { key: "shared".to_owned() }).await.unwrap();
        call.import(put("shared")).await.unwrap();
    }
    assert_eq!(calls[0].import(Import::Ack).await, Ok(Reply::Done));
    assert_eq!(calls[1].import(Import::Ack).await.unwrap_err().code, Code::Conflict);
    Call::finish_all(calls.into_iter().map(|call| (call, ack())));
    let again = take(&script, 1).await.remove(0);
    assert_eq!((again.delivery().event.event.id(), again.delivery().attempt.0), ("e1", 1));
    again.finish(ack());
    settled(&bus, "mail", first + 2).await;
    stop(bus).await;
}

#[tokio::test]
async fn the_next_of_a_key_starts_after_an_ack_at_the_call_while_the_call_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, mut producer) = bus_of(dir.path(), &script, 16).await;
    let events = vec![event("a0", Some("a"), "x"), event("b0", Some("b"), "x"), event("a1", Some("a"), "x")];
    let first = producer.store("orders", events).await;
    let mut calls = take(&script, 2).await;
    assert_eq!(script.kept(), 0, "one of a key");
    calls[0].import(Import::Ack).await.unwrap();
    wait("the next of the key", || script.kept() == 1).await;
    let next = take(&script, 1).await.remove(0);
    assert_eq!(next.delivery().event.event.id(), "a1");
    assert_ne!(first_of(&next), first_of(&calls[1]), "in another call");
    next.finish(ack());
    Call::finish_all(calls.into_iter().map(|call| (call, ack())));
    settled(&bus, "mail", first + 3).await;
    stop(bus).await;
}
