//! Strong sends against a receiver that answers, stumbles, hangs, breaks off and resets, on a host that is killed every few seconds.
//!
//! Two subscriptions get the same events: one sends again what may have been sent, one parks it for a person. Each repeated call must
//! have a cause of its own: a complete refusal, a lost answer or a kill. `BUGLE_STRONG_SENDS=10000` makes the long run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bugle_checker::record::{Call, CallAnswer, Kill, Record};
use bugle_harness::eventually;
use bugle_receivers::{Dice, Journal, Script};
use serde_json::{Value, json};

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, seed, webhook};

/// Time between two events: what a busy machine with two cores keeps up with.
const PACE: Duration = Duration::from_millis(6);

struct Plan {
    events: u64,
    kill_every: Duration,
}

impl Plan {
    fn from_environment() -> Plan {
        match std::env::var("BUGLE_STRONG_SENDS").ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(sends) => Plan { events: sends / 2, kill_every: Duration::from_secs(3) },
            None => Plan { events: 150, kill_every: Duration::from_millis(400) },
        }
    }
}

/// Calls of one event, oldest first, and why each but the first came.
#[derive(Debug, Default)]
struct Calls(Vec<Call>);

/// How many calls came again, by cause.
#[derive(Debug, Default)]
struct Causes {
    refused: u64,
    lost: u64,
    killed: u64,
    /// No cause is left for it.
    none: Vec<String>,
}

impl Calls {
    /// Whether something of it reached the receiver without a complete refusal.
    fn may_have_been_taken(&self) -> u64 {
        self.0.iter().filter(|call| call.answer != CallAnswer::Refused).count() as u64
    }

    fn accepted(&self) -> u64 {
        self.0.iter().filter(|call| call.answer == CallAnswer::Accepted).count() as u64
    }

    /// Each kill and each lost answer explains one call more, and no more than one.
    fn explain(&self, kills: &[Kill], causes: &mut Causes) {
        let mut unused: Vec<&Kill> = kills.iter().collect();
        for pair in self.0.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let by_kill = unused.iter().position(|kill| before.at_us <= kill.until_us && kill.from_us <= after.at_us);
            match (before.answer, by_kill) {
                (CallAnswer::Refused, _) => causes.refused += 1,
                (CallAnswer::Aborted, _) => causes.lost += 1,
                (CallAnswer::Accepted, Some(kill)) => {
                    unused.remove(kill);
                    causes.killed += 1;
                }
                (CallAnswer::Accepted, None) => causes.none.push(format!("{before:?} and then {after:?}")),
            }
        }
    }
}

fn by_event(journal: &Journal, subscription: &str) -> BTreeMap<String, Calls> {
    let mut calls: BTreeMap<String, Calls> = BTreeMap::new();
    for call in journal.calls().into_iter().filter(|call| call.subscription == subscription) {
        calls.entry(call.id.clone()).or_default().0.push(call);
    }
    calls.values_mut().for_each(|calls| calls.0.sort_by_key(|call| call.at_us));
    calls
}

#[test]
fn strong_sends_are_repeated_only_for_a_lost_answer_or_a_kill() {
    let plan = Plan::from_environment();
    let dice = Dice(seed());
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let script =
        Script { dice, fail: 80, busy: 10, hang: 3, broken: 20, reset: 20, faulty_calls: 2, ..Script::default() };
    let routes = [("resend", script.clone()), ("park", script)];
    let (receiver, journal) = scene.receiver("calls.jsonl", &routes);
    for name in ["resend", "park"] {
        let more = format!("uncertain = \"{name}\"\nrecords = true\nordering = \"none\"\nconcurrency = 16");
        // Long enough for a machine that does much beside: an answer that comes too late would be one that was lost.
        let definition = webhook(name, "orders", &receiver, &more).replace("timeout = \"2s\"", "timeout = \"8s\"");
        assert!(definition.contains("8s"));
        scene.apply(name, &definition);
    }
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    let (sent, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut producer = scene.producer("checkout", &Journal::create(scene.logs.path(), "checkout.jsonl").unwrap());
    let publishing = {
        let (sent, is_over) = (Arc::clone(&sent), Arc::clone(&is_over));
        scene.runtime.spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            for number in 0..plan.events {
                pace.tick().await;
                let order = event(&format!("order-{number}"), "order.paid", &json!({ "number": number }));
                producer.send("orders", &order).await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            let counts = producer.finish().await.unwrap();
            is_over.store(true, Ordering::Relaxed);
            counts
        })
    };
    let start = Instant::now();
    let mut killed_at = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let is_due = || is_over.load(Ordering::Relaxed) || killed_at.elapsed() >= plan.kill_every;
        eventually("the next kill", 2 * PATIENCE, || is_due().then_some(()));
        judge::kill(&mut scene, &director);
        killed_at = Instant::now();
    }
    let counts = scene.runtime.block_on(publishing).unwrap();
    // What was in doubt at a kill was sent again by the client, and known by its id if it had been stored.
    assert_eq!(counts.stored + counts.duplicates, plan.events, "{counts:?}");
    assert_eq!((counts.refused, counts.unknown), (0, 0), "{counts:?}");
    for name in ["resend", "park"] {
        settled(&scene, name);
    }
    let kills: Vec<Kill> = director.records().unwrap().into_iter().filter_map(as_kill).collect();
    let sends = Sends { scene: &scene, journal: &journal, kills: &kills, events: plan.events };
    let resent = sends.judge_resend();
    let parked = sends.judge_park();
    println!(
        "{} sends, {} kills, {:.0} s\nresend: {resent}\npark: {parked}",
        2 * plan.events,
        kills.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(kills.len() >= 2, "the run was too short to mean anything");
}

fn as_kill(record: Record) -> Option<Kill> {
    match record {
        Record::Kill(kill) => Some(kill),
        _ => None,
    }
}

fn settled(scene: &Scene, name: &str) {
    eventually(&format!("`{name}` to settle everything"), 10 * PATIENCE, || {
        let open = scene.subscription(name)["status"]["backlog"].as_u64().unwrap();
        (open == 0).then_some(())
    });
}

/// Everything that is known of a run.
struct Sends<'a> {
    scene: &'a Scene,
    journal: &'a Journal,
    kills: &'a [Kill],
    events: u64,
}

impl Sends<'_> {
    fn ids(&self) -> impl Iterator<Item = String> {
        (0..self.events).map(|number| format!("order-{number}"))
    }

    /// Calls of a subscription with their causes; every call of an event has the same idempotency key.
    fn calls(&self, subscription: &str) -> (BTreeMap<String, Calls>, Causes) {
        let calls = by_event(self.journal, subscription);
        let mut causes = Causes::default();
        for (id, calls) in &calls {
            let keys = calls.0.iter().map(|call| &call.idempotency_key);
            assert!(keys.clone().all(|key| *key == calls.0[0].idempotency_key), "{id}: {:?}", keys.collect::<Vec<_>>());
            calls.explain(self.kills, &mut causes);
        }
        assert_eq!(causes.none, [""; 0], "`{subscription}` sent again without a cause");
        (calls, causes)
    }

    /// The status that the host's own record of a delivery has; of what a person had sent again, that of the copy, which came later.
    fn status(&self, subscription: &str, id: &str) -> String {
        let records = self.scene.get(&format!("/v1/records?event={id}"));
        let is_it = |record: &&Value| record["subscription"] == subscription && record["recipient"] == "";
        let own: Vec<&Value> = records.as_array().unwrap().iter().filter(is_it).collect();
        let latest = own.iter().max_by_key(|record| record["at"].as_str().unwrap().to_owned());
        let latest =
            latest.unwrap_or_else(|| panic!("no record of the delivery of {id} through `{subscription}`: {records}"));
        latest["status"].as_str().unwrap().to_owned()
    }

    /// Whoever sends again in doubt has reached the receiver in the end, and the record says so.
    fn judge_resend(&self) -> String {
        let (calls, causes) = self.calls("resend");
        for id in self.ids() {
            let last = calls.get(&id).and_then(|calls| calls.0.last());
            assert_eq!(last.map(|call| call.answer), Some(CallAnswer::Accepted), "{id}");
            assert_eq!(self.status("resend", &id), "sent", "{id}");
        }
        assert_eq!(self.scene.get("/v1/unknown?subscription=resend"), json!([]));
        let total: usize = calls.values().map(|calls| calls.0.len()).sum();
        let twice = calls.values().filter(|calls| calls.accepted() > 1).count();
        format!(
            "{total} calls for {} keys: again after {} complete refusals, {} lost answers, {} kills; {twice} keys taken twice, under \
             the same idempotency key; every record says sent",
            self.events, causes.refused, causes.lost, causes.killed
        )
    }

    /// Whoever parks in doubt never calls again on its own: a person looks at the receiver's log and says what became of it.
    fn judge_park(&self) -> String {
        let (calls, causes) = self.calls("park");
        assert_eq!((causes.lost, causes.killed), (0, 0), "nothing in doubt is sent again");
        let unknown = self.scene.get("/v1/unknown?subscription=park&state=open&limit=1000");
        let unknown = unknown.as_array().unwrap();
        let taken = |id: &str| calls.get(id).map_or(0, Calls::may_have_been_taken);
        let mut in_doubt = BTreeMap::new();
        for result in unknown {
            let id = result["event"]["event"]["id"].as_str().unwrap().to_owned();
            in_doubt.insert(id, result["position"].as_str().unwrap().to_owned());
        }
        for id in self.ids() {
            assert!(taken(&id) <= 1, "{id} reached the receiver more than once: {:?}", calls[&id]);
            let lost =
                calls.get(&id).is_some_and(|calls| calls.0.iter().any(|call| call.answer == CallAnswer::Aborted));
            assert!(!lost || in_doubt.contains_key(&id), "the answer to {id} was lost, and nobody is asked");
            let expected = if in_doubt.contains_key(&id) { "unknown" } else { "sent" };
            assert_eq!(self.status("park", &id), expected, "{id}");
        }
        let (mut sent, mut not_sent) = (0, 0);
        for (id, position) in &in_doubt {
            let (word, count) = if taken(id) > 0 { ("sent", &mut sent) } else { ("not-sent", &mut not_sent) };
            let request = json!({ "subscription": "park", "filter": { "position": position }, "as": word });
            let resolved: Value = self.scene.admin().post("/v1/unknown/resolve", &request).unwrap().unwrap();
            assert_eq!(resolved["resolved"], 1, "{id}");
            *count += 1;
        }
        self.finish_park(&in_doubt);
        format!(
            "again after {} complete refusals and nothing else; {} results in doubt, by the receiver's log {sent} sent and {not_sent} \
             not; then every key taken once and every record says sent",
            causes.refused,
            in_doubt.len()
        )
    }

    /// What was not sent goes out now; it may meet a fault again, and is then said to be sent by what the log says.
    fn finish_park(&self, in_doubt: &BTreeMap<String, String>) {
        for _ in 0..10 {
            settled(self.scene, "park");
            let calls = by_event(self.journal, "park");
            let unknown = self.scene.get("/v1/unknown?subscription=park&state=open&limit=1000");
            let unknown = unknown.as_array().unwrap();
            if unknown.is_empty() {
                break;
            }
            for result in unknown {
                let id = result["event"]["event"]["id"].as_str().unwrap();
                let is_taken = calls.get(id).is_some_and(|calls| calls.may_have_been_taken() > 0);
                let word = if is_taken { "sent" } else { "not-sent" };
                let request =
                    json!({ "subscription": "park", "filter": { "position": result["position"] }, "as": word });
                let _: Value = self.scene.admin().post("/v1/unknown/resolve", &request).unwrap().unwrap();
            }
        }
        let calls = by_event(self.journal, "park");
        for id in self.ids() {
            assert_eq!(calls[&id].may_have_been_taken(), 1, "{id}: {:?}", calls[&id]);
            assert_eq!(self.status("park", &id), "sent", "{id}, in doubt before: {}", in_doubt.contains_key(&id));
        }
    }
}
