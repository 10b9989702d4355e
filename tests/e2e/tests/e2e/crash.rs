//! The crash loop: four producers, four subscriptions, twenty SIGKILLs at random moments, then everything must settle.
//!
//! The checker judges the logs of producers and receivers and the store; the counters of the fourth subscription, which live in
//! the host, are counted here. With a planted bug the same judgement must fail, or it would be worth nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bugle_checker::Report;
use bugle_checker::record::Record;
use bugle_harness::{Settings, eventually};
use bugle_receivers::producer::Counts;
use bugle_receivers::{Dice, Journal, Producer, Script};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, keyed, webhook};

/// One run of the loop.
struct Plan {
    seed: u64,
    kills: u64,
    bug: Option<&'static str>,
}

/// What it came to.
struct Outcome {
    report: Report,
    /// Events whose effect in the host did not happen exactly once.
    miscounted: Vec<String>,
    counted: usize,
}

const PRODUCERS: u64 = 4;

/// Deliveries in flight at once, per subscription: what one kill may repeat at most.
const CONCURRENCY: u64 = 16;

/// Time between two events of a producer: 800 events a second in all, which the guests keep up with.
const PACE: Duration = Duration::from_millis(5);

/// A planted bug may leave deliveries open for ever; then the dump is judged as it is.
const BROKEN_DRAIN: Duration = Duration::from_secs(10);

/// What the producers share.
#[derive(Default)]
struct Load {
    sent: AtomicU64,
    is_over: AtomicBool,
}

#[test]
fn killed_twenty_times_under_load_it_keeps_every_promise() {
    let outcome = run(&Plan { seed: seed(), kills: 20, bug: None });
    println!("{}", outcome.report);
    assert!(outcome.report.is_clean(), "{}", outcome.report);
    assert_eq!(outcome.report.figures.kills, 20);
    assert_eq!(outcome.miscounted, [""; 0], "of {} counted events", outcome.counted);
}

#[test]
fn the_planted_bug_cumulative_ack_is_found_by_the_kills() {
    let outcome = run(&Plan { seed: seed(), kills: 5, bug: Some("cumulative-ack") });
    println!("{:?}", outcome.report.codes());
    assert!(outcome.report.codes().contains_key("acked-without-effect"), "{}", outcome.report);
}

#[test]
fn the_planted_bug_dedup_row_in_second_batch_is_found_by_the_kills() {
    // The gap between the two batches is short, so it takes a few kills to hit it.
    let found = (0..4).any(|round| {
        let outcome = run(&Plan { seed: seed() + round, kills: 10, bug: Some("dedup-row-in-second-batch") });
        println!("{} of {} counted twice: {:?}", outcome.miscounted.len(), outcome.counted, outcome.report.codes());
        !outcome.miscounted.is_empty()
    });
    assert!(found, "no kill hit the gap between the batches");
}

/// From the environment, to repeat a run; else a new one.
fn seed() -> u64 {
    let named = std::env::var("BUGLE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = named.unwrap_or_else(|| bugle_receivers::now_us() % 1_000_000);
    println!("seed {seed}; BUGLE_TEST_SEED={seed} makes the same choices again");
    seed
}

fn run(plan: &Plan) -> Outcome {
    let dice = Dice(plan.seed);
    let planted = plan.bug.map(|word| ("BUGLE_SEEDED_BUG".to_owned(), word.to_owned()));
    let mut scene = Scene::with(Settings { environment: planted.into_iter().collect(), ..Settings::default() });
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    let receivers = prepare(&scene, dice, &director);
    let load = Arc::new(Load::default());
    let mut journals = vec![director.clone(), receivers];
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        let name = format!("producer-{number}");
        let journal = Journal::create(scene.logs.path(), &format!("{name}.jsonl")).unwrap();
        let producer = scene.producer(&name, &journal);
        producers.push(scene.runtime.spawn(produce(producer, name, dice, Arc::clone(&load))));
        journals.push(journal);
    }
    for number in 0..plan.kills {
        let until = load.sent.load(Ordering::Relaxed) + 50 + dice.roll("kill", &number.to_string(), 600);
        eventually("the producers to go on", PATIENCE, || (load.sent.load(Ordering::Relaxed) >= until).then_some(()));
        judge::kill(&mut scene, &director);
    }
    load.is_over.store(true, Ordering::Relaxed);
    let counts = finish(&scene, producers);
    assert_eq!((counts.refused, counts.unknown), (0, 0), "every publish must end confirmed: {counts:?}");
    let is_broken = plan.bug.is_some();
    let dump = judge::dump(&scene, if is_broken { BROKEN_DRAIN } else { 2 * PATIENCE });
    let all: Vec<&Journal> = journals.iter().collect();
    let report = judge::report(&scene, &all, &dump, is_broken);
    let (miscounted, counted) = miscounted(&scene, &journals);
    Outcome { report, miscounted, counted }
}

/// Two webhooks with different receivers, the inbox, and a counter that only the claims protect.
fn prepare(scene: &Scene, dice: Dice, director: &Journal) -> Journal {
    let hasty = Script { dice, fail: 30, busy: 5, hang: 2, broken: 5, ..Script::default() };
    let slow = Script { dice, fail: 10, reject: 5, delay: Duration::from_millis(8), ..Script::default() };
    let (receiver, journal) = scene.receiver("calls.jsonl", &[("hasty", hasty), ("slow", slow)]);
    scene.topic("orders");
    scene.topic("counted");
    for (name, component) in
        [("webhook", bugle_guests::webhook()), ("inbox", bugle_guests::inbox()), ("probe", bugle_guests::probe())]
    {
        scene.deploy(name, &component);
    }
    let concurrency = format!("concurrency = {CONCURRENCY}");
    let retry = "retry = { first_backoff = \"50ms\", backoff_max = \"200ms\" }";
    let inbox = "config = { user = \"{{data.user}}\" }\ngrants = { kv = true }";
    let definitions = [
        ("hasty", "orders", webhook("hasty", "orders", &receiver, &concurrency), true),
        ("slow", "orders", webhook("slow", "orders", &receiver, &concurrency), true),
        (
            "inbox",
            "orders",
            format!("topics = [\"orders\"]\nplugin = \"inbox\"\n{concurrency}\n{retry}\n{inbox}"),
            false,
        ),
        (
            "counted",
            "counted",
            format!("topics = [\"counted\"]\nplugin = \"probe\"\n{concurrency}\n{retry}\ngrants = {{ kv = true }}"),
            false,
        ),
    ];
    for (name, topic, definition, calls_out) in definitions {
        let applied = scene.apply(name, &definition);
        let mut promise = judge::promise(&applied, topic, Some(CONCURRENCY));
        promise.calls_out = calls_out;
        director.write(Record::Subscription(promise));
    }
    journal
}

async fn produce(mut producer: Producer, name: String, dice: Dice, load: Arc<Load>) -> Counts {
    let mut pace = tokio::time::interval(PACE);
    for number in 0u64.. {
        if load.is_over.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        let id = format!("{name}-{number}");
        let data = json!({ "user": format!("user-{}", dice.roll("user", &id, 30)), "counter": format!("once/{id}") });
        let key = format!("key-{}", dice.roll("key", &id, 40));
        let is_keyed = dice.roll("keyed", &id, 10) > 0;
        let order = if is_keyed { keyed(&id, "order.paid", &key, &data) } else { event(&id, "order.paid", &data) };
        producer.send("orders", &order).await.unwrap();
        if dice.roll("twice", &id, 30) == 0 {
            producer.send("orders", &order).await.unwrap();
        }
        if dice.roll("counted", &id, 4) == 0 {
            let counted = keyed(&format!("{id}-counted"), "claim-kv-confirm-retry", &key, &data);
            producer.send("counted", &counted).await.unwrap();
        }
        load.sent.fetch_add(1, Ordering::Relaxed);
    }
    producer.finish().await.unwrap()
}

fn finish(scene: &Scene, producers: Vec<JoinHandle<Counts>>) -> Counts {
    let mut all = Counts::default();
    for producer in producers {
        let counts = scene.runtime.block_on(producer).unwrap();
        all.stored += counts.stored;
        all.duplicates += counts.duplicates;
        all.refused += counts.refused;
        all.unknown += counts.unknown;
    }
    all
}

/// Counters that are not 1, by key, and how many there should be.
fn miscounted(scene: &Scene, journals: &[Journal]) -> (Vec<String>, usize) {
    let records = journals.iter().flat_map(|journal| journal.records().unwrap());
    let expected =
        records.filter(|record| matches!(record, Record::Intent(intent) if intent.topic == "counted")).count();
    let mut counters: BTreeMap<String, String> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let and_after = if after.is_empty() { String::new() } else { format!("&after={after}") };
        let page = scene.get(&format!("/v1/kv/counted?prefix=once/&limit=1000{and_after}"));
        for entry in page["entries"].as_array().unwrap() {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            counters.insert(text("key"), text("value"));
        }
        match page["after"].as_str() {
            Some(last) => last.clone_into(&mut after),
            None => break,
        }
    }
    let mut wrong: Vec<String> =
        counters.iter().filter(|(_, value)| *value != "1").map(|(key, value)| format!("{key} is {value}")).collect();
    if counters.len() != expected {
        wrong.push(format!("{} counters for {expected} events", counters.len()));
    }
    (wrong, expected)
}
