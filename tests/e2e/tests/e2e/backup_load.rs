//! A backup made while thousands of events a second are stored and delivered, judged by the checker after its restore.
//!
//! What the backup has must be a prefix of the history: every event confirmed below its end, none from there on, in the order of the
//! producers. And what a subscription with claims had sent before the backup began is not sent again.
//! `BUGLE_BACKUP_PER_SECOND=20000` makes the run of the promise; without it, it is a small one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bugle_checker::record::{Answer, Call, Kill, Position, Record};
use bugle_checker::{Allowances, History, Report, check};
use bugle_harness::eventually;
use bugle_receivers::{Journal, Producer, Script, now_us};
use serde_json::json;

use crate::backup::{cli, lose_and_restore};
use crate::judge;
use crate::scene::{PATIENCE, Scene, keyed, webhook};

/// Of the load that no plugin gets, each its share of the rate.
const PRODUCERS: u64 = 2;
/// Of the events that are sent to a receiver.
const ORDERS_A_SECOND: u64 = 200;
const KEYS: u64 = 500;
/// Deliveries in flight: what a backup can catch under way at most.
const CONCURRENCY: usize = 32;
/// Load before the backup begins, and after it ended.
const SECONDS: u64 = 3;

/// When the backup began and ended, and where it ends.
struct Made {
    from_us: u64,
    until_us: u64,
    next: Position,
}

fn rate() -> u64 {
    std::env::var("BUGLE_BACKUP_PER_SECOND").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

/// Sends at a rate until the run is over.
async fn produce(mut producer: Producer, topic: &'static str, rate: u64, sent: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    const TICKS_A_SECOND: u64 = 200;
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / TICKS_A_SECOND));
    let a_tick = (rate / TICKS_A_SECOND).max(1);
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        for _ in 0..a_tick {
            let event =
                keyed(&format!("{topic}-{number}"), "t", &format!("k-{}", number % KEYS), &json!({ "n": number }));
            if producer.send(topic, &event).await.is_err() {
                return;
            }
            number += 1;
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_backup_under_load_is_a_prefix_and_what_it_has_sent_is_not_sent_again() {
    let mut scene = Scene::new();
    let topics = ["load-0", "load-1", "orders"];
    topics.iter().for_each(|topic| scene.topic(topic));
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    let more = format!("uncertain = \"park\"\nconcurrency = {CONCURRENCY}");
    let applied = scene.apply("hook", &webhook("hook", "orders", &receiver, &more));
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    director.write(Record::Subscription(judge::promise(&applied, "orders", None)));

    let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    let mut journals = Vec::new();
    for (topic, rate) in topics.into_iter().zip([rate() / PRODUCERS, rate() / PRODUCERS, ORDERS_A_SECOND]) {
        let journal = Journal::create(scene.logs.path(), &format!("{topic}.jsonl")).unwrap();
        let producer = scene.producer(topic, &journal);
        tasks.push(scene.runtime.spawn(produce(producer, topic, rate, Arc::clone(&sent), Arc::clone(&over))));
        journals.push(journal);
    }
    let wait = |events: u64| {
        let until = sent.load(Ordering::Relaxed) + events;
        eventually("the load", 2 * PATIENCE, || (sent.load(Ordering::Relaxed) >= until).then_some(()));
    };
    wait(SECONDS * rate());
    let backup = scene.host.directory().join("backup");
    let from_us = now_us();
    let made = cli(&scene, &["backup", "create", backup.to_str().unwrap()]).unwrap();
    let made = Made { from_us, until_us: now_us(), next: made["next"].as_str().unwrap().parse().unwrap() };
    wait(SECONDS * rate());

    // They would go on with the restored host, which is another history than the one that is judged.
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.abort();
        let _aborted = scene.runtime.block_on(task);
    }
    lose_and_restore(&mut scene, &backup, &[]);
    let restored_us = now_us();
    scene.settled("hook");
    let caught = resolve_unknown(&scene);
    let dump = judge::dump(&scene, PATIENCE);
    director.write(Record::Kill(Kill { from_us: made.from_us, until_us: restored_us }));
    print_figures(&journals, &made);
    let report = report(&journals, &[director], &calls.calls(), &dump, &made);
    println!("{report}");
    assert!(report.is_clean(), "{report}");

    let effect = |call: &Call| (call.id.clone(), call.effect.clone());
    let all = calls.calls();
    let before: HashSet<_> = all.iter().filter(|call| call.at_us < made.from_us).map(effect).collect();
    let again: Vec<&Call> =
        all.iter().filter(|call| call.at_us >= restored_us && before.contains(&effect(call))).collect();
    assert!(before.len() as u64 > ORDERS_A_SECOND, "calls were made before the backup");
    assert_eq!(again, Vec::<&Call>::new(), "sent before the backup and again after it");
    println!("{} events sent before the backup, {caught} caught under way and left to a person", before.len());
    assert!(caught <= CONCURRENCY);
}

/// What was under way when the backup was made may have been sent. The receiver's log says that it was, and a person says so; how many.
fn resolve_unknown(scene: &Scene) -> usize {
    let unknown = cli(scene, &["unknown", "list", "hook"]).unwrap();
    let caught = unknown.as_array().unwrap().len();
    if caught > 0 {
        let said = cli(scene, &["unknown", "resolve", "hook", "--as", "sent", "--yes"]).unwrap();
        assert_eq!(said["resolved"], json!(caught), "{said}");
    }
    caught
}

/// The checker's report on the part of the history that the backup ends.
fn report(journals: &[Journal], others: &[Journal], calls: &[Call], dump: &str, made: &Made) -> Report {
    let records: Vec<Record> = journals.iter().flat_map(|journal| journal.records().unwrap()).collect();
    let mut later: HashSet<&str> = records.iter().filter_map(|record| confirmed_from(record, made.next)).collect();
    // What a producer was left in doubt about is of this history if the store has it.
    let is_stored = |id: &str| dump.contains(&format!("\"id\":\"{id}\""));
    later.extend(records.iter().filter_map(in_doubt).filter(|id| !is_stored(id)));
    let id = |record: &Record| match record {
        Record::Intent(intent) => intent.id.clone(),
        Record::Result(result) => result.id.clone(),
        _ => String::new(),
    };
    let mut history = History::default();
    records.iter().filter(|record| !later.contains(&*id(record))).for_each(|record| history.push(record.clone()));
    others.iter().flat_map(|journal| journal.records().unwrap()).for_each(|record| history.push(record));
    let kept = calls.iter().filter(|call| !later.contains(&*call.id));
    kept.for_each(|call| history.push(Record::Call(call.clone())));
    history.read("store dump", dump.as_bytes()).unwrap();
    history.complete();
    check(&history, &Allowances { unsettled_events: false, unknown_results: true, ..Allowances::default() })
}

/// The id of an event that was confirmed behind the end of the backup.
fn confirmed_from(record: &Record, next: Position) -> Option<&str> {
    match record {
        Record::Result(result) => match result.outcome {
            Answer::Confirmed { position, .. } if position >= next => Some(&result.id),
            _ => None,
        },
        _ => None,
    }
}

/// The id of an event that was sent and not confirmed.
fn in_doubt(record: &Record) -> Option<&str> {
    match record {
        Record::Result(result) if matches!(result.outcome, Answer::Unknown) => Some(&result.id),
        _ => None,
    }
}

/// What producers met while the backup was made, beside the time before it.
fn print_figures(journals: &[Journal], made: &Made) {
    let records: Vec<Record> = journals.iter().flat_map(|journal| journal.records().unwrap()).collect();
    let mut sent = HashMap::new();
    let mut confirmed = Vec::new();
    for record in &records {
        match record {
            Record::Intent(intent) => drop(sent.insert(&intent.id, intent.at_us)),
            Record::Result(result) => confirmed.push((result.at_us, result.at_us - sent[&result.id])),
            _ => {}
        }
    }
    println!("backup up to {}, made in {} ms", made.next, (made.until_us - made.from_us) / 1_000);
    let before = made.from_us.saturating_sub(2_000_000);
    for (when, from, until) in [("before", before, made.from_us), ("meanwhile", made.from_us, made.until_us)] {
        let within = confirmed.iter().filter(|(at, _)| (from..until).contains(at));
        let mut took: Vec<u64> = within.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let at = |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100).map_or(0, |us| us / 1_000);
        let rate = took.len() as u64 * 1_000_000 / (until - from).max(1);
        println!("{when}: {rate} events a second confirmed, after {} ms (median), {} ms (p99)", at(50), at(99));
    }
}
