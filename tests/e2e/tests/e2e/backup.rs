//! Backups of a host under load, restores of them, and what is refused on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bugle_client::{Client, Outcome};
use bugle_harness::{AdminError, eventually};
use bugle_receivers::http::HttpReceiver;
use bugle_receivers::{Journal, Script};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

/// Minutes of load: a test that needs more of them has failed.
const LOAD_EVENTS_MAX: u32 = 200_000;

pub(crate) fn cli(scene: &Scene, arguments: &[&str]) -> Result<Value, String> {
    let answer = scene.host.cli(&[arguments, &["--json"]].concat()).map_err(|error| error.to_string())?;
    Ok(serde_json::from_str(&answer).unwrap())
}

/// Takes the data directory away, as a lost disk would, and restores the backup in its place.
pub(crate) fn lose_and_restore(scene: &mut Scene, backup: &Path, flags: &[&str]) -> Value {
    scene.host.kill().unwrap();
    let data = scene.host.data();
    fs::rename(data.path(), scene.host.directory().join("lost")).unwrap();
    let restored = cli(scene, &[&["restore", backup.to_str().unwrap()], flags].concat()).unwrap();
    scene.host.restart().unwrap();
    restored
}

/// Ids of the events of a topic, in their order.
fn ids(scene: &Scene, topic: &str) -> Vec<String> {
    let (mut ids, mut from) = (Vec::new(), "earliest".to_owned());
    loop {
        let page = scene.get(&format!("/v1/topics/{topic}/events?from={from}&limit=1000"));
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return ids;
        }
        ids.extend(events.iter().map(|event| event["event"]["id"].as_str().unwrap().to_owned()));
        from = page["next"].as_str().unwrap().to_owned();
    }
}

/// The first call of an event hangs, and one failed attempt is the last.
fn slow_subscription(scene: &Scene) -> (HttpReceiver, Journal) {
    let hang = Script { hang: 1000, ..Script::default() };
    let (slow, calls) = scene.receiver("slow.jsonl", &[("slow", hang)]);
    let once = "retry = { attempts_max = 1 }\n";
    let definition = webhook("slow", "slow", &slow, "").replace("timeout = \"2s\"", "timeout = \"25s\"");
    let first_line = definition.lines().find(|line| line.starts_with("retry")).unwrap().to_owned();
    scene.apply("slow", &definition.replace(&first_line, once));
    (slow, calls)
}

/// One event after the other until the client was told of a restore.
async fn publish_load(client: Client) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    for number in 0..LOAD_EVENTS_MAX {
        let id = format!("load-{number}");
        let outcome = client.publish("load", event(&id, "t", &json!({ "n": number }))).await;
        outcomes.insert(id, outcome);
        if client.counters().restores > 0 {
            break;
        }
    }
    outcomes
}

#[test]
fn a_restored_host_goes_on_where_its_backup_made_under_load_ended() {
    let mut scene = Scene::new();
    for topic in ["orders", "slow", "load"] {
        scene.topic(topic);
    }
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    let (slow, slow_calls) = slow_subscription(&scene);
    let early: Vec<String> = (0..20).map(|number| format!("early-{number}")).collect();
    scene.store("orders", early.iter().map(|id| event(id, "order.paid", &json!({}))));
    scene.settled("hook");
    scene.store("slow", [event("under-way", "t", &json!({}))]);
    eventually("a call under way", PATIENCE, || (slow.requests() == 1).then_some(()));

    let client = scene.client("load");
    let load = scene.runtime.spawn(publish_load(client.clone()));
    eventually("some load", PATIENCE, || (client.counters().confirmed > 50).then_some(()));
    let backup = scene.host.directory().join("backup");
    let made = cli(&scene, &["backup", "create", backup.to_str().unwrap()]).unwrap();
    assert_eq!(made["is_linked"], json!(true), "the same file system: {made}");
    assert!(!load.is_finished(), "the backup was made under load");
    scene.store("orders", [event("late", "order.paid", &json!({}))]);
    scene.settled("hook");
    let restored = lose_and_restore(&mut scene, &backup, &[]);
    assert_eq!(restored["next"], made["next"]);
    assert_eq!(restored["incarnation_before"], made["incarnation"]);

    // The producer goes on by itself, is told, and nothing it was in doubt about is stored twice.
    let outcomes = scene.runtime.block_on(load).unwrap();
    assert!(outcomes.values().all(|outcome| matches!(outcome, Outcome::Confirmed(_))), "{outcomes:?}");
    assert_eq!(client.counters().restores, 1);
    let ids = ids(&scene, "load");
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(ids.len(), distinct.len(), "no event is stored twice");
    let last = format!("load-{}", outcomes.len() - 1);
    assert!(ids.iter().any(|id| id == "load-0") && ids.contains(&last));

    // What was under way is tried again with its key and was not charged; what was done is not done again.
    scene.settled("slow");
    assert_eq!(scene.subscription("slow")["status"]["dead_letters"], json!(0));
    let slow_calls = slow_calls.calls();
    assert_eq!(slow_calls.len(), 2, "{slow_calls:?}");
    assert_eq!(slow_calls[0].idempotency_key, slow_calls[1].idempotency_key);
    let count = |id: &str| calls.calls().iter().filter(|call| call.id == id).count();
    scene.settled("hook");
    assert!(early.iter().all(|id| count(id) == 1), "what was settled before the backup is not sent again");

    // What came after the backup is gone, is told as not stored, and can be published again.
    let asked = scene.get("/v1/topics/orders/ids?source=%2Fe2e&id=late");
    assert_eq!(asked["state"], json!("not-in-window"), "{asked}");
    scene.store("orders", [event("late", "order.paid", &json!({}))]);
    scene.settled("hook");
    let late: Vec<String> =
        calls.calls().iter().filter(|call| call.id == "late").map(|call| call.idempotency_key.clone()).collect();
    assert_eq!(late.len(), 2, "{late:?}");
    assert_ne!(late[0], late[1], "a new event at an offset that was used before has a key of its own");
    let audit = scene.host.cli(&["audit", "list"]).unwrap();
    assert!(audit.contains("backup.create") && audit.contains("backup.restore"), "{audit}");
    // It serves and restarts like any other.
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    let again = scene.publish("orders", [event("late", "order.paid", &json!({}))])[0].receipt().unwrap();
    assert!(again.duplicate, "{again:?}");
}

#[test]
fn a_restore_can_pause_everything_until_somebody_has_looked() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    cli(&scene, &["subscription", "pause", "hook"]).unwrap();
    scene.store("orders", [event("a", "t", &json!({}))]);
    cli(&scene, &["subscription", "resume", "hook"]).unwrap();
    scene.settled("hook");
    let backup = scene.host.directory().join("backup");
    cli(&scene, &["backup", "create", backup.to_str().unwrap()]).unwrap();
    let restored = lose_and_restore(&mut scene, &backup, &["--paused"]);
    assert_eq!(restored["paused"], json!(1));
    scene.store("orders", [event("b", "t", &json!({}))]);
    let paused = scene.subscription("hook");
    assert!(paused.to_string().contains("restored from a backup"), "{paused}");
    cli(&scene, &["subscription", "resume", "hook"]).unwrap();
    scene.settled("hook");
    let ids: Vec<String> = calls.calls().iter().map(|call| call.id.clone()).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn backups_and_restores_that_could_harm_are_refused() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.store("orders", [event("a", "t", &json!({}))]);
    let directory = scene.host.directory().to_owned();
    let data = scene.host.data().path().to_owned();
    let refused = |arguments: &[&str], told: &str| {
        let said = cli(&scene, arguments).unwrap_err();
        assert!(said.contains(told), "{arguments:?}: {said}");
    };
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let ask = |dir: &str| {
        let answer: Result<Value, AdminError> = scene.admin().post("/v1/backups", &json!({ "dir": dir })).unwrap();
        answer.unwrap_err().code
    };
    assert_eq!(ask("relative"), "invalid");
    assert_eq!(ask(data.join("backup").to_str().unwrap()), "invalid");
    refused(&["backup", "create", directory.to_str().unwrap()], "not an empty folder");
    refused(&["backup", "create", &path("bugle.toml")], "not an empty folder");
    refused(&["backup", "create", &path("not/there")], "could not make");
    assert!(!directory.join("not").exists());

    // An empty folder that is there is taken.
    fs::create_dir(path("good")).unwrap();
    cli(&scene, &["backup", "create", &path("good")]).unwrap();
    refused(&["backup", "create", &path("good")], "not an empty folder");
    let checked = cli(&scene, &["backup", "check", &path("good")]).unwrap();
    assert!(checked["rows"].as_u64().unwrap() > 3, "{checked}");
    refused(&["backup", "check", &path("")], "no whole backup");

    refused(&["restore", &path("good")], "in use by process");
    refused(&["restore", &path("good"), "--data-dir", directory.to_str().unwrap()], "is not empty");
    refused(&["restore", &path(""), "--data-dir", &path("new")], "no whole backup");
    refused(&["restore", &path("good"), "--data-dir", &path("good/new")], "lies in the backup");
    assert!(!directory.join("new").exists());

    // A damaged backup is found before anything is put in place, and another one can follow.
    let table = fs::read_dir(directory.join("good/store/db")).unwrap().map(|entry| entry.unwrap().path());
    let table = table.filter(|path| path.extension().is_some_and(|ending| ending == "sst")).max().unwrap();
    let good = fs::read(&table).unwrap();
    let mut bad = good.clone();
    bad[9] ^= 0x10;
    // A file of its own: the backup's is a link to the host's.
    fs::remove_file(&table).unwrap();
    fs::write(&table, bad).unwrap();
    refused(&["backup", "check", &path("good")], "not sound");
    refused(&["restore", &path("good"), "--data-dir", &path("new")], "not sound");
    let half =
        std::process::Command::new(scene.host.binary()).args(["serve", "--data-dir", &path("new")]).output().unwrap();
    let told = String::from_utf8_lossy(&half.stderr);
    assert!(!half.status.success() && told.contains("was interrupted"), "{told}");
    fs::write(&table, good).unwrap();
    cli(&scene, &["restore", &path("good"), "--data-dir", &path("new")]).unwrap();
    refused(&["restore", &path("good"), "--data-dir", &path("new")], "is not empty");
    scene.host.stop().unwrap();
}
