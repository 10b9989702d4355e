//! The ledger against histories: exclusivity, evidence, overlay and versions.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::{ClaimAsk, ClaimFate, KvEffect, KvRead, Ledger};
use crate::ids::{BootId, ClaimId, Name, Ticket};
use crate::import::{ClaimOutcome, Strength};
use crate::row::{ClaimRow, ClaimState, KvRow};
use crate::step::Write;
use crate::time::{Millis, Timestamp};

const NOW: Timestamp = Timestamp(1_000);

fn ask(ticket: u64, strength: Strength) -> ClaimAsk {
    ClaimAsk {
        scope: Name::from("sms"),
        key: "order:7".to_string(),
        ticket: Ticket(ticket),
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
    let (claim, _) = claimed(&ledger.claim(NOW, ask(1, Strength::Weak), None).0);
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
