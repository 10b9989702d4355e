//! Every state, and the words it is told in.

use bugle_core::event::{Event, Index, StoredEvent};
use bugle_core::ids::{Attempt, KeyGeneration, TopicId};
use bugle_core::lane_hash::LaneMark;
use bugle_core::row::{
    DeadRow, DeadState, LetGoRow, LetGoWhy, PausedRow, RecordRow, RecordStatus, UnknownRow, UnknownState,
};
use bytes::Bytes;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn told() -> Told {
    Told {
        subscription: "mail".to_owned(),
        topics: vec!["orders".to_owned(), "refunds".to_owned()],
        started_at: Offset(5),
        has_records: false,
        now: NOW,
    }
}

fn at(offset: u64) -> Position {
    Position { offset: Offset(offset), ..Position::default() }
}

fn head() -> EventHead {
    EventHead { topic: "lottery".to_owned(), key: Some("user-42".to_owned()), ..EventHead::default() }
}

fn explained(standing: Standing) -> Explained {
    Explained { standing, gates: Vec::new(), attempts_max: 16 }
}

/// The state has this word, and its sentences and its future have these words.
fn check(standing: Standing, word: &str, why: &str, next: &str) -> ExplanationView {
    let view = told().event(at(20), &head(), &explained(standing), None);
    assert_eq!((view.subscription.as_str(), view.state.as_str()), ("mail", word), "{view:?}");
    assert!(view.why.join("; ").contains(why), "{view:?}");
    assert!(view.next.contains(next), "{view:?}");
    view
}

fn stored() -> StoredEvent {
    StoredEvent {
        position: at(20),
        topic: TopicId(1),
        received: NOW,
        event: Event::new(Bytes::new(), Index::default()).unwrap(),
    }
}

fn soon() -> Timestamp {
    Timestamp(NOW.0 + 6_345)
}

fn note() -> AttemptNote {
    AttemptNote { attempt: Attempt(3), at: NOW, reason: "HTTP 503".to_owned() }
}

#[test]
fn what_is_not_for_the_subscription() {
    check(Standing::NotCovered, "not-covered", "it covers `orders`, `refunds`, not `lottery`", "nothing");
    check(Standing::FilteredOut, "filtered-out", "filter", "nothing");
    check(Standing::Settled, "settled", "`records = true` would", "nothing");
    let before = told().event(at(4), &head(), &explained(Standing::Settled), None);
    assert_eq!((before.state.as_str(), before.why[0].as_str()), ("before-start", "the subscription began at 0-5"));
}

#[test]
fn what_is_on_its_way_to_the_plugin() {
    check(Standing::Unread { read: Offset(12) }, "unread", "below 0-12", "after 8 events of the log more");
    check(Standing::Ready { ahead: 0 }, "ready", "the next to start", "free place");
    check(Standing::Ready { ahead: 2 }, "ready", "2 others start before it", "free place");
    let held = check(Standing::Held { until: soon() }, "held", "the plugin keeps its key closed", "opens in 6 s");
    assert_eq!(held.until.as_deref(), Some("2023-11-14T22:13:26.345Z"));
}

#[test]
fn what_the_plugin_has() {
    let since = Timestamp(NOW.0 - 1_000);
    let standing = Standing::InFlight { attempt: Attempt(2), since, until: soon() };
    let view = check(standing, "in-flight", "attempt 2 of 16 is with the plugin", "at the latest in 6 s");
    assert_eq!((view.attempt, view.since.as_deref()), (Some(2), Some("2023-11-14T22:13:19Z")));
}

#[test]
fn what_waits_for_another_attempt() {
    let waiting = |spent, refusals, last| Standing::Waiting { due: soon(), spent, refusals, last };
    let view = check(waiting(3, 0, Some(note())), "waiting", "attempt 3 of 16 failed", "attempt 4 starts in 6 s");
    assert!(view.why[0].ends_with("HTTP 503"), "{view:?}");
    check(waiting(0, 0, None), "waiting", "put it off", "attempt 1 starts in 6 s");
    check(waiting(0, 2, None), "waiting", "could not be run 2 times", "attempt 1 starts");
    check(waiting(16, 0, Some(note())), "waiting", "HTTP 503", "becomes a dead letter in 6 s");
    let due = Standing::Waiting { due: Timestamp(0), spent: 1, refusals: 0, last: None };
    check(due, "waiting", "", "attempt 2 starts now");
    check(Standing::GivingUp { spent: 16 }, "giving-up", "16 of 16", "becomes a dead letter");
    let parked =
        check(Standing::Parked { spent: 16, last: Some(note()) }, "parked", "waits for a person", "bugle dead");
    assert!(parked.why[0].ends_with("HTTP 503") && parked.until.is_none(), "{parked:?}");
    check(Standing::Parked { spent: 1, last: None }, "parked", "after 1 attempts", "bugle dead list mail");
}

#[test]
fn what_waits_on_disk_or_is_held_back_by_the_policy() {
    let due = check(Standing::OnDisk { due: Some(soon()) }, "waiting", "waits on disk", "starts in 6 s");
    assert!(due.until.is_some(), "{due:?}");
    check(Standing::OnDisk { due: None }, "waiting", "waits on disk", "bugle dead list mail");
    check(Standing::BehindOnDisk { lane: LaneMark::Unkeyed }, "queued", "key `user-42` come first", "after those");
    check(Standing::Behind, "held-back", "degrade policy", "lets its class go");
    check(Standing::Degraded, "degraded", "degrade rule", "read once more");
}

#[test]
fn what_is_behind_another_event_tells_of_that_one_too() {
    let first = Standing::Waiting { due: soon(), spent: 3, refusals: 0, last: Some(note()) };
    let queued = |ahead| Standing::Queued { head: Offset(10), ahead, standing: Box::new(first.clone()) };
    let view = check(queued(Some(1)), "queued", "0-10 of its key `user-42` comes first", "of 0-10: attempt 4 starts");
    assert!(view.why[1].starts_with("0-10 is waiting: attempt 3 of 16 failed"), "{view:?}");
    assert_eq!(view.head.as_deref(), Some("0-10"));
    check(queued(Some(7)), "queued", "7 events of its key `user-42` come first, 0-10 is the next", "0-10");
    check(queued(None), "queued", "others of its key", "0-10");
}

#[test]
fn a_bug_of_ours_is_called_one() {
    check(Standing::Unaccounted, "unaccounted", "bug", "started again");
}

#[test]
fn what_ended_badly_is_told_by_its_row() {
    let letter = |state: DeadState, decided| DeadRow {
        event: stored(),
        state,
        holds_key: false,
        decided,
        generation: KeyGeneration(0),
        revision: None,
        cause: "rejected".to_owned(),
        reason: "no such number".to_owned(),
        channel: 0,
        plugin: 0,
        attempts: 1,
        notes: Vec::new(),
        at: NOW,
    };
    let ending =
        |row: DeadRow| told().event(at(20), &head(), &explained(Standing::Settled), Some(&Ending::Dead(Box::new(row))));
    let dead = ending(letter(DeadState::Open, None));
    assert_eq!((dead.state.as_str(), dead.attempt), ("dead", Some(1)));
    assert_eq!(ending(letter(DeadState::Manual, None)).state, "parked");
    for (state, word) in [(DeadState::Replayed, "replayed"), (DeadState::Dismissed, "dismissed")] {
        let decided = ending(letter(state, Some(NOW)));
        assert!(decided.state == word && decided.next.ends_with("2023-11-14T22:13:20Z"), "{decided:?}");
    }
    assert!(dead.why[0].contains("(rejected): no such number") && dead.next.contains("bugle dead list mail"));
}

#[test]
fn an_unknown_result_says_who_decides_or_what_was_decided() {
    let row = |state, decided| UnknownRow {
        event: stored(),
        state,
        decided,
        remark: String::new(),
        generation: KeyGeneration(0),
        revision: None,
        claims: Vec::new(),
        reference: "250?".to_owned(),
        attempts: 2,
        notes: Vec::new(),
        at: NOW,
    };
    let ending =
        |row| told().event(at(20), &head(), &explained(Standing::Settled), Some(&Ending::Unknown(Box::new(row))));
    let unknown = ending(row(UnknownState::Open, None));
    assert_eq!(unknown.state, "unknown");
    assert!(unknown.why[0].contains("250?") && unknown.next.contains("bugle unknown show mail"), "{unknown:?}");
    for (state, word) in
        [(UnknownState::Sent, "was sent"), (UnknownState::NotSent, "was not sent"), (UnknownState::Retried, "a copy")]
    {
        let told = ending(row(state, Some(NOW))).next;
        assert!(told.contains(word) && told.contains("2023-11-14T22:13:20Z"), "{told}");
    }
}

#[test]
fn what_was_let_go_is_told_by_its_row() {
    let row = |why| LetGoRow { serial: 0, from: Offset(10), to: Offset(30), events: 20, total: 20, why, at: NOW };
    let view = |why| told().event(at(20), &head(), &explained(Standing::Settled), Some(&Ending::LetGo(row(why))));
    let expired = view(LetGoWhy::Expired);
    assert_eq!(expired.state, "let-go");
    assert!(expired.why[0].contains("over its cap: 0-10 to 0-30 expired"), "{expired:?}");
    let sought = view(LetGoWhy::Sought);
    assert!(sought.why[0].contains("went forward from 0-10 to 0-30") && sought.next.contains("seek mail --to 0-10"));
}

#[test]
fn what_stands_in_the_way_is_told_last() {
    let paused = PausedRow { by: "operator".to_owned(), reason: "lunch".to_owned(), at: NOW };
    let silent = PausedRow { reason: String::new(), ..paused.clone() };
    let gates = vec![
        Gate::Paused(paused),
        Gate::Paused(silent),
        Gate::NoPlace { in_flight: 32 },
        Gate::Full(Bound::Queued),
        Gate::Full(Bound::Lanes),
        Gate::Full(Bound::Waiting),
        Gate::Draining { to: Offset(9) },
        Gate::Cancelled { calls: 2, until: soon() },
        Gate::Breaker { until: soon(), reason: "HTTP 503".to_owned() },
        Gate::Rate,
    ];
    let explained = Explained { gates, ..explained(Standing::Ready { ahead: 0 }) };
    let view = told().event(at(20), &head(), &explained, None);
    let told = &view.why[1..];
    assert_eq!(told[0], "the subscription is paused by operator since 2023-11-14T22:13:20Z: lunch");
    assert!(told[1].ends_with("no reason given") && told[2].contains("32 deliveries are in flight"), "{told:?}");
    assert!(told[3].contains("queued behind") && told[4].contains("keys") && told[5].contains("wait"), "{told:?}");
    assert!(told[6].contains("from 0-9 on") && told[7].contains("2 calls") && told[7].contains("in 6 s"), "{told:?}");
    assert!(told[8].contains("(HTTP 503)") && told[8].contains("probe starts in 6 s"), "{told:?}");
    assert!(told[9].contains("rate is used up"), "{told:?}");
}

#[test]
fn the_lane_of_a_key_tells_its_length_and_its_head() {
    let lane = LaneExplained {
        head: Some((Offset(10), explained(Standing::Ready { ahead: 0 }))),
        queued: 3,
        beyond: Some(Offset(400)),
        held: None,
        on_disk: None,
    };
    let view = told().lane("user-42", Class::Low, &lane);
    assert_eq!((view.state.as_str(), view.class.as_deref(), view.queued), ("ready", Some("low"), Some(3)));
    assert_eq!(view.why[0], "3 events of key `user-42` are queued, and more from 0-400 on");
    let held = LaneExplained { head: None, queued: 0, beyond: None, held: Some(soon()), on_disk: None };
    let view = told().lane("user-42", Class::Normal, &held);
    assert_eq!((view.state.as_str(), view.head), ("held", None));
    let on_disk = LaneExplained { head: None, queued: 0, beyond: None, held: None, on_disk: Some(LaneMark::Unkeyed) };
    let view = told().lane("user-42", Class::Normal, &on_disk);
    assert!(view.state == "waiting" && view.why[0].contains("waits on disk"), "{view:?}");
}

#[test]
fn what_a_send_record_tells() {
    let check = |status, detail: &str, why: &str| {
        let row = RecordRow {
            business_key: "order:7".to_owned(),
            recipient: String::new(),
            status,
            provider: String::new(),
            provider_reference: String::new(),
            detail: detail.to_owned(),
            attempt: Attempt(2),
            at: NOW,
            event_id: "e1".to_owned(),
            follow: bugle_core::row::Follow::default(),
        };
        let ending = Ending::Record(Box::new(row));
        let view = told().event(at(20), &head(), &explained(Standing::Settled), Some(&ending));
        assert_eq!((view.state.as_str(), view.why.as_slice()), ("settled", [why.to_owned()].as_slice()));
        assert_eq!(view.since.as_deref(), Some("2023-11-14T22:13:20Z"));
    };
    check(RecordStatus::Sent, "", "delivered, by the plugin's word, in attempt 2");
    let rule = "degrade rule 1: handed on (class critical)";
    check(RecordStatus::Suppressed, rule, &format!("not sent, on purpose: {rule}"));
    check(RecordStatus::Dead, "rejected: 410", "given up; its dead letter was removed since: rejected: 410");
    check(RecordStatus::Attempted, "503", "done, and the last that its send record says is `attempted`: 503");
    let told = Told { has_records: true, ..told() };
    let view = told.event(at(20), &head(), &explained(Standing::Settled), None);
    assert!(view.why[0].contains("before the subscription kept send records"), "{view:?}");
}
