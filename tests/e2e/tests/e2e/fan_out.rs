//! One event to very many recipients, on a host that is killed on the way: each recipient gets exactly one follow-up event.
//!
//! `BUGLE_FAN_OUT=1000000` makes the run of some minutes; without it, it is a short one.

use std::time::Instant;

use bugle_harness::eventually;
use bugle_receivers::Journal;
use serde_json::{Value, json};

use crate::judge;
use crate::scene::{PATIENCE, Scene, event};

struct Plan {
    recipients: u64,
    kills: u64,
}

impl Plan {
    fn from_environment() -> Plan {
        match std::env::var("BUGLE_FAN_OUT").ok().and_then(|text| text.parse().ok()) {
            Some(recipients) => Plan { recipients, kills: 10 },
            None => Plan { recipients: 10_000, kills: 3 },
        }
    }
}

/// What the plugin's checkpoint says.
fn checkpoint(scene: &Scene) -> Value {
    let page = scene.get("/v1/kv/campaign?prefix=fan-out/all/");
    let value = page["entries"][0]["value"].as_str().map(|text| serde_json::from_str(text).unwrap());
    value.unwrap_or_else(|| json!({ "sent": 0, "pages": 0, "is_done": false }))
}

#[test]
fn each_recipient_gets_one_event_though_the_host_is_killed_on_the_way() {
    let plan = Plan::from_environment();
    let mut scene = Scene::new();
    scene.topic("mail");
    scene.probe("campaign", "grants = { kv = true, publish = [\"mail\"] }");
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    let start = Instant::now();
    let body = json!({ "count": plan.recipients, "page": 250, "topic": "mail" });
    scene.store("campaign", [event("campaign-1", "fan-out", &body)]);
    for kill in 1..=plan.kills {
        let until = kill * plan.recipients / (plan.kills + 1);
        eventually("the fan-out to go on", 4 * PATIENCE, || {
            (checkpoint(&scene)["sent"].as_u64().unwrap() >= until).then_some(())
        });
        judge::kill(&mut scene, &director);
    }
    eventually("the last page", 20 * PATIENCE, || {
        let at = checkpoint(&scene);
        assert!(at["sent"].as_u64().unwrap() <= plan.recipients, "{at}");
        (at["is_done"] == true).then_some(())
    });
    scene.settled("campaign");
    let seconds = start.elapsed().as_secs_f64();
    let mut seen = vec![0_u8; usize::try_from(plan.recipients).unwrap()];
    for line in scene.admin().text("/v1/dump").unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["kind"] == "log" && line["topic"] == "mail" {
            let id = line["id"].as_str().unwrap();
            let number: usize = id.rsplit('/').next().unwrap().parse().unwrap();
            seen[number - 1] += 1;
        }
    }
    let (missing, twice) =
        (seen.iter().filter(|count| **count == 0).count(), seen.iter().filter(|count| **count > 1).count());
    let at = checkpoint(&scene);
    println!(
        "{} recipients in {} pages, {} kills, {seconds:.0} s: {missing} missing, {twice} twice",
        plan.recipients, at["pages"], plan.kills
    );
    assert_eq!((missing, twice), (0, 0));
    assert_eq!(at["sent"], plan.recipients);
    assert_eq!(scene.get("/v1/dead?subscription=campaign"), json!([]));
}
