//! One call against a ledger and a map as its store: what is committed, when, and what becomes of claims.

mod at_call;
mod reconcile;
mod scan;
mod timers;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use std::collections::BTreeMap;

use super::{Attempt, CallFacts, Ended, Fact, Look, Next, Settlement, Transaction};
use crate::code::Code;
use crate::delivery::{CallEnd, Failure, Fault, Retry, Settles, Verdict};
use crate::event::{Class, ERASED_KIND};
use crate::ids::{Attempt as Try, BootId, ClaimId, Name, Position, SubscriptionId, Ticket, TopicId};
use crate::import::{ClaimOutcome, Import, ImportResult, NewEvent, Note, Reply, Sent, Strength};
use crate::ledger::{ClaimAsk, ClaimFate, KvEffect, Ledger};
use crate::row::{ClaimState, Follow, KvRow, RecordStatus};
use crate::step::Write;
use crate::time::{Millis, Timestamp};

const NOW: Timestamp = Timestamp(50_000);

/// A driver in miniature: one call, its ledger, its store.
struct Driver {
    attempt: Attempt,
    ledger: Ledger,
    kv: BTreeMap<String, KvRow>,
    /// Batches made durable during the call, in order.
    batches: Vec<Vec<Write>>,
    committed: Vec<Transaction>,
    /// Ends that took effect at the call, and what the next one is answered.
    ended: Vec<Ended>,
    settlement: Settlement,
    /// How many wait; the one called `set` does.
    timers: u64,
}

fn call() -> Driver {
    call_that_settles(Settles::AtReturn)
}

fn call_that_settles(settles: Settles) -> Driver {
    call_with(settles, false)
}

fn call_with(settles: Settles, asks: bool) -> Driver {
    let facts = CallFacts {
        asks,
        late_after: None,
        ticket: Ticket(5),
        attempt: Try(1),
        subscription: SubscriptionId(1),
        position: Position::default(),
        event_id: "e-1".to_string(),
        idempotency_key: "msg_x".to_string(),
        claim_scope: Name::from("sms"),
        kv_store: Name::from("sms"),
        hops: 0,
        settles,
    };
    Driver {
        attempt: Attempt::begin(facts),
        ledger: Ledger::new(BootId(1)),
        kv: BTreeMap::new(),
        batches: vec![],
        committed: vec![],
        ended: vec![],
        settlement: Settlement::Kept,
        timers: 1,
    }
}

impl Driver {
    fn import(&mut self, import: Import) -> ImportResult {
        let mut next = self.attempt.handle(NOW, import);
        loop {
            let fact = match next {
                Next::Reply(reply) => return reply,
                Next::Look(look) => self.look(look),
                Next::Claim { key, strength, keep } => {
                    let (scope, owner) = (Name::from("sms"), SubscriptionId(1));
                    let ask = ClaimAsk { scope, key, ticket: Ticket(5), owner, strength, keep };
                    let (outcome, write) = self.ledger.claim(NOW, ask, None);
                    self.batches.extend(write.map(|(write, _)| vec![write]));
                    Fact::Claimed(outcome)
                }
                Next::Confirm { claim, receipt, transaction } => {
                    let (write, _) = self.ledger.confirm(NOW, claim, receipt).unwrap();
                    self.batches.push(vec![write]);
                    self.committed.push(transaction);
                    Fact::Confirmed
                }
                Next::Release(end) => {
                    let write = self.ledger.release(NOW, end.claim, end.fate).unwrap();
                    self.batches.extend(write.map(|(write, _)| vec![write]));
                    Fact::Released
                }
                Next::Settle(ended) => {
                    self.ended.push(*ended);
                    Fact::Settled(self.settlement)
                }
                Next::Extend(by) => Fact::Extended(Some(by)),
                Next::Waiting => Fact::Waiting(None),
            };
            next = self.attempt.fact(NOW, fact);
        }
    }

    fn look(&self, look: Look) -> Fact {
        match look {
            Look::Kv { key } => Fact::Kv(self.kv.get(&key).cloned()),
            Look::KvScan { prefix, after, limit } => {
                let mut rows: Vec<(String, KvRow)> = self
                    .kv
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after))
                    .map(|(key, row)| (key.clone(), row.clone()))
                    .collect();
                let is_end = rows.len() <= limit as usize;
                rows.truncate(limit as usize);
                Fact::KvRows { rows, is_end }
            }
            Look::Records { .. } => Fact::Records(vec![]),
            Look::Timers { name } => Fact::Timers { is_set: name == "set", waiting: self.timers },
            Look::Topics(names) => {
                Fact::Topics(names.iter().map(|name| (name != "nowhere").then_some(TopicId(9))).collect())
            }
        }
    }

    fn claim(&mut self, key: &str) -> ClaimId {
        match self.import(Import::Claim { key: key.to_string(), strength: Strength::Strong, keep: Millis(1000) }) {
            Ok(Reply::Claim(ClaimOutcome::Claimed { claim, .. })) => claim,
            other => panic!("expected a claim, got {other:?}"),
        }
    }

    fn put(&mut self, key: &str, value: &str) {
        let import = Import::KvPut { key: key.to_string(), value: value.as_bytes().to_vec(), ttl: None };
        assert_eq!(self.import(import), Ok(Reply::Done));
    }

    fn get(&mut self, key: &str) -> Option<String> {
        match self.import(Import::KvGet { key: key.to_string() }) {
            Ok(Reply::Entry(entry)) => entry.map(|entry| String::from_utf8(entry.value).unwrap()),
            other => panic!("expected an entry, got {other:?}"),
        }
    }

    fn send(&mut self, sent: Sent) {
        self.import(Import::EgressStart).unwrap();
        self.import(Import::EgressEnd(sent)).unwrap();
    }

    fn code(&mut self, import: Import) -> Code {
        self.import(import).unwrap_err().code
    }

    fn finish(self, end: CallEnd) -> Ended {
        self.attempt.finish(NOW, end)
    }
}

fn retry() -> Retry {
    Retry { after: None, reason: "busy".to_string(), fault: Fault::Channel }
}

fn nack() -> CallEnd {
    CallEnd::Returned(Err(Failure::Retry(retry())))
}

fn keys(transaction: &Transaction) -> Vec<&str> {
    transaction.kv.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn ack_commits_what_was_buffered() {
    let mut call = call();
    call.put("a", "1");
    let ended = call.finish(CallEnd::Returned(Ok(())));
    assert_eq!(ended.verdict, Verdict::Ack);
    assert_eq!(keys(&ended.transaction), ["a"]);
}

#[test]
fn any_other_verdict_discards_all_but_the_send_records() {
    let note = Note {
        business_key: "order:7".to_string(),
        recipient: "user:42".to_string(),
        status: RecordStatus::Attempted,
        provider: String::new(),
        provider_reference: String::new(),
        detail: String::new(),
    };
    for end in [nack(), CallEnd::Trapped("boom".to_string()), CallEnd::TimedOut("30 s".to_string())] {
        let mut call = call();
        call.put("a", "1");
        call.import(Import::Note(note.clone())).unwrap();
        let ended = call.finish(end);
        assert!(ended.transaction.kv.is_empty());
        assert_eq!(ended.transaction.records.len(), 1);
    }
}

#[test]
fn first_settlement_wins_and_the_second_is_told() {
    let mut call = call();
    call.import(Import::Nack(retry())).unwrap();
    assert_eq!(call.import(Import::Nack(retry())), Ok(Reply::Done));
    assert_eq!(call.code(Import::Ack), Code::Settled);
    assert_eq!(call.code(Import::KvGet { key: "a".to_string() }), Code::Settled);
    assert_eq!(call.finish(CallEnd::Returned(Ok(()))).verdict, Verdict::Nack(retry()));
}

#[test]
fn trap_after_the_ack_import_is_not_an_ack() {
    let mut call = call();
    call.put("a", "1");
    call.import(Import::Ack).unwrap();
    let ended = call.finish(CallEnd::Trapped("boom".to_string()));
    assert!(matches!(ended.verdict, Verdict::Broke(_)));
    assert!(ended.transaction.kv.is_empty());
}

#[test]
fn confirm_commits_what_was_buffered_since_the_claim_and_a_later_trap_does_not_undo_it() {
    let mut call = call();
    call.put("before", "1");
    let claim = call.claim("order:7");
    call.put("inside", "2");
    call.send(Sent::Answered);
    call.import(Import::Confirm { claim, receipt: Some(vec![1]) }).unwrap();
    call.put("after", "3");
    assert_eq!(keys(&call.committed[0]), ["inside"]);
    let ended = call.finish(CallEnd::Trapped("boom".to_string()));
    assert!(ended.transaction.kv.is_empty());
    assert!(ended.releases.is_empty() && ended.confirms.is_empty());
}

#[test]
fn intent_of_a_strong_claim_is_durable_before_the_guest_is_told() {
    let mut call = call();
    call.claim("order:7");
    assert!(matches!(&call.batches[0][..], [Write::Claim { row: Some(row), .. }] if row.state == ClaimState::Claimed));
}

/// Evidence of one outgoing call, an end of the call, and what must become of the open claim.
fn check_fate(sent: Option<Sent>, end: CallEnd, expected: Option<ClaimFate>) {
    let mut call = call();
    let claim = call.claim("order:7");
    if let Some(sent) = sent {
        call.send(sent);
    }
    let ended = call.finish(end.clone());
    match expected {
        None => assert_eq!(ended.confirms, [claim], "{sent:?} {end:?}"),
        Some(fate) => assert_eq!(ended.releases.first().map(|end| end.fate), Some(fate), "{sent:?} {end:?}"),
    }
}

#[test]
fn host_decides_the_fate_of_a_claim_from_what_left_the_machine() {
    let trap = || CallEnd::Trapped("boom".to_string());
    check_fate(None, nack(), Some(ClaimFate::Unsent));
    check_fate(None, trap(), Some(ClaimFate::Unsent));
    check_fate(Some(Sent::Nothing), trap(), Some(ClaimFate::Unsent));
    check_fate(Some(Sent::Answered), nack(), Some(ClaimFate::Unsent));
    check_fate(Some(Sent::Answered), trap(), Some(ClaimFate::Uncertain));
    check_fate(Some(Sent::Maybe), nack(), Some(ClaimFate::Uncertain));
    check_fate(Some(Sent::Maybe), CallEnd::Returned(Ok(())), Some(ClaimFate::Uncertain));
    check_fate(Some(Sent::Answered), CallEnd::Returned(Ok(())), None);
    check_fate(None, CallEnd::Returned(Err(Failure::Unknown("ref".to_string()))), Some(ClaimFate::Uncertain));
}

#[test]
fn call_cut_off_while_sending_leaves_the_claim_uncertain() {
    let mut call = call();
    call.claim("order:7");
    call.import(Import::EgressStart).unwrap();
    let ended = call.finish(CallEnd::TimedOut("30 s".to_string()));
    assert_eq!(ended.releases[0].fate, ClaimFate::Uncertain);
}

#[test]
fn release_after_maybe_sent_is_refused_and_keeps_the_claim() {
    let mut call = call();
    let claim = call.claim("order:7");
    call.send(Sent::Maybe);
    assert_eq!(call.code(Import::Release { claim }), Code::Uncertain);
    assert_eq!(call.finish(nack()).releases[0].fate, ClaimFate::Uncertain);
}

#[test]
fn claiming_and_confirming_again_get_the_same_answers() {
    let mut call = call();
    let claim = call.claim("order:7");
    assert_eq!(call.claim("order:7"), claim);
    call.import(Import::Confirm { claim, receipt: None }).unwrap();
    assert_eq!(call.import(Import::Confirm { claim, receipt: None }), Ok(Reply::Done));
    assert_eq!(call.committed.len(), 1);
}

#[test]
fn one_of_several_calls_under_way_without_an_answer_is_enough_to_doubt() {
    let mut call = call();
    call.claim("order:7");
    call.import(Import::EgressStart).unwrap();
    call.import(Import::EgressStart).unwrap();
    call.import(Import::EgressEnd(Sent::Answered)).unwrap();
    assert_eq!(call.finish(nack()).releases[0].fate, ClaimFate::Uncertain);
}

#[test]
fn release_discards_what_was_buffered_since_the_claim() {
    let mut call = call();
    call.put("outer", "1");
    let claim = call.claim("order:7");
    call.put("inner", "2");
    call.import(Import::Release { claim }).unwrap();
    assert_eq!(call.get("inner"), None);
    assert_eq!(keys(&call.finish(CallEnd::Returned(Ok(()))).transaction), ["outer"]);
}

#[test]
fn foreign_and_outer_claims_are_refused() {
    let mut call = call();
    let outer = call.claim("a");
    call.claim("b");
    assert_eq!(call.code(Import::Confirm { claim: outer, receipt: None }), Code::Invalid);
    assert_eq!(call.code(Import::Confirm { claim: ClaimId(999), receipt: None }), Code::Stale);
}

#[test]
fn call_reads_its_own_kv_changes() {
    let mut call = call();
    call.kv.insert("n".to_string(), KvRow { value: b"40".to_vec(), expires: None, version: 3 });
    call.import(Import::KvAdd { key: "n".to_string(), delta: 2, ttl: None }).unwrap();
    assert_eq!(call.get("n").as_deref(), Some("42"));
    call.put("n", "7");
    assert_eq!(call.get("n").as_deref(), Some("7"));
    call.import(Import::KvSwap { key: "n".to_string(), expect: Some(3), value: None, ttl: None })
        .map(|reply| assert_eq!(reply, Reply::Swapped(false)))
        .unwrap();
    let ended = call.finish(CallEnd::Returned(Ok(())));
    assert_eq!(ended.transaction.reads.len(), 1);
    assert!(matches!(ended.transaction.kv[..], [(_, KvEffect::Add { delta: 2, .. }), (_, KvEffect::Put { .. })]));
}

#[test]
fn delete_reads_nothing_and_hides_the_key() {
    let mut call = call();
    call.kv.insert("n".to_string(), KvRow { value: b"40".to_vec(), expires: None, version: 3 });
    for key in ["n", "absent"] {
        assert_eq!(call.import(Import::KvDelete { key: key.to_string() }), Ok(Reply::Done));
    }
    assert_eq!(call.get("n"), None);
    assert_eq!(call.code(Import::KvDelete { key: String::new() }), Code::Invalid);
    let ended = call.finish(CallEnd::Returned(Ok(())));
    assert!(ended.transaction.reads.is_empty());
    assert!(matches!(ended.transaction.kv[..], [(_, KvEffect::Delete), (_, KvEffect::Delete)]));
}

#[test]
fn swap_of_a_missing_key_needs_no_version() {
    let mut call = call();
    let swap = |expect| Import::KvSwap { key: "k".to_string(), expect, value: Some(vec![1]), ttl: None };
    assert_eq!(call.import(swap(Some(1))), Ok(Reply::Swapped(false)));
    assert_eq!(call.import(swap(None)), Ok(Reply::Swapped(true)));
}

#[test]
fn scan_shows_own_changes_in_key_order() {
    let mut call = call();
    for key in ["u/1", "u/3", "v/1"] {
        call.kv.insert(key.to_string(), KvRow { value: b"s".to_vec(), expires: None, version: 1 });
    }
    call.put("u/2", "mine");
    call.import(Import::KvSwap { key: "u/3".to_string(), expect: Some(1), value: None, ttl: None }).unwrap();
    let Ok(Reply::Entries(entries)) = call.import(Import::KvScan { prefix: "u/".to_string(), after: None, limit: 10 })
    else {
        panic!("a scan gives entries")
    };
    assert_eq!(entries.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["u/1", "u/2"]);
}

fn follow_up(topic: &str) -> NewEvent {
    NewEvent {
        topic: topic.to_string(),
        kind: "k".to_string(),
        deliver_at: None,
        expires: None,
        class: Class::Normal,
        subject: None,
        key: None,
        id: None,
        content_type: None,
        attributes: vec![],
        data: vec![],
    }
}

#[test]
fn follow_ups_get_the_same_ids_on_each_attempt() {
    let ids = || {
        let mut call = call();
        call.import(Import::Publish(vec![follow_up("t"), follow_up("t")])).unwrap()
    };
    assert_eq!(ids(), Reply::Ids(vec!["msg_x.1".to_string(), "msg_x.2".to_string()]));
    assert_eq!(ids(), ids());
}

#[test]
fn follow_up_to_an_unknown_topic_is_refused_at_the_call() {
    let mut call = call();
    assert_eq!(call.code(Import::Publish(vec![follow_up("t"), follow_up("nowhere")])), Code::UnknownTopic);
    assert!(call.finish(CallEnd::Returned(Ok(()))).transaction.follow_ups.is_empty());
}

#[test]
fn follow_up_to_a_topic_of_the_host_is_refused_at_the_call() {
    let mut call = call();
    for topic in ["bugle.to.sms", "bugle.settled"] {
        assert_eq!(call.code(Import::Publish(vec![follow_up("t"), follow_up(topic)])), Code::Denied);
    }
    assert!(call.finish(CallEnd::Returned(Ok(()))).transaction.follow_ups.is_empty());
}

#[test]
fn follow_up_that_says_that_it_was_erased_is_refused_at_the_call() {
    let mut call = call();
    let erased = NewEvent { kind: ERASED_KIND.to_string(), ..follow_up("t") };
    assert_eq!(call.code(Import::Publish(vec![erased])), Code::Denied);
    assert!(call.finish(CallEnd::Returned(Ok(()))).transaction.follow_ups.is_empty());
}

#[test]
fn a_note_speaks_of_the_claim_it_is_made_under_or_of_the_only_one_and_of_none_where_nothing_is_watched() {
    let claim_of = |late_after: Option<Millis>, keys: &[&str]| {
        let mut call = call();
        call.attempt.facts.late_after = late_after;
        keys.iter().for_each(|key| call.attempt.knows_of(key));
        let Follow::By { claim, .. } = call.attempt.follows(Timestamp(5), RecordStatus::Sent) else { return None };
        Some(claim.map(|claim| claim.key))
    };
    let watched = Some(Millis(10));
    assert_eq!(claim_of(None, &["k"]), None);
    assert_eq!(claim_of(watched, &[]), Some(None));
    assert_eq!(claim_of(watched, &["k", "k"]), Some(Some("k".to_string())));
    assert_eq!(claim_of(watched, &["k", "l"]), Some(None), "one of several, and nobody knows which");
}

#[test]
fn loop_of_follow_ups_is_refused() {
    let mut call = call();
    call.attempt.facts.hops = super::limits::HOPS_MAX;
    assert_eq!(call.code(Import::Publish(vec![follow_up("t")])), Code::Quota);
}

#[test]
fn hostile_sizes_are_refused() {
    let mut call = call();
    assert_eq!(call.code(Import::KvGet { key: "k".repeat(513) }), Code::TooLarge);
    assert_eq!(call.code(Import::KvGet { key: String::new() }), Code::Invalid);
    assert_eq!(call.code(Import::KvGet { key: "a\u{1b}[2J".to_string() }), Code::Invalid);
    let value = vec![0; 60 * 1024];
    for n in 0..17 {
        call.import(Import::KvPut { key: n.to_string(), value: value.clone(), ttl: None }).unwrap();
    }
    assert_eq!(call.code(Import::KvPut { key: "e".to_string(), value, ttl: None }), Code::TooLarge);
    for n in 0..super::CLAIMS_MAX {
        call.claim(&n.to_string());
    }
    assert_eq!(
        call.code(Import::Claim { key: "x".to_string(), strength: Strength::Weak, keep: Millis(1) }),
        Code::Quota
    );
}

#[test]
fn what_a_confirm_committed_leaves_room_for_more() {
    let mut call = call();
    let value = vec![0; super::VALUE_BYTES_MAX];
    for page in 0..8 {
        let claim = call.claim(&page.to_string());
        for n in 0..10 {
            call.import(Import::KvPut { key: n.to_string(), value: value.clone(), ttl: None }).unwrap();
        }
        call.import(Import::Confirm { claim, receipt: None }).unwrap();
    }
    assert_eq!(call.committed.len(), 8, "5 MiB in all, and never more than one at once");
}

#[test]
fn lapsed_lease_is_told() {
    let mut call = call();
    assert_eq!(call.code(Import::Waiting), Code::Stale);
}
