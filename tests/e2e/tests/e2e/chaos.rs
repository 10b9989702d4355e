//! Everything at once: few hot and many cold keys, a provider that fails three attempts in ten, a new revision of the plugin
//! every few seconds, and a SIGKILL every few seconds more.
//!
//! The checker judges order, loss and repeats. How long deliveries of healthy keys took is printed, not judged: machines differ.
//! `BUGLE_CHAOS_EVENTS=100000` makes the run of three minutes; without it, it is a short one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bugle_checker::record::{Answer, CallAnswer, Record};
use bugle_harness::{Admin, AdminError, eventually};
use bugle_receivers::producer::Counts;
use bugle_receivers::{Dice, Journal, Producer, Script, now_us};
use serde_json::{Value, json};

use crate::judge;
use crate::scene::{PATIENCE, Scene, keyed, revision, seed, webhook};

const KEYS: usize = 1_000;

const PRODUCERS: u64 = 4;

/// Of all producers together.
const EVENTS_A_SECOND: u64 = 560;

/// Deliveries in flight at once: what one kill may repeat at most.
const CONCURRENCY: u64 = 32;

/// Attempts that fail, in a thousand.
const FAILING: u64 = 300;

/// Keys that are rarer than so many others have hardly ever two events on the way, so nothing of their own delays them.
const COLD_FROM_RANK: usize = 100;

/// How the run goes, counted in events sent.
struct Plan {
    events: u64,
    redeploy_every: u64,
    kill_every: u64,
}

impl Plan {
    fn from_environment() -> Plan {
        match std::env::var("BUGLE_CHAOS_EVENTS").ok().and_then(|text| text.parse().ok()) {
            Some(events) => Plan { events, redeploy_every: 5 * EVENTS_A_SECOND, kill_every: 10 * EVENTS_A_SECOND },
            None => Plan { events: 5_000, redeploy_every: EVENTS_A_SECOND, kill_every: 2 * EVENTS_A_SECOND },
        }
    }
}

/// What the threads of a run share.
#[derive(Default)]
struct Load {
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    /// Returns `false` when the run ended first.
    fn wait_for(&self, sent: u64) -> bool {
        eventually("the producers to go on", 2 * PATIENCE, || {
            let is_over = self.is_over.load(Ordering::Relaxed);
            (is_over || self.sent.load(Ordering::Relaxed) >= sent).then_some(!is_over)
        })
    }
}

/// Time between two kills that a host was away.
struct Outage {
    from_us: u64,
    until_us: u64,
}

#[test]
fn zipf_keys_keep_their_order_through_failures_redeploys_and_kills() {
    let plan = Plan::from_environment();
    let dice = Dice(seed());
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let failing = Script { dice, fail: FAILING, faulty_calls: 1_000, ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", failing)]);
    let more = format!("concurrency = {CONCURRENCY}");
    let retry = "retry = { attempts_max = 16, first_backoff = \"1ms\", backoff_max = \"50ms\" }";
    let definition = webhook("hook", "orders", &receiver, &more)
        .replace("retry = { first_backoff = \"100ms\", backoff_max = \"500ms\" }", retry);
    assert!(definition.contains(retry));
    let applied = scene.apply("hook", &definition);
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    director.write(Record::Subscription(judge::promise(&applied, "orders", Some(CONCURRENCY))));

    let load = Arc::new(Load::default());
    let zipf = Arc::new(Zipf::new(KEYS));
    let mut journals = vec![director.clone(), calls.clone()];
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        let name = format!("producer-{number}");
        let journal = Journal::create(scene.logs.path(), &format!("{name}.jsonl")).unwrap();
        let producer = scene.producer(&name, &journal);
        let events = plan.events / PRODUCERS;
        producers.push(scene.runtime.spawn(produce(
            producer,
            name,
            events,
            dice,
            Arc::clone(&zipf),
            Arc::clone(&load),
        )));
        journals.push(journal);
    }
    let deploying = {
        let (admin, load, every) = (scene.admin(), Arc::clone(&load), plan.redeploy_every);
        std::thread::spawn(move || redeploy(&admin, &load, every))
    };
    let mut outages = Vec::new();
    for number in 1..plan.events / plan.kill_every {
        load.wait_for(number * plan.kill_every);
        let from_us = now_us();
        judge::kill(&mut scene, &director);
        outages.push(Outage { from_us, until_us: now_us() });
    }
    let counts = scene.finish(producers);
    load.is_over.store(true, Ordering::Relaxed);
    let deployed = deploying.join().unwrap();
    assert_eq!((counts.refused, counts.unknown), (0, 0), "every publish must end confirmed: {counts:?}");

    let dump = judge::dump(&scene, PATIENCE);
    let all: Vec<&Journal> = journals.iter().collect();
    let report = judge::report(&all, &dump, false);
    println!("{deployed} revisions deployed\n{report}");
    lag_of_cold_keys(&journals, &outages);
    assert!(report.is_clean(), "{report}");
    assert!(deployed > 0 && report.figures.kills as u64 + 1 == plan.events / plan.kill_every);
    assert!(report.figures.calls > report.figures.effects * 13 / 10, "attempts must have failed: {report}");
    assert_eq!(scene.get("/v1/dead?subscription=hook"), json!([]), "sixteen attempts are enough");
}

/// Deploys one revision after the other until the run is over; how many came through. A kill may tear one off.
fn redeploy(admin: &Admin, load: &Load, every: u64) -> u64 {
    let mut deployed = 0;
    for number in 1.. {
        if !load.wait_for(number * every) {
            break;
        }
        let bytes = revision(&bugle_guests::webhook(), u8::try_from(number % 200).unwrap());
        let answer: Result<Result<Value, AdminError>, _> = admin.put_bytes("/v1/plugins/webhook", &bytes);
        match answer {
            Ok(Ok(_)) => deployed += 1,
            Ok(Err(refusal)) => panic!("{refusal:?}"),
            // The host was killed meanwhile.
            Err(_) => {}
        }
    }
    deployed
}

async fn produce(
    mut producer: Producer,
    name: String,
    events: u64,
    dice: Dice,
    zipf: Arc<Zipf>,
    load: Arc<Load>,
) -> Counts {
    let mut pace =
        tokio::time::interval(Duration::from_secs(1) * u32::try_from(PRODUCERS).unwrap() / EVENTS_A_SECOND as u32);
    for number in 0..events {
        pace.tick().await;
        let id = format!("{name}-{number}");
        let rank = zipf.rank(dice.roll("key", &id, u64::from(u32::MAX)));
        let order = keyed(&id, "order.paid", &format!("key-{rank}"), &json!({ "number": number }));
        producer.send("orders", &order).await.unwrap();
        load.sent.fetch_add(1, Ordering::Relaxed);
    }
    producer.finish().await.unwrap()
}

/// Ranks whose chance is in inverse proportion to them: the first of 1,000 is drawn in 13 of 100 cases.
struct Zipf {
    /// Chance of this rank or one before it.
    up_to: Vec<f64>,
}

impl Zipf {
    fn new(ranks: usize) -> Zipf {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|chance| *chance /= sum);
        Zipf { up_to }
    }

    /// The rank, counted from 0, for a number that was drawn from 0 to `u32::MAX`.
    fn rank(&self, drawn: u64) -> usize {
        let drawn = drawn as f64 / f64::from(u32::MAX);
        self.up_to.partition_point(|chance| *chance < drawn).min(self.up_to.len() - 1)
    }
}

/// Prints how long events of cold keys waited that succeeded at once, from receipt to call, over the run. What was under way when
/// the host was killed is left out.
fn lag_of_cold_keys(journals: &[Journal], outages: &[Outage]) {
    let mut keys = HashMap::new();
    let mut confirmed = HashMap::new();
    let mut failed = HashSet::new();
    let mut called = HashMap::new();
    for record in journals.iter().flat_map(|journal| journal.records().unwrap()) {
        match record {
            Record::Intent(intent) => drop(keys.insert(intent.id, intent.key.unwrap_or_default())),
            Record::Result(result) if matches!(result.outcome, Answer::Confirmed { .. }) => {
                confirmed.insert(result.id, result.at_us);
            }
            Record::Call(call) if call.answer == CallAnswer::Accepted => drop(called.insert(call.id, call.at_us)),
            Record::Call(call) => drop(failed.insert(call.id)),
            _ => {}
        }
    }
    let is_cold = |id: &str| {
        let rank = keys.get(id).and_then(|key| key.strip_prefix("key-")?.parse::<usize>().ok());
        rank.is_some_and(|rank| rank >= COLD_FROM_RANK)
    };
    let mut lags: Vec<(u64, u64)> = called
        .iter()
        .filter(|(id, _)| is_cold(id) && !failed.contains(*id))
        .filter_map(|(id, called)| Some((*confirmed.get(id)?, *called)))
        .filter(|(from, until)| !outages.iter().any(|outage| outage.from_us <= *until && *from <= outage.until_us))
        .map(|(from, until)| (from, until.saturating_sub(from)))
        .collect();
    lags.sort_unstable();
    println!("lag of {} events of cold keys, in tenths of the run: median and 99th percentile", lags.len());
    for part in lags.chunks((lags.len() / 10).max(1)) {
        let mut part: Vec<u64> = part.iter().map(|(_, lag)| *lag).collect();
        part.sort_unstable();
        let at = |percent: usize| part[(part.len() - 1) * percent / 100] as f64 / 1000.0;
        println!("  {:6.1} ms {:6.1} ms", at(50), at(99));
    }
}
