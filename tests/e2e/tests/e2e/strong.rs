//! Strong sends against a receiver that answers, stumbles, hangs, breaks off and resets, on a host that is killed every few seconds.
//!
//! Three subscriptions get the same events: one sends again what may have been sent, one parks it for a person, one asks the receiver.
//! Each repeated call must have a cause of its own: a complete refusal, a lost answer or a kill. `BUGLE_STRONG_SENDS=10000` makes the
//! long run, with so many sends through each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bugle_checker::record::{Call, CallAnswer, Kill, Record};
use bugle_harness::eventually;
use bugle_receivers::{Dice, HttpReceiver, Journal, Script};
use serde_json::{Value, json};

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, seed, webhook};

/// Time between two events: what a busy machine with two cores keeps up with.
const PACE: Duration = Duration::from_millis(6);

/// Results that one list shows, and lists that a person goes through at most.
const LISTED_MAX: usize = 1_000;
const ROUNDS_MAX: u32 = 40;

struct Plan {
    events: u64,
    kill_every: Duration,
    /// With no more kills than this a machine on which a start takes long gets to the end.
    kills_max: usize,
}

impl Plan {
    fn from_environment() -> Plan {
        match std::env::var("BUGLE_STRONG_SENDS").ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(events) => Plan { events, kill_every: Duration::from_secs(3), kills_max: 200 },
            None => Plan { events: 250, kill_every: Duration::from_millis(400), kills_max: 4 },
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
    let routes = [("resend", script.clone()), ("park", script.clone()), ("ask", script)];
    let (receiver, journal) = scene.receiver("calls.jsonl", &routes);
    for name in ["resend", "park"] {
        let more = format!("uncertain = \"{name}\"\nrecords = true\nordering = \"none\"\nconcurrency = 16");
        // Long enough for a machine that does much beside: an answer that comes too late would be one that was lost.
        let definition = webhook(name, "orders", &receiver, &more).replace("timeout = \"2s\"", "timeout = \"8s\"");
        assert!(definition.contains("8s"));
        scene.apply(name, &definition);
    }
    scene.deploy("probe", &bugle_guests::probe());
    scene.apply("ask", &asking(&receiver));
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    let (sent, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut producer = scene.producer("checkout", &Journal::create(scene.logs.path(), "checkout.jsonl").unwrap());
    let publishing = {
        let (sent, is_over) = (Arc::clone(&sent), Arc::clone(&is_over));
        scene.runtime.spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            for number in 0..plan.events {
                pace.tick().await;
                let data = json!({ "number": number, "url": "/ask", "timeout": 8_000 });
                let order = event(&format!("order-{number}"), "once-post", &data);
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
    for _ in 0..plan.kills_max {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let is_due = || is_over.load(Ordering::Relaxed) || killed_at.elapsed() >= plan.kill_every;
        eventually("the next kill", 2 * PATIENCE, || is_due().then_some(()));
        judge::kill(&mut scene, &director);
        killed_at = Instant::now();
    }
    let counts = scene.runtime.block_on(publishing).unwrap();
    // What was in doubt at a kill was sent again by the client, and known by its id if it had been stored.
    assert_eq!(counts.stored + counts.duplicates, plan.events, "{counts:?}");
    assert_eq!((counts.refused, counts.unknown), (0, 0), "{counts:?}");
    for name in ["resend", "park", "ask"] {
        settled(&scene, name);
    }
    let kills: Vec<Kill> = director.records().unwrap().into_iter().filter_map(as_kill).collect();
    let sends = Sends { scene: &scene, journal: &journal, kills: &kills, events: plan.events };
    let resent = sends.judge_resend();
    let parked = sends.judge_park();
    let asked = sends.judge_ask(receiver.questions());
    println!(
        "3 x {} sends, {} kills, {:.0} s\nresend: {resent}\npark: {parked}\nask: {asked}",
        plan.events,
        kills.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(kills.len() >= 2, "the run was too short to mean anything");
}

/// A plugin whose receiver can be asked.
fn asking(receiver: &HttpReceiver) -> String {
    let origin = format!("http://{}", receiver.address());
    format!(
        "topics = [\"orders\"]\nplugin = \"probe\"\nuncertain = \"ask\"\nrecords = true\nordering = \"none\"\nconcurrency = 16\n\
         retry = {{ first_backoff = \"100ms\", backoff_max = \"500ms\" }}\n\
         config = {{ url = \"{origin}\" }}\ngrants = {{ egress = [\"{origin}\"] }}"
    )
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

    /// Whoever asks in doubt sends exactly what the receiver has not taken, and nobody has to decide anything.
    fn judge_ask(&self, questions: u64) -> String {
        let (calls, causes) = self.calls("ask");
        assert_eq!((causes.lost, causes.killed), (0, 0), "nothing that was taken is sent again");
        let mut unanswered = 0;
        for id in self.ids() {
            assert_eq!(calls[&id].may_have_been_taken(), 1, "{id}: {:?}", calls[&id]);
            assert_eq!(self.status("ask", &id), "sent", "{id}");
            unanswered += u64::from(calls[&id].accepted() == 0);
        }
        assert_eq!(self.scene.get("/v1/unknown?subscription=ask"), json!([]));
        assert_eq!(self.scene.get("/v1/dead?subscription=ask"), json!([]));
        assert!(questions >= unanswered, "{questions} questions for {unanswered} lost answers");
        format!(
            "again after {} complete refusals and nothing else; {questions} questions, {unanswered} of the answers were lost for good; \
             every key taken once and every record says sent",
            causes.refused
        )
    }

    /// Whoever parks in doubt never calls again on its own: a person looks at the receiver's log and says what became of it.
    fn judge_park(&self) -> String {
        let (calls, causes) = self.calls("park");
        assert_eq!((causes.lost, causes.killed), (0, 0), "nothing in doubt is sent again");
        let taken = |id: &str| calls.get(id).map_or(0, Calls::may_have_been_taken);
        let (mut sent, mut not_sent) = (0, 0);
        for id in self.ids() {
            assert!(taken(&id) <= 1, "{id} reached the receiver more than once: {:?}", calls[&id]);
            let is_lost = |call: &Call| call.answer == CallAnswer::Aborted;
            let is_lost = calls.get(&id).is_some_and(|calls| calls.0.iter().any(is_lost));
            match self.status("park", &id).as_str() {
                "unknown" if taken(&id) > 0 => sent += 1,
                "unknown" => not_sent += 1,
                "sent" => assert!(!is_lost && taken(&id) == 1, "{id} was in doubt, and nobody is asked"),
                other => panic!("{id} is {other}"),
            }
        }
        let listed = self.in_doubt().len();
        assert_eq!(listed, usize::min(sent + not_sent, LISTED_MAX), "what the records call unknown is listed");
        self.resolve();
        format!(
            "again after {} complete refusals and nothing else; {} results in doubt, by the receiver's log {sent} sent and {not_sent} \
             not; then every key taken once and every record says sent",
            causes.refused,
            sent + not_sent
        )
    }

    /// What waits for a person, as far as one list goes.
    fn in_doubt(&self) -> Vec<Value> {
        let unknown = self.scene.get(&format!("/v1/unknown?subscription=park&state=open&limit={LISTED_MAX}"));
        unknown.as_array().unwrap().clone()
    }

    /// Says of everything in doubt what the receiver's log says. What was not sent goes out then, and may meet a fault again.
    fn resolve(&self) {
        for _ in 0..ROUNDS_MAX {
            settled(self.scene, "park");
            let unknown = self.in_doubt();
            if unknown.is_empty() {
                break;
            }
            let calls = by_event(self.journal, "park");
            for result in unknown {
                let id = result["event"]["event"]["id"].as_str().unwrap();
                let is_taken = calls.get(id).is_some_and(|calls| calls.may_have_been_taken() > 0);
                let word = if is_taken { "sent" } else { "not-sent" };
                let filter = json!({ "position": result["position"] });
                let request = json!({ "subscription": "park", "filter": filter, "as": word });
                let resolved: Value = self.scene.admin().post("/v1/unknown/resolve", &request).unwrap().unwrap();
                assert_eq!(resolved["resolved"], 1, "{id}");
            }
        }
        let calls = by_event(self.journal, "park");
        for id in self.ids() {
            assert_eq!(calls[&id].may_have_been_taken(), 1, "{id}: {:?}", calls[&id]);
            assert_eq!(self.status("park", &id), "sent", "{id}");
        }
    }
}
