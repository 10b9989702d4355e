//! Dead letters through the bus: replayed once and under the same key, parked keys, edits, bounds, restarts.

use bugle_broker::{Bus, Changed, ClaimFact, HoldLettersError, Options, StartAt};
use bugle_core::delivery::{CallEnd, Failure, Settles};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{KeyGeneration, Offset, Position, Revision, Slot, TopicId};
use bugle_core::import::{ClaimOutcome, Import, Reply, Strength};
use bugle_core::row::{DeadRow, DeadState};
use bugle_core::spec::{DeadBounds, Filter, OnExhausted, Subscription};
use bugle_core::step::Write;
use bugle_core::subscription::{DecideError, Decision};
use bugle_core::time::{Millis, Timestamp};
use bugle_store::{Durability, Store};

use crate::support::{Act, Producer, Script, ack, dead, event, nack, set_up, settled, start, stop, subscription, wait};

fn rejected() -> CallEnd {
    CallEnd::Returned(Err(Failure::Reject("no such user".to_owned())))
}

async fn change(bus: &Bus, positions: Vec<Position>, decision: Decision) -> Vec<Changed> {
    let mut letters = bus.hold_letters("mail").unwrap();
    letters.change(positions, |_| Some(decision.clone()), |_| Vec::new()).await.unwrap()
}

/// The letters on disk once `holds` does.
async fn letters(bus: &Bus, mut holds: impl FnMut(&[DeadRow]) -> bool) -> Vec<DeadRow> {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let rows: Vec<DeadRow> =
            bus.dead("mail", None, 100).await.unwrap().into_iter().map(|entry| entry.row).collect();
        if holds(&rows) {
            return rows;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain: {rows:?}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn replayed_letters_come_once_in_order_under_their_old_keys_and_past_the_filter() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|_| Act::End(rejected()));
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..4).map(|n| event(&format!("e{n}"), Some("k"), "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 4).await;
    let found = dead(&bus, "mail", 4).await;
    let positions: Vec<Position> = found.iter().map(|entry| entry.position).collect();
    let nothing = Subscription { filter: Filter::Any(Vec::new()), ..subscription("mail") };
    set_up(&bus, nothing, StartAt::Latest).await;
    let keys: Vec<String> = script.seen().into_iter().map(|seen| seen.idempotency_key).collect();
    script.behave(|_| Act::End(ack()));
    assert_eq!(change(&bus, positions.clone(), Decision::Replay).await, [Changed::Done; 4]);
    settled(&bus, "mail", first + 8).await;
    assert_eq!(bus.status("mail").await.unwrap().throughput.dead, 4, "a decision is no new letter");
    let again: Vec<_> = script.seen().split_off(4);
    let ids: Vec<&str> = again.iter().map(|seen| seen.id.as_str()).collect();
    assert_eq!(ids, ["e0", "e1", "e2", "e3"]);
    assert_eq!(again.iter().map(|seen| seen.idempotency_key.clone()).collect::<Vec<_>>(), keys);
    assert!(again.iter().all(|seen| seen.offset >= first + 4 && seen.attempt == 1), "copies: {again:?}");
    let decided = Changed::Refused(DecideError::Decided(DeadState::Replayed));
    assert_eq!(change(&bus, positions.clone(), Decision::Replay).await, [decided; 4]);
    stop(bus).await;
    drop(producer);

    let bus = start(dir.path(), &script, Options::default());
    assert_eq!(change(&bus, positions, Decision::Replay).await, [decided; 4]);
    let totals = bus.status("mail").await.unwrap().machine.unwrap().dead;
    assert_eq!((totals.letters, totals.open), (4, 0), "the numbers survive a restart");
    assert_eq!(script.seen().len(), 8, "nothing comes a second time");
    stop(bus).await;
}

#[tokio::test]
async fn copy_that_dies_again_keeps_its_first_key_and_an_edit_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|_| Act::End(rejected()));
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", None, "x")]).await;
    let first = dead(&bus, "mail", 1).await.remove(0);
    change(&bus, vec![first.position], Decision::Replay).await;
    let copy = dead(&bus, "mail", 2).await.remove(1);
    let edited = event("e0", None, "mended");
    assert_eq!(change(&bus, vec![copy.position], Decision::Edit(edited)).await, [Changed::Done]);
    let row = bus.letter("mail", copy.position).await.unwrap().unwrap();
    assert_eq!((row.event.event.data(), row.generation), (&b"mended"[..], KeyGeneration(1)));
    change(&bus, vec![copy.position], Decision::Replay).await;
    letters(&bus, |rows| rows.len() == 3).await;
    let keys: Vec<String> = script.seen().into_iter().map(|seen| seen.idempotency_key).collect();
    assert_eq!((keys.len(), keys[0] == keys[1], keys[1] == keys[2]), (3, true, false));
    stop(bus).await;
}

#[tokio::test]
async fn parked_key_waits_over_a_restart_and_goes_on_in_order_with_the_edited_event() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| Act::End(if delivery.event.event.id() == "e0" { nack() } else { ack() }));
    let bus = start(dir.path(), &script, Options::default());
    let parks = Subscription { on_exhausted: OnExhausted::ParkKey, ..subscription("mail") };
    set_up(&bus, parks.clone(), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = ["e0", "e1"].map(|id| event(id, Some("k"), "x")).to_vec();
    let first = producer.store("orders", events).await;
    let letter = letters(&bus, |rows| rows.len() == 1).await.remove(0);
    assert_eq!((letter.state, letter.holds_key, letter.attempts), (DeadState::Manual, true, 3));
    let position = letter.event.position;
    assert_eq!(change(&bus, vec![position], Decision::Purge).await, [Changed::Refused(DecideError::KeyWaits)]);
    let edited = event("e0", Some("k"), "mended");
    assert_eq!(change(&bus, vec![position], Decision::Edit(edited)).await, [Changed::Done]);
    stop(bus).await;
    drop(producer);

    let script = Script::new(|delivery| {
        let is_mended = delivery.event.event.id() != "e0" || delivery.event.event.data() == b"mended";
        Act::End(if is_mended { ack() } else { nack() })
    });
    let bus = start(dir.path(), &script, Options::default());
    let mut producer = Producer::open(&bus, 2).await;
    producer.store("orders", vec![event("other", Some("free"), "x")]).await;
    wait("the other key", || script.ids() == ["other"]).await;
    assert_eq!(bus.status("mail").await.unwrap().machine.unwrap().dead.manual, 1);
    assert_eq!(change(&bus, vec![position], Decision::Replay).await, [Changed::Done]);
    settled(&bus, "mail", first + 3).await;
    assert_eq!(script.ids(), ["other", "e0", "e1"], "in its place, before the rest of its key");
    let row = bus.letter("mail", position).await.unwrap().unwrap();
    assert_eq!((row.state, row.holds_key), (DeadState::Replayed, true));
    stop(bus).await;
}

#[tokio::test]
async fn dismissed_parked_key_goes_on_without_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|delivery| Act::End(if delivery.event.event.id() == "e0" { rejected() } else { ack() }));
    let bus = start(dir.path(), &script, Options::default());
    let parks = Subscription { on_exhausted: OnExhausted::ParkKey, ..subscription("mail") };
    set_up(&bus, parks, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", ["e0", "e1"].map(|id| event(id, Some("k"), "x")).to_vec()).await;
    let letter = letters(&bus, |rows| rows.len() == 1).await.remove(0);
    assert_eq!(change(&bus, vec![letter.event.position], Decision::Dismiss).await, [Changed::Done]);
    settled(&bus, "mail", first + 2).await;
    assert_eq!(script.ids(), ["e0", "e1"]);
    assert_eq!(change(&bus, vec![letter.event.position], Decision::Purge).await, [Changed::Done]);
    assert_eq!(change(&bus, vec![letter.event.position], Decision::Replay).await, [Changed::Gone]);
    assert_eq!(bus.status("mail").await.unwrap().machine.unwrap().dead.letters, 0);
    stop(bus).await;
}

#[tokio::test]
async fn letter_knows_the_revision_and_one_operator_works_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", None, "x")]).await;
    let mut call = script.take().await;
    call.runs_on(Revision([5; 32]), Settles::AtReturn);
    call.finish(rejected());
    let letter = letters(&bus, |rows| rows.len() == 1).await.remove(0);
    assert_eq!(letter.revision, Some(Revision([5; 32])));
    let held = bus.hold_letters("mail").unwrap();
    assert!(matches!(bus.hold_letters("mail"), Err(HoldLettersError::Busy(_))));
    drop(held);
    assert!(bus.hold_letters("mail").is_ok());
    assert!(matches!(bus.hold_letters("nobody"), Err(HoldLettersError::NotFound(_))));
    stop(bus).await;
}

#[tokio::test]
async fn letters_beyond_the_bound_go_oldest_first_and_are_counted_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|_| Act::End(rejected()));
    let bus = start(dir.path(), &script, Options::default());
    let bounds = DeadBounds { letters_max: 16, ..DeadBounds::default() };
    set_up(&bus, Subscription { dead: bounds, ..subscription("mail") }, StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let events = (0..40).map(|n| event(&format!("e{n}"), Some("k"), "x")).collect();
    let first = producer.store("orders", events).await;
    settled(&bus, "mail", first + 40).await;
    let is_last = |row: &DeadRow| row.event.event.id() == "e39";
    let kept = letters(&bus, |rows| rows.len() <= 16 && rows.last().is_some_and(is_last)).await;
    assert!(kept.len() < 40);
    let totals = bus.status("mail").await.unwrap().machine.unwrap().dead;
    assert_eq!((totals.letters + totals.removed, totals.open), (40, totals.letters));
    stop(bus).await;
    drop(producer);
    let bus = start(dir.path(), &script, Options::default());
    let after = bus.status("mail").await.unwrap().machine.unwrap().dead;
    // A last trim may have come in between.
    assert!(after.removed >= totals.removed, "{after:?} after {totals:?}");
    assert_eq!((after.letters + after.removed, after.open), (40, after.letters));
    stop(bus).await;
}

#[tokio::test]
async fn done_claim_of_a_letter_is_known_before_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    producer.store("orders", vec![event("e0", None, "x")]).await;
    let mut call = script.take().await;
    let claim =
        |key: &str| Import::Claim { key: key.to_owned(), strength: Strength::Strong, keep: Millis::from_secs(60) };
    let Ok(Reply::Claim(ClaimOutcome::Claimed { claim: done, .. })) = call.import(claim("done")).await else {
        panic!("not claimed");
    };
    call.import(Import::Confirm { claim: done, receipt: None }).await.unwrap();
    call.import(claim("open")).await.unwrap();
    call.finish(CallEnd::Trapped("with an open claim".to_owned()));
    let keys = ["done", "open", "never"].map(str::to_owned).to_vec();
    let facts = bus.claims("mail", keys).await.unwrap();
    assert_eq!((facts[0], facts[2]), (ClaimFact::Done, ClaimFact::Free));
    stop(bus).await;
}

#[tokio::test]
async fn letters_of_a_host_that_kept_no_numbers_are_counted_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let id = bus.subscriptions()[0].id;
    stop(bus).await;
    let row = |offset: u64| DeadRow {
        event: StoredEvent {
            position: Position { slot: Slot(0), offset: Offset(offset) },
            topic: TopicId(1),
            received: Timestamp(0),
            event: event(&format!("old-{offset}"), None, "x"),
        },
        state: DeadState::Open,
        holds_key: false,
        decided: None,
        generation: KeyGeneration(0),
        revision: None,
        cause: "rejected".to_owned(),
        reason: "no".to_owned(),
        attempts: 1,
        channel: 0,
        plugin: 0,
        notes: Vec::new(),
        at: Timestamp(1),
    };
    let (store, _) = Store::open(dir.path(), bugle_store::Options::default()).unwrap();
    let mut batch = store.batch(1024);
    for offset in 0..70 {
        let row = row(offset);
        batch.push(&Write::Dead { subscription: id, position: row.event.position, row });
    }
    store.commit(batch, Durability::Synced).unwrap();
    store.close().unwrap();
    let bus = start(dir.path(), &script, Options::default());
    let totals = bus.status("mail").await.unwrap().machine.unwrap().dead;
    assert_eq!((totals.letters, totals.open, totals.bytes), (70, 70, (0..70).map(|n| row(n).cost()).sum::<u64>()));
    stop(bus).await;
}
