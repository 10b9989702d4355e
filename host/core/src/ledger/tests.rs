//! The ledger against histories: exclusivity, evidence, overlay and versions.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::{ClaimAsk, ClaimFate, KvEffect, KvRead, Ledger};
use crate::ids::{BootId, ClaimId, Name, SubscriptionId, Ticket};
use crate::import::{ClaimOutcome, Strength};
use crate::row::{ClaimRow, ClaimState, Expiring, ExpiryEntry, KvRow, Second};
use crate::step::Write;
use crate::time::{Millis, Timestamp};

const NOW: Timestamp = Timestamp(1_000);

fn ask(ticket: u64, strength: Strength) -> ClaimAsk {
    ClaimAsk {
        scope: Name::from("sms"),
        key: "order:7".to_string(),
        ticket: Ticket(ticket),
        owner: SubscriptionId(1),
        strength,
        keep: Millis(60_000),
    }
}

fn claimed(outcome: &ClaimOutcome) -> (ClaimId, bool) {
    match outcome {
        ClaimOutcome::Claimed { claim, uncertain } => (*claim, *uncertain),
        ClaimOutcome::Done(_) | ClaimOutcome::Busy(_) => {
            panic!("expected a claim, got {outcome:?}")
        }
    }
}

fn row(write: &Write) -> Option<ClaimRow> {
    match write {
        Write::Claim { row, .. } => row.clone(),
        other => panic!("expected a claim row, got {other:?}"),
    }
}

#[test]
fn open_claim_makes_others_wait() {
    let mut ledger = Ledger::new(BootId(1));
    let (outcome, write) = ledger.claim(NOW, ask(1, Strength::Strong), None);
    claimed(&outcome);
    assert_eq!(row(&write.unwrap().0).unwrap().state, ClaimState::Claimed);
    assert!(matches!(ledger.claim(NOW, ask(2, Strength::Strong), None).0, ClaimOutcome::Busy(_)));
}

#[test]
fn done_claim_answers_with_its_receipt_before_and_after_it_is_durable() {
    let mut ledger = Ledger::new(BootId(1));
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Strong), None).0);
    let (write, step) = ledger.confirm(NOW, claim, Some(vec![7])).unwrap();
    assert_eq!(ledger.claim(NOW, ask(2, Strength::Weak), None).0, ClaimOutcome::Done(Some(vec![7])));
    ledger.durable(step);
    assert_eq!(ledger.sizes(), (0, 0, 0));
    assert_eq!(ledger.claim(NOW, ask(2, Strength::Weak), row(&write)).0, ClaimOutcome::Done(Some(vec![7])));
}

#[test]
fn done_mark_ends_with_its_keep_time() {
    let mut ledger = Ledger::new(BootId(1));
    let stored = ClaimRow { state: ClaimState::Done { receipt: None }, expires: NOW };
    let (_, uncertain) = claimed(&ledger.claim(NOW, ask(1, Strength::Weak), Some(stored)).0);
    assert!(!uncertain);
}

#[test]
fn intent_found_after_a_crash_is_uncertain() {
    let mut ledger = Ledger::new(BootId(2));
    let stored = ClaimRow { state: ClaimState::Claimed, expires: NOW.after(Millis(1)) };
    let (_, uncertain) = claimed(&ledger.claim(NOW, ask(1, Strength::Strong), Some(stored)).0);
    assert!(uncertain);
}

#[test]
fn uncertain_claim_stays_so_until_it_is_confirmed_or_released() {
    let mut ledger = Ledger::new(BootId(2));
    let stored = ClaimRow { state: ClaimState::Uncertain, expires: NOW.after(Millis(1)) };
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Strong), Some(stored)).0);
    let (write, _) = ledger.release(NOW, claim, ClaimFate::Unsent).unwrap().unwrap();
    assert_eq!(row(&write).unwrap().state, ClaimState::Uncertain);
    let (claim, uncertain) = claimed(&ledger.claim(NOW, ask(1, Strength::Strong), None).0);
    assert!(uncertain);
    let (write, _) = ledger.release(NOW, claim, ClaimFate::Released).unwrap().unwrap();
    assert_eq!(row(&write), None);
}

#[test]
fn free_release_deletes_the_intent() {
    let mut ledger = Ledger::new(BootId(2));
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Strong), None).0);
    let (write, _) = ledger.release(NOW, claim, ClaimFate::Unsent).unwrap().unwrap();
    assert_eq!(row(&write), None);
    assert!(ledger.confirm(NOW, claim, None).is_err(), "a released claim can't be confirmed");
}

#[test]
fn weak_claim_released_free_leaves_no_row() {
    let mut ledger = Ledger::new(BootId(2));
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Weak), None).0);
    assert_eq!(ledger.release(NOW, claim, ClaimFate::Unsent).unwrap(), None);
    assert_eq!(ledger.sizes(), (0, 0, 0));
}

#[test]
fn weak_claim_that_may_have_sent_is_remembered() {
    let mut ledger = Ledger::new(BootId(2));
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Weak), None).0);
    let (write, _) = ledger.release(NOW, claim, ClaimFate::Uncertain).unwrap().unwrap();
    assert_eq!(row(&write).unwrap().state, ClaimState::Uncertain);
}

fn entry(of: Expiring, scope: &str, key: &str, second: u64) -> ExpiryEntry {
    ExpiryEntry { of, second: Second(second), scope: Name::from(scope), key: key.to_string() }
}

#[test]
fn ended_kv_entry_goes_and_a_renewed_one_stays() {
    let mut ledger = Ledger::new(BootId(1));
    let store = Name::from("inbox");
    let stored = |expires| Some(KvRow { value: vec![], expires: Some(Timestamp(expires)), version: 3 });
    let entry = entry(Expiring::Kv, "inbox", "k", 1);
    let gone = Write::Kv { store: store.clone(), key: "k".to_string(), row: None };
    let seen = Write::ExpiryGone(entry.clone());
    assert_eq!(ledger.expire_kv(NOW, entry.clone(), stored(1_000)), [gone.clone(), seen.clone()]);
    assert_eq!(ledger.expire_kv(NOW, entry.clone(), stored(1_001)), vec![seen.clone()], "renewed on disk");
    let renewal = vec![("k".to_string(), KvEffect::Put { value: vec![], expires: Some(Timestamp(9_000)) })];
    let (_, step) = ledger.kv_commit(NOW, &store, &[], renewal, |_| stored(1_000)).unwrap().unwrap();
    assert_eq!(ledger.expire_kv(NOW, entry.clone(), stored(1_000)), [seen], "renewed, and on the way to the disk");
    ledger.durable(step);
    assert_eq!(ledger.expire_kv(NOW, entry.clone(), None)[0], gone, "an entry that finds nothing goes too");
}

#[test]
fn ended_claim_goes_and_one_on_the_way_decides_over_its_row() {
    let mut ledger = Ledger::new(BootId(1));
    let entry = entry(Expiring::Claim, "sms", "order:7", 1);
    let stored = |expires| Some(ClaimRow { state: ClaimState::Done { receipt: None }, expires: Timestamp(expires) });
    assert_eq!(ledger.expire_claim(NOW, entry.clone(), stored(1_000)).len(), 2);
    assert_eq!(ledger.expire_claim(NOW, entry.clone(), stored(1_001)).len(), 1);
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Strong), stored(1_000)).0);
    assert_eq!(ledger.expire_claim(NOW, entry.clone(), stored(1_000)), [], "its intent is on the way");
    let (_, step) = ledger.confirm(NOW, claim, None).unwrap();
    assert_eq!(ledger.expire_claim(NOW, entry.clone(), stored(1_000)).len(), 1, "done anew, and on the way");
    ledger.durable(step);
    assert_eq!(ledger.expire_claim(NOW, entry, None).len(), 2);
}

#[test]
fn done_weak_claim_is_a_mark_that_ends_as_a_range() {
    let mut ledger = Ledger::new(BootId(2));
    let mut marks = Vec::new();
    for n in 0..3 {
        let asked = ClaimAsk { key: n.to_string(), keep: Millis(1_000 * (3 - n)), ..ask(n, Strength::Weak) };
        let (claim, _) = claimed(&ledger.claim(NOW, asked, None).0);
        match ledger.confirm(NOW, claim, Some(vec![n as u8])).unwrap().0 {
            Write::Window { mark, .. } => marks.push(mark),
            other => panic!("{other:?}"),
        }
    }
    let again = |ledger: &mut Ledger, now, n: u64| {
        ledger.claim(now, ClaimAsk { key: n.to_string(), ..ask(9, Strength::Strong) }, None).0
    };
    assert_eq!(again(&mut ledger, NOW, 1), ClaimOutcome::Done(Some(vec![1])), "of either strength");
    let mut restarted = Ledger::new(BootId(3));
    marks.iter().for_each(|mark| restarted.recover_mark(&Name::from("sms"), mark.clone()));
    assert_eq!(again(&mut restarted, NOW, 1), ClaimOutcome::Done(Some(vec![1])), "over a restart");
    let later = NOW.after(Millis(2_000));
    claimed(&again(&mut restarted, later, 2));
    let ended = restarted.end_marks(later);
    let last = &marks[1];
    let range = Write::WindowEnded { scope: Name::from("sms"), expires: last.expires, number: last.number };
    assert_eq!((ended, restarted.marks()), (vec![range], 1), "two have ended, and the first one lives longest");
    assert_eq!(restarted.end_marks(later), []);
    restarted.end(SubscriptionId(1), "sms");
    assert_eq!(restarted.marks(), 0);
}

#[test]
fn row_of_a_mark_goes_although_its_key_was_claimed_again() {
    let mut ledger = Ledger::new(BootId(2));
    let mark = |ledger: &mut Ledger, now, keep| {
        let asked = ClaimAsk { keep: Millis(keep), ..ask(1, Strength::Weak) };
        let (claim, _) = claimed(&ledger.claim(now, asked, None).0);
        match ledger.confirm(now, claim, None).unwrap().0 {
            Write::Window { mark, .. } => mark,
            other => panic!("{other:?}"),
        }
    };
    let first = mark(&mut ledger, NOW, 1_000);
    let later = NOW.after(Millis(1_500));
    mark(&mut ledger, later, 60_000);
    let range = Write::WindowEnded { scope: Name::from("sms"), expires: first.expires, number: first.number };
    assert_eq!((ledger.end_marks(later), ledger.marks()), (vec![range], 1));
    assert!(matches!(ledger.claim(later, ask(2, Strength::Weak), None).0, ClaimOutcome::Done(_)));
}

#[test]
fn the_end_of_one_that_shares_a_scope_leaves_the_claims_of_the_others() {
    let mut ledger = Ledger::new(BootId(2));
    let of =
        |owner, key: &str| ClaimAsk { key: key.to_string(), owner: SubscriptionId(owner), ..ask(1, Strength::Strong) };
    let (_, intent) = ledger.claim(NOW, of(1, "a"), None);
    ledger.claim(NOW, of(2, "b"), None);
    ledger.end(SubscriptionId(1), "one");
    let left = row(&intent.unwrap().0);
    let (_, uncertain) = claimed(&ledger.claim(NOW, of(3, "a"), left).0);
    assert!(uncertain, "its last call may have sent something");
    assert!(matches!(ledger.claim(NOW, of(3, "b"), None).0, ClaimOutcome::Busy(_)));
}

#[test]
fn full_window_forgets_nothing() {
    let mut ledger = Ledger::with_window(BootId(2), 200);
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Weak), None).0);
    assert!(matches!(ledger.confirm(NOW, claim, None).unwrap().0, Write::Window { .. }));
    let asked = ClaimAsk { key: "other".to_string(), ..ask(1, Strength::Weak) };
    let (claim, _) = claimed(&ledger.claim(NOW, asked, None).0);
    let (write, _) = ledger.confirm(NOW, claim, Some(vec![3])).unwrap();
    assert_eq!(row(&write).unwrap().state, ClaimState::Done { receipt: Some(vec![3]) }, "a row as of a strong one");
}

#[test]
fn entry_that_ended_before_its_commit_is_not_written() {
    let mut ledger = Ledger::new(BootId(1));
    let store = Name::from("inbox");
    let effects = || {
        let expires = Some(NOW);
        vec![
            ("put".to_string(), KvEffect::Put { value: vec![1], expires }),
            ("sum".to_string(), KvEffect::Add { delta: 1, expires }),
        ]
    };
    let (writes, _) = ledger.kv_commit(NOW, &store, &[], effects(), |_| None).unwrap().unwrap();
    assert!(writes.iter().all(|write| matches!(write, Write::Kv { row: None, .. })), "{writes:?}");
    let (writes, _) = ledger.kv_commit(Timestamp(999), &store, &[], effects(), |_| None).unwrap().unwrap();
    assert!(writes.iter().all(|write| matches!(write, Write::Kv { row: Some(_), .. })), "{writes:?}");
}

#[test]
fn stale_read_is_a_conflict() {
    let mut ledger = Ledger::new(BootId(1));
    let store = Name::from("inbox");
    let put = |value: &str| vec![("k".to_string(), KvEffect::Put { value: value.as_bytes().to_vec(), expires: None })];
    let (_, step) = ledger
        .kv_commit(NOW, &store, &[KvRead { key: "k".to_string(), version: 0 }], put("a"), |_| None)
        .unwrap()
        .unwrap();
    let second = ledger.kv_commit(NOW, &store, &[KvRead { key: "k".to_string(), version: 0 }], put("b"), |_| None);
    assert_eq!(second.unwrap_err().key, "k", "conflict even before the first is durable");
    ledger.durable(step);
    let stored = KvRow { value: b"a".to_vec(), expires: None, version: 9 };
    assert!(
        ledger
            .kv_commit(NOW, &store, &[KvRead { key: "k".to_string(), version: 0 }], put("b"), |_| Some(stored.clone()))
            .is_err()
    );
}

/// One kv transaction of the model: reads, then changes; `lag` steps later it becomes durable.
#[derive(Clone, Debug)]
enum Act {
    Add(u8, i64),
    Put(u8, i64),
    Delete(u8),
    /// Read, then put read + 1, with the read possibly stale by one transaction.
    Increment(u8, bool),
    Durable,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..3u8, -5..5i64).prop_map(|(key, delta)| Act::Add(key, delta)),
        (0..3u8, 0..100i64).prop_map(|(key, value)| Act::Put(key, value)),
        (0..3u8).prop_map(Act::Delete),
        (0..3u8, any::<bool>()).prop_map(|(key, stale)| Act::Increment(key, stale)),
        Just(Act::Durable),
    ]
}

/// The store: rows that became visible, and those still on the way in commit order.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<String, KvRow>,
    queue: Vec<(super::LedgerStep, Vec<Write>)>,
}

impl Disk {
    fn flush(&mut self, ledger: &mut Ledger) {
        for (step, writes) in self.queue.drain(..) {
            for write in writes {
                if let Write::Kv { key, row, .. } = write {
                    match row {
                        Some(row) => self.rows.insert(key, row),
                        None => self.rows.remove(&key),
                    };
                }
            }
            ledger.durable(step);
        }
    }
}

proptest! {
    #[test]
    fn kv_equals_a_map(acts in proptest::collection::vec(act(), 1..60)) {
        let store = Name::from("s");
        let mut ledger = Ledger::new(BootId(3));
        let mut disk = Disk::default();
        let mut model: BTreeMap<String, i64> = BTreeMap::new();
        for act in acts {
            let (reads, key, effect, expected) = match act {
                Act::Durable => { disk.flush(&mut ledger); continue; }
                Act::Add(key, delta) => {
                    let key = key.to_string();
                    let sum = model.get(&key).copied().unwrap_or(0) + delta;
                    (vec![], key, KvEffect::Add { delta, expires: None }, Some(sum))
                }
                Act::Put(key, value) => (vec![], key.to_string(), KvEffect::Put { value: value.to_string().into_bytes(), expires: None }, Some(value)),
                Act::Delete(key) => (vec![], key.to_string(), KvEffect::Delete, None),
                Act::Increment(key, stale) => {
                    let key = key.to_string();
                    let seen = ledger.kv_visible(NOW, &store, &key, disk.rows.get(&key).cloned());
                    let version = seen.as_ref().map_or(0, |row| row.version);
                    if stale {
                        let other = vec![(key.clone(), KvEffect::Add { delta: 1, expires: None })];
                        let (writes, step) = ledger.kv_commit(NOW, &store, &[], other, |k| disk.rows.get(k).cloned()).unwrap().unwrap();
                        disk.queue.push((step, writes));
                        *model.entry(key.clone()).or_insert(0) += 1;
                        let read = KvRead { key: key.clone(), version };
                        let mine = vec![(key, KvEffect::Delete)];
                        prop_assert!(ledger.kv_commit(NOW, &store, &[read], mine, |k| disk.rows.get(k).cloned()).is_err());
                        continue;
                    }
                    let value = seen.map_or(0, |row| super::kv::number(&row.value)) + 1;
                    (vec![KvRead { key: key.clone(), version }], key, KvEffect::Put { value: value.to_string().into_bytes(), expires: None }, Some(value))
                }
            };
            let (writes, step) = ledger.kv_commit(NOW, &store, &reads, vec![(key.clone(), effect)], |k| disk.rows.get(k).cloned()).unwrap().unwrap();
            disk.queue.push((step, writes));
            match expected { Some(value) => model.insert(key, value), None => model.remove(&key) };
            for key in ["0", "1", "2"] {
                let seen = ledger.kv_visible(NOW, &store, key, disk.rows.get(key).cloned()).map(|row| super::kv::number(&row.value));
                prop_assert_eq!(seen, model.get(key).copied());
            }
        }
        disk.flush(&mut ledger);
        prop_assert_eq!(ledger.sizes(), (0, 0, 0));
    }
}
