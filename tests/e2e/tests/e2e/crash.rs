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

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, keyed, seed, webhook};

/// One run of the loop.
struct Plan {
    seed: u64,
    kills: u64,
    bug: Option<&'static str>,
    /// Chance in a hundred that a producer also sends a counted event, and how many at once.
    counted: (u64, u32),
}

/// What it came to.
struct Outcome {
    report: Report,
    /// Counted events whose effect happened more than once.
    twice: Vec<String>,
    /// Counted events, and how many effects there are.
    counted: (usize, usize),
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
    let outcome = run(&Plan { seed: seed(), kills: 20, bug: None, counted: (25, 1) });
    println!("{}", outcome.report);
    assert!(outcome.report.is_clean(), "{}", outcome.report);
    assert_eq!(outcome.report.figures.kills, 20);
    assert_eq!(outcome.twice, [""; 0]);
    assert_eq!(outcome.counted.0, outcome.counted.1, "each counted event has its effect");
}

#[test]
fn the_planted_bug_cumulative_ack_is_found_by_the_kills() {
    let outcome = run(&Plan { seed: seed(), kills: 5, bug: Some("cumulative-ack"), counted: (25, 1) });
    println!("{:?}", outcome.report.codes());
    assert!(outcome.report.codes().contains_key("acked-without-effect"), "{}", outcome.report);
}

#[test]
fn the_planted_bug_dedup_row_in_second_batch_is_found_by_the_kills() {
    // The gap between the two batches is short, so the load is all claims, and kills may have to be repeated: about one round in
    // three hits it.
    let found = (0..16).any(|round| {
        let bug = Some("dedup-row-in-second-batch");
        let outcome = run(&Plan { seed: seed() + round, kills: 6, bug, counted: (100, 4) });
        println!("{} of {} counted twice", outcome.twice.len(), outcome.counted.0);
        !outcome.twice.is_empty()
    });
    assert!(found, "no kill hit the gap between the batches");
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
        producers.push(scene.runtime.spawn(produce(producer, name, dice, plan.counted, Arc::clone(&load))));
        journals.push(journal);
    }
    for number in 0..plan.kills {
        let until = load.sent.load(Ordering::Relaxed) + 50 + dice.roll("kill", &number.to_string(), 600);
        eventually("the producers to go on", PATIENCE, || (load.sent.load(Ordering::Relaxed) >= until).then_some(()));
        judge::kill(&mut scene, &director);
    }
    load.is_over.store(true, Ordering::Relaxed);
    let counts = scene.finish(producers);
    assert_eq!((counts.refused, counts.unknown), (0, 0), "every publish must end confirmed: {counts:?}");
    let is_broken = plan.bug.is_some();
    let dump = judge::dump(&scene, if is_broken { BROKEN_DRAIN } else { 2 * PATIENCE });
    let all: Vec<&Journal> = journals.iter().collect();
    let report = judge::report(&all, &dump, is_broken);
    let counters = counters(&scene);
    let twice = counters.iter().filter(|(_, value)| *value != "1").map(|(key, value)| format!("{key} is {value}"));
    let sent = journals.iter().flat_map(|journal| journal.records().unwrap());
    let sent = sent.filter(|record| matches!(record, Record::Intent(intent) if intent.topic == "counted")).count();
    Outcome { report, twice: twice.collect(), counted: (sent, counters.len()) }
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

async fn produce(
    mut producer: Producer,
    name: String,
    dice: Dice,
    (chance, copies): (u64, u32),
    load: Arc<Load>,
) -> Counts {
    let mut pace = tokio::time::interval(PACE);
    for number in 0u64.. {
        if load.is_over.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        let id = format!("{name}-{number}");
        let data = json!({ "user": format!("user-{}", dice.roll("user", &id, 30)) });
        let key = format!("key-{}", dice.roll("key", &id, 40));
        let is_keyed = dice.roll("keyed", &id, 10) > 0;
        let order = if is_keyed { keyed(&id, "order.paid", &key, &data) } else { event(&id, "order.paid", &data) };
        producer.send("orders", &order).await.unwrap();
        if dice.roll("twice", &id, 30) == 0 {
            producer.send("orders", &order).await.unwrap();
        }
        let copies = if dice.roll("counted", &id, 100) < chance { copies } else { 0 };
        for copy in 0..copies {
            let data = json!({ "counter": format!("once/{id}-{copy}") });
            let counted = event(&format!("{id}-counted-{copy}"), "claim-kv-confirm-retry", &data);
            producer.send("counted", &counted).await.unwrap();
        }
        load.sent.fetch_add(1, Ordering::Relaxed);
    }
    producer.finish().await.unwrap()
}

/// The counters that the fourth subscription keeps, by key.
fn counters(scene: &Scene) -> BTreeMap<String, String> {
    let mut counters = BTreeMap::new();
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
            None => return counters,
        }
    }
}
