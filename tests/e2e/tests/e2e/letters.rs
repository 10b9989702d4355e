//! Dead letters as an operator meets them: a dry run, an interrupted replay, a key that waits for a person, refusals.
//!
//! `BUGLE_DEAD_LETTERS=10000` runs the interrupted replay at its full size, 10,000 letters at 500 a second.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, keyed, webhook};

fn cli(scene: &Scene, arguments: &[&str]) -> Value {
    let answer = scene.host.cli(&[arguments, &["--json"]].concat()).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn refused(scene: &Scene, arguments: &[&str], words: &[&str]) {
    let told = scene.host.cli(arguments).unwrap_err().to_string();
    for word in words {
        assert!(told.contains(word), "{arguments:?}: {told}");
    }
}

fn open(scene: &Scene, name: &str) -> u64 {
    scene.subscription(name)["status"]["dead_open"].as_u64().unwrap()
}

/// Letters of the interrupted replay; few by default, so that the whole suite stays quick.
fn letters() -> u64 {
    std::env::var("BUGLE_DEAD_LETTERS").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}

/// `bugle dead replay` as a process of its own, to be killed.
fn replaying(scene: &Scene, rate: u64) -> Child {
    let mut command = Command::new(scene.host.binary());
    command.args(["dead", "replay", "hook", "--rate", &rate.to_string()]);
    command.env("BUGLE_DATA_DIR", scene.host.data().path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn an_interrupted_replay_is_run_again_and_sends_each_letter_once() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let rejecting = Script { reject: 1000, ..Script::default() };
    let (receiver, calls) = scene.receiver("calls.jsonl", &[("hook", rejecting)]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    let (count, rate) = (letters(), letters() / 20);
    scene.store(
        "orders",
        (0..count).map(|n| keyed(&format!("e-{n}"), "t", &format!("k-{}", n % 50), &json!({ "n": n }))),
    );
    eventually("every event to be given up", 4 * PATIENCE, || (open(&scene, "hook") == count).then_some(()));
    receiver.rewrite("/hook", Script::default());
    let before: BTreeMap<String, String> =
        calls.calls().into_iter().map(|call| (call.id, call.idempotency_key)).collect();

    let plan = cli(&scene, &["dead", "replay", "hook", "--dry-run"]);
    assert_eq!(
        (&plan["letters"], &plan["would_send"], &plan["would_suppress"]),
        (&json!(count), &json!(count), &json!(0))
    );
    assert_eq!(calls.calls().len() as u64, count, "a dry run sends nothing");

    let mut client = replaying(&scene, rate);
    eventually("a fifth to be replayed", 2 * PATIENCE, || (open(&scene, "hook") <= count * 4 / 5).then_some(()));
    refused(&scene, &["dead", "replay", "hook"], &["[conflict]", "somebody else"]);
    client.kill().unwrap();
    client.wait().unwrap();
    let left = eventually("the host to notice", PATIENCE, || {
        let plan = scene.host.cli(&["dead", "replay", "hook", "--dry-run", "--json"]).ok()?;
        serde_json::from_str::<Value>(&plan).unwrap()["letters"].as_u64()
    });
    assert!(left > 0 && left < count, "{left}");

    let mut client = replaying(&scene, rate);
    eventually("half to be replayed", 2 * PATIENCE, || (open(&scene, "hook") <= count / 2).then_some(()));
    scene.host.kill().unwrap();
    assert!(!client.wait().unwrap().success(), "the client says that the host broke off");
    scene.host.restart().unwrap();
    // What the status told may have been a batch ahead of the disk.
    let left = open(&scene, "hook");
    assert!(left > 0 && left <= count / 2 + 64, "{left}");

    let last = cli(&scene, &["dead", "replay", "hook"]);
    assert_eq!((&last["replayed"], &last["skipped"], &last["is_done"]), (&json!(left), &json!(0), &json!(true)));
    let nothing = cli(&scene, &["dead", "replay", "hook"]);
    assert_eq!((&nothing["total"], &nothing["replayed"]), (&json!(0), &json!(0)));
    scene.settled("hook");

    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    for call in calls.calls().into_iter().skip(count as usize) {
        assert_eq!(before.get(&call.id), Some(&call.idempotency_key), "{} has its first key", call.id);
        *sent.entry(call.id).or_default() += 1;
    }
    assert_eq!(sent.len() as u64, count, "each was sent");
    // A call under way at the SIGKILL goes out again under the same key, which the receiver drops; nothing else does.
    let repeats: u64 = sent.values().map(|calls| calls - 1).sum();
    assert!(repeats <= 32, "{repeats} repeats");
    println!("{count} letters at {rate} a second, client and host killed: each sent, {repeats} calls repeated");
    let page = scene.get("/v1/topics/bugle.to.hook/events?from=earliest&limit=1000");
    assert_eq!(page["events"].as_array().unwrap().len() as u64, count.min(1000), "one copy each");
    let audit = cli(&scene, &["audit", "list", "--since", "1h"]);
    let replays: Vec<&Value> =
        audit.as_array().unwrap().iter().filter(|action| action["action"] == "dead.replay").collect();
    assert_eq!(replays.len(), 3, "one row for each replay that did something: {audit}");
}

#[test]
fn a_dry_run_tells_what_dedup_would_suppress_and_the_replay_agrees() {
    let scene = Scene::new();
    scene.probe("acts", "retry = { attempts_max = 1 }");
    scene.store(
        "acts",
        [
            event("sent-before", "claim-kv-confirm-retry", &json!({})),
            event("free", "reject", &json!({ "reason": "no" })),
        ],
    );
    scene.dead("acts", 2);
    let plan = cli(&scene, &["dead", "replay", "acts", "--dry-run"]);
    assert_eq!((&plan["would_send"], &plan["would_suppress"]), (&json!(1), &json!(1)), "{plan}");
    let word = |id: &str| {
        let first = plan["first"].as_array().unwrap();
        first.iter().find(|planned| planned["event_id"] == id).unwrap()["dedup"].clone()
    };
    assert_eq!((word("sent-before"), word("free")), (json!("done"), json!("free")));
    cli(&scene, &["dead", "replay", "acts", "--type", "claim-*"]);
    let dead = scene.dead("acts", 3);
    let again = dead.iter().find(|letter| letter["event"]["event"]["buglelate"] == "true").unwrap();
    assert!(again["reason"].as_str().unwrap().starts_with("done"), "the claim was found: {again}");
    assert_eq!(again["event"]["topic"], "acts", "a copy is told with the topic it was published to");
}

#[test]
fn a_parked_key_waits_through_a_restart_and_goes_on_with_the_edited_event() {
    let mut scene = Scene::new();
    scene.probe("acts", "retry = { attempts_max = 1 }\non_exhausted = \"park-key\"");
    scene.store("acts", [keyed("broken", "retry", "k", &json!({})), keyed("behind", "ok", "k", &json!({}))]);
    let letter = scene.dead("acts", 1).remove(0);
    assert_eq!((&letter["state"], &letter["holds_key"]), (&json!("manual"), &json!(true)));
    let position = letter["position"].as_str().unwrap().to_owned();
    let key = letter["idempotency_key"].clone();
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.store("acts", [keyed("beside", "ok", "other", &json!({}))]);
    eventually("the other key", PATIENCE, || (scene.subscription("acts")["status"]["delivered"] == 1).then_some(()));
    assert!(scene.host.cli(&["status"]).unwrap().contains("! acts: 1 keys wait for a decision"));
    refused(&scene, &["dead", "purge", "acts", &position], &["its key waits for it", "[conflict]"]);
    refused(&scene, &["dead", "edit", "acts", &position, "--attribute", "partitionkey=z"], &["must stay"]);
    let edited = cli(&scene, &["dead", "edit", "acts", &position, "--attribute", "type=ok"]);
    assert_ne!(edited["idempotency_key"], key, "an edit gets a new key");
    let done = cli(&scene, &["dead", "replay", "acts", &position]);
    assert_eq!(done["replayed"], 1);
    scene.settled("acts");
    assert_eq!(scene.subscription("acts")["status"]["delivered"], 3);
    let shown = cli(&scene, &["dead", "show", "acts", &position]);
    assert_eq!((&shown["state"], &shown["holds_key"]), (&json!("replayed"), &json!(true)));
    assert_eq!(shown["revision"].as_str().unwrap().len(), 64);
}

#[test]
fn a_blocked_key_is_shown_and_never_given_up() {
    let scene = Scene::new();
    let policy =
        "retry = { attempts_max = 2, first_backoff = \"1ms\", backoff_max = \"20ms\" }\non_exhausted = \"block\"";
    scene.probe("acts", policy);
    scene.store("acts", [keyed("stuck", "retry", "k", &json!({})), keyed("behind", "ok", "k", &json!({}))]);
    let attempts = eventually("attempts beyond the limit", PATIENCE, || {
        let status = &scene.subscription("acts")["status"];
        let attempts = status["attempts"].as_u64().unwrap();
        (attempts > 4 && status["blocked"] == 1).then_some(attempts)
    });
    assert_eq!(scene.get("/v1/dead"), json!([]), "after {attempts} attempts");
    assert!(scene.host.cli(&["status"]).unwrap().contains("! acts: 1 keys are blocked"));
}

#[test]
fn letters_are_listed_filtered_dismissed_and_purged_and_every_mistake_is_told() {
    let scene = Scene::new();
    scene.probe("acts", "");
    let reason = json!({ "reason": "no" });
    scene.store("acts", (0..3).map(|n| keyed(&format!("e-{n}"), "reject", &format!("k-{n}"), &reason)));
    let first = scene.dead("acts", 3)[0]["position"].as_str().unwrap().to_owned();
    let ids = |flags: &[&str]| {
        let found = cli(&scene, &[&["dead", "list", "acts"], flags].concat());
        let id = |letter: &Value| letter["event"]["event"]["id"].as_str().unwrap().to_owned();
        found.as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--key", "k-1"]), ["e-1"]);
    assert_eq!(ids(&["--type", "rej*", "--cause", "rejected", "--since", "1h", "--limit", "2"]).len(), 2);
    assert_eq!(ids(&["--until", "1h"]), Vec::<String>::new());
    assert_eq!(ids(&["--state", "replayed"]), Vec::<String>::new());
    let revision = scene.get("/v1/plugins/probe")["revision"].as_str().unwrap().to_owned();
    assert_eq!(ids(&["--revision", &revision[..8]]).len(), 3);

    refused(&scene, &["dead", "list", "acts", "--state", "closed"], &["`dismissed`", "[invalid]"]);
    refused(&scene, &["dead", "list", "acts", "--since", "soon"], &["`2h`"]);
    refused(&scene, &["dead", "show", "acts", "0-999999"], &["[not-found]", "bugle dead list acts"]);
    refused(&scene, &["dead", "show", "nobody", "0-1"], &["[not-found]"]);
    refused(&scene, &["dead", "show", "acts", "first"], &["0-1234"]);
    refused(&scene, &["dead", "edit", "acts", &first], &["nothing to change"]);
    refused(&scene, &["dead", "edit", "acts", &first, "--attribute", "type="], &["`type`", "[invalid]"]);
    refused(&scene, &["dead", "edit", "acts", "0-999999", "--data", "{}"], &["[not-found]"]);
    refused(&scene, &["dead", "replay", "nobody"], &["[not-found]"]);
    refused(&scene, &["dead", "replay", "acts", "0-999999"], &["[not-found]"]);
    refused(&scene, &["dead", "replay", "acts", "--rate", "0"], &["a rate of 0"]);
    refused(&scene, &["dead", "dismiss", "acts"], &["3 dead letters", "--yes"]);
    refused(&scene, &["dead", "purge", "acts", "--cause", "rejected"], &["3 dead letters", "--yes"]);
    refused(&scene, &["dead", "purge", "nobody", "--yes"], &["[not-found]"]);
    refused(&scene, &["topic", "create", "bugle.mine"], &["[denied]", "reserved"]);
    let outcome = scene.publish("bugle.to.acts", [event("x", "ok", &json!({}))]);
    assert!(format!("{outcome:?}").contains("code: denied"), "{outcome:?}");
    let told = scene.try_apply("nosy", "topics = [\"bugle.to.acts\"]\nplugin = \"probe\"", &[]).unwrap_err();
    assert!(told.contains("private topic"), "{told}");

    assert_eq!(cli(&scene, &["dead", "dismiss", "acts", &first])["changed"], 1);
    refused(&scene, &["dead", "dismiss", "acts", &first], &["it is dismissed already", "[conflict]"]);
    refused(&scene, &["dead", "replay", "acts", &first], &["it is dismissed already"]);
    assert_eq!(cli(&scene, &["dead", "dismiss", "acts", "--yes"]), json!({ "changed": 2, "skipped": 0 }));
    assert_eq!(cli(&scene, &["dead", "purge", "acts", "--state", "dismissed", "--yes"])["changed"], 3);
    assert_eq!(ids(&[]), Vec::<String>::new());
    let audit = cli(&scene, &["audit", "list"]);
    let actions = audit.as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap());
    let actions: Vec<&str> = actions.filter(|action| action.starts_with("dead.")).collect();
    assert_eq!(actions, ["dead.dismiss", "dead.dismiss", "dead.purge"], "{audit}");
    refused(&scene, &["audit", "list", "--since", "ever"], &["[invalid]"]);
}
