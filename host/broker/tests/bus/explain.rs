//! `explain` through the bus: machines and rows together, over a restart.

use bugle_broker::{Ending, Explanation, Options, StartAt};
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::event::Class;
use bugle_core::ids::{Offset, Position};
use bugle_core::spec::{Filter, OnUnknown, Subscription};
use bugle_core::subscription::{Answer, Gate, Question, Standing};

use crate::support::{Act, Producer, Script, ack, dead, event, nack, set_up, settled, start, stop, subscription, wait};

async fn explained(bus: &bugle_broker::Bus, offset: u64, name: &str) -> Explanation {
    let position = Position { offset: Offset(offset), ..Position::default() };
    let event = bus.event(position).await.unwrap().unwrap();
    let mut all = bus.explain(&Question::Event(event), Some(name)).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn standing(explanation: &Explanation) -> &Standing {
    match &explanation.answer {
        Some(Answer::Event(explained)) => &explained.standing,
        other => panic!("expected a standing, got {other:?}"),
    }
}

#[tokio::test]
async fn each_subscription_says_where_an_event_is() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    script.behave_by_name(|name, delivery| match (name, delivery.event.event.id()) {
        ("keeps", _) => Act::Keep,
        ("fails", _) => Act::End(nack()),
        ("rejects", _) => Act::End(CallEnd::Returned(Err(Failure::Reject("no such number".to_owned())))),
        ("doubts", _) => Act::End(CallEnd::Returned(Err(Failure::Unknown("250?".to_owned())))),
        _ => Act::End(ack()),
    });
    let bus = start(dir.path(), &script, Options::default());
    let retry = bugle_core::spec::RetryPolicy {
        attempts_max: 3,
        first_backoff: bugle_core::time::Millis::from_secs(600),
        backoff_max: bugle_core::time::Millis::from_secs(600),
    };
    let only = Filter::Exact { attribute: "id".to_owned(), value: "other".to_owned() };
    for name in ["acks", "keeps", "rejects"] {
        set_up(&bus, subscription(name), StartAt::Latest).await;
    }
    set_up(&bus, Subscription { retry, ..subscription("fails") }, StartAt::Latest).await;
    set_up(&bus, Subscription { on_unknown: OnUnknown::Park, ..subscription("doubts") }, StartAt::Latest).await;
    set_up(&bus, Subscription { filter: only, ..subscription("picky") }, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", Some("a"), "x"), event("e1", Some("a"), "x")]).await;
    wait("the call that is kept", || script.kept() == 1).await;
    dead(&bus, "rejects", 2).await;
    for name in ["acks", "doubts", "picky"] {
        settled(&bus, name, first + 2).await;
    }
    let failed = || script.seen().iter().any(|seen| seen.subscription == "fails");
    wait("the failure", failed).await;

    assert_eq!(standing(&explained(&bus, first, "acks").await), &Standing::Settled);
    assert_eq!(standing(&explained(&bus, first, "picky").await), &Standing::FilteredOut);
    assert!(matches!(standing(&explained(&bus, first, "keeps").await), Standing::InFlight { .. }));
    let behind = explained(&bus, first + 1, "keeps").await;
    assert!(matches!(standing(&behind), Standing::Queued { head, .. } if head.0 == first), "{behind:?}");
    let rejected = explained(&bus, first, "rejects").await;
    assert!(matches!(&rejected.ending, Some(Ending::Dead(row)) if row.reason == "no such number"), "{rejected:?}");
    let doubted = explained(&bus, first, "doubts").await;
    assert!(matches!(&doubted.ending, Some(Ending::Unknown(row)) if row.reference == "250?"), "{doubted:?}");
    let key = Question::Lane { key: "a".to_owned(), class: Class::Normal };
    let lanes = bus.explain(&key, None).await.unwrap();
    let busy: Vec<&str> = lanes
        .iter()
        .filter(|explanation| matches!(explanation.answer, Some(Answer::Lane(Some(_)))))
        .map(|explanation| &*explanation.subscription)
        .collect();
    assert_eq!(busy, ["fails", "keeps"]);
    drop(producer);
    stop(bus).await;
}

#[tokio::test]
async fn a_waiting_event_says_so_before_and_after_a_restart_and_a_pause_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|_| Act::End(nack()));
    let retry = bugle_core::spec::RetryPolicy {
        attempts_max: 3,
        first_backoff: bugle_core::time::Millis::from_secs(600),
        backoff_max: bugle_core::time::Millis::from_secs(600),
    };
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, Subscription { retry, ..subscription("mail") }, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", Some("a"), "x")]).await;
    wait("the failure", || script.seen().len() == 1).await;
    bus.pause("mail", "operator".to_owned(), "provider is down".to_owned(), Vec::new()).await.unwrap();
    let check = |explanation: Explanation| match explanation.answer {
        Some(Answer::Event(explained)) => {
            let Standing::Waiting { spent: 1, last: Some(note), .. } = &explained.standing else {
                panic!("{explained:?}");
            };
            assert_eq!(note.reason, "not now");
            assert!(matches!(&explained.gates[..], [Gate::Paused(row)] if row.reason == "provider is down"));
        }
        other => panic!("{other:?}"),
    };
    check(explained(&bus, first, "mail").await);
    drop(producer);
    stop(bus).await;
    let bus = start(dir.path(), &script, Options::default());
    check(explained(&bus, first, "mail").await);
    assert!(
        bus.explain(&Question::Lane { key: "a".to_owned(), class: Class::Low }, None).await.unwrap()[0].answer
            == Some(Answer::Lane(None))
    );
    let nothing = Position { offset: Offset(999), ..Position::default() };
    assert_eq!(bus.event(nothing).await.unwrap(), None);
    stop(bus).await;
}
