//! Unknown results through the bus: parked with their claims, resolved once, over a restart, and what dedup says afterwards.

use bugle_broker::{Bus, Call, Options, StartAt};
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::ids::Position;
use bugle_core::import::{ClaimOutcome, Import, Reply, Sent, Strength};
use bugle_core::row::{UnknownRow, UnknownState};
use bugle_core::spec::{OnUnknown, Subscription};
use bugle_core::subscription::{Resolution, ResolveError, Resolved};

use crate::support::{Producer, Script, ack, event, set_up, settled, start_with, stop, subscription, wait};

fn parks() -> Subscription {
    Subscription { on_unknown: OnUnknown::Park, ..subscription("sms") }
}

async fn claim(call: &mut Call) -> ClaimOutcome {
    let keep = Strength::Strong.keep_default();
    let import = Import::Claim { key: "order:7".to_owned(), strength: Strength::Strong, keep };
    match call.import(import).await {
        Ok(Reply::Claim(outcome)) => outcome,
        other => panic!("a claim was answered {other:?}"),
    }
}

/// The call claims and sends, and no answer comes.
async fn doubt(call: &mut Call) -> bool {
    let ClaimOutcome::Claimed { uncertain, .. } = claim(call).await else { panic!("it is free or in doubt") };
    call.import(Import::EgressStart).await.unwrap();
    call.import(Import::EgressEnd(Sent::Maybe)).await.unwrap();
    uncertain
}

fn unknown() -> CallEnd {
    CallEnd::Returned(Err(Failure::Unknown("sm-77?".to_owned())))
}

async fn rows(bus: &Bus, count: usize) -> Vec<UnknownRow> {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let found: Vec<_> = bus.unknown("sms", None, 100).await.unwrap().into_iter().map(|entry| entry.row).collect();
        if found.len() >= count {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain: {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

async fn resolve(bus: &Bus, at: Position, resolution: Resolution) -> Option<Result<Resolved, ResolveError>> {
    let mut letters = bus.hold_letters("sms").unwrap();
    letters.resolve(vec![at], resolution, "asked", |_| true, |_| Vec::new()).await.unwrap().remove(0)
}

/// An event that is unknown after its first call, over a restart.
async fn parked(dir: &std::path::Path, script: &std::sync::Arc<Script>) -> (Bus, UnknownRow, u64) {
    let bus = start_with(dir, script, Options::default(), |_| parks());
    set_up(&bus, parks(), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", Some("k"), "x"), event("e1", Some("k"), "x")]).await;
    let mut call = script.take().await;
    assert!(!doubt(&mut call).await);
    call.finish(unknown());
    script.take().await.finish(ack());
    settled(&bus, "sms", first + 2).await;
    let row = rows(&bus, 1).await.remove(0);
    assert_eq!((row.state, row.claims.len(), row.reference.as_str()), (UnknownState::Open, 1, "sm-77?"));
    stop(bus).await;
    drop(producer);
    let bus = start_with(dir, script, Options::default(), |spec| Subscription {
        id: spec.id,
        redelivery: spec.redelivery,
        ..parks()
    });
    assert_eq!(bus.status("sms").await.unwrap().machine.unwrap().unknown.open, 1, "its number survives a restart");
    (bus, row, first)
}

#[tokio::test]
async fn what_a_person_says_was_sent_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, row, first) = parked(dir.path(), &script).await;
    let sent = Resolution::Sent { receipt: Some(b"\"sm-77\"".to_vec()) };
    assert!(matches!(resolve(&bus, row.event.position, sent.clone()).await, Some(Ok(Resolved::Now(Some(_))))));
    assert_eq!(resolve(&bus, row.event.position, sent).await, Some(Ok(Resolved::Before)));
    let other = resolve(&bus, row.event.position, Resolution::Retry).await;
    assert_eq!(other, Some(Err(ResolveError::Decided(UnknownState::Sent))));
    let mut producer = Producer::open(&bus, 2).await;
    producer.store("orders", vec![event("again", None, "x")]).await;
    let mut call = script.take().await;
    assert_eq!(claim(&mut call).await, ClaimOutcome::Done(Some(b"\"sm-77\"".to_vec())));
    call.finish(ack());
    settled(&bus, "sms", first + 3).await;
    let row = rows(&bus, 1).await.remove(0);
    assert_eq!((row.state, row.remark.as_str()), (UnknownState::Sent, "asked"));
    stop(bus).await;
}

#[tokio::test]
async fn what_was_not_sent_comes_again_under_its_old_key_with_a_free_claim() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, row, first) = parked(dir.path(), &script).await;
    assert!(matches!(resolve(&bus, row.event.position, Resolution::NotSent).await, Some(Ok(Resolved::Now(Some(_))))));
    let mut call = script.take().await;
    assert!(!call.delivery().may_resend);
    assert!(!doubt(&mut call).await, "nothing is in doubt any more");
    call.finish(ack());
    settled(&bus, "sms", first + 3).await;
    let seen = script.seen();
    let (before, copy) = (&seen[0], seen.last().unwrap());
    assert_eq!((&copy.id, &copy.idempotency_key, copy.offset), (&before.id, &before.idempotency_key, first + 2));
    stop(bus).await;
}

#[tokio::test]
async fn what_is_retried_is_in_doubt_still_and_may_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, row, _) = parked(dir.path(), &script).await;
    assert_eq!(resolve(&bus, row.event.position, Resolution::Retry).await, Some(Ok(Resolved::Now(None))));
    let mut call = script.take().await;
    assert!(call.delivery().may_resend, "the person's word goes before the policy");
    assert!(doubt(&mut call).await, "the guest is told that it may have been sent");
    call.finish(unknown());
    let copy = rows(&bus, 2).await.remove(1);
    assert_eq!(copy.state, UnknownState::Open, "in doubt again, for a person again");
    // While a delivery holds the claim nobody says anything of it.
    let mut producer = Producer::open(&bus, 2).await;
    producer.store("orders", vec![event("other", None, "x")]).await;
    let mut call = script.take().await;
    claim(&mut call).await;
    let held = resolve(&bus, copy.event.position, Resolution::NotSent).await;
    assert!(matches!(held, Some(Err(ResolveError::Held(_)))), "{held:?}");
    call.finish(ack());
    wait("the call to end", || script.kept() == 0).await;
    stop(bus).await;
}

#[tokio::test]
async fn nothing_is_said_of_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let (bus, row, _) = parked(dir.path(), &script).await;
    let elsewhere = Position { offset: row.event.position.offset.next(), ..row.event.position };
    assert_eq!(resolve(&bus, elsewhere, Resolution::NotSent).await, None);
    stop(bus).await;
}
