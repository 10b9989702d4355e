//! Erasing what belongs to a key: gone from the log, the schedule, what is kept for people, and the files; and nothing else is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_client::Event;
use bugle_harness::eventually;
use bugle_receivers::{Journal, Script};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::scene::{PATIENCE, Scene, keyed, webhook};

/// In the key and the content of what is to go, and nowhere else.
const CANARY: &str = "canary-of-user-42";
const DUE_IN: Duration = Duration::from_secs(3_600);

fn cli(scene: &Scene, arguments: &[&str]) -> Value {
    let answer = scene.host.cli(&[arguments, &["--json"]].concat()).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Files of the data directory that have the canary in them.
fn files_with(canary: &[u8], folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files_with(canary, &path, found);
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(canary.len()).any(|window| window == canary)
        {
            found.push(path.display().to_string());
        }
    }
}

fn files(scene: &Scene) -> Vec<String> {
    let mut found = Vec::new();
    files_with(CANARY.as_bytes(), scene.host.data().path(), &mut found);
    found
}

/// Files that are not needed any more go a moment later.
fn gone_from_files(scene: &Scene) {
    eventually("the files to have nothing of it", PATIENCE, || {
        let found = files(scene);
        println!("{found:?}");
        found.is_empty().then_some(())
    });
}

/// Types of the events of a topic, by their ids.
fn kinds(scene: &Scene, topic: &str) -> Vec<(String, String)> {
    let page = scene.get(&format!("/v1/topics/{topic}/events?from=earliest&limit=1000"));
    let text = |event: &Value, name: &str| event["event"][name].as_str().unwrap().to_owned();
    page["events"].as_array().unwrap().iter().map(|event| (text(event, "id"), text(event, "type"))).collect()
}

#[test]
fn what_belongs_to_a_key_is_erased_everywhere_and_nothing_else() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, calls) = scene.receiver(
        "calls.jsonl",
        &[
            ("refusing", Script { reject: 1000, ..Script::default() }),
            ("breaking", Script { broken: 1000, faulty_calls: 1, ..Script::default() }),
            ("later", Script::default()),
        ],
    );
    // Her key waits for a person, his goes on.
    let parking = "on_exhausted = \"park-key\"\nrecords = true\nsettled_events = true";
    scene.apply("refusing", &webhook("refusing", "orders", &receiver, parking));
    let doubting = "uncertain = \"park\"\nrecords = true\nsettled_events = true";
    scene.apply("breaking", &webhook("breaking", "orders", &receiver, doubting));
    scene.apply("later", &webhook("later", "orders", &receiver, ""));
    cli(&scene, &["subscription", "pause", "later"]);
    scene.store("orders", [of("hers", CANARY), of("his", "user-7")]);
    let scheduled = Event::builder("/e2e", "reminder").id("due").key(CANARY).delay(DUE_IN);
    scene.store("orders", [scheduled.json("{}").build().unwrap()]);
    scene.dead("refusing", 2);
    eventually("both unknown results", PATIENCE, || {
        (cli(&scene, &["unknown", "list", "breaking"]).as_array().unwrap().len() == 2).then_some(())
    });
    assert!(!files(&scene).is_empty(), "the store is read as plain bytes");

    // Counted first; asked for with a topic that has nothing of it, nothing goes.
    let planned = cli(&scene, &["erase", "--key", CANARY, "--topic", "orders"]);
    assert_eq!((&planned["events"], &planned["scheduled"]), (&json!(3), &json!(1)), "one is an outcome: {planned}");
    assert_eq!((&planned["dead_letters"], &planned["unknown"]), (&json!(1), &json!(1)), "{planned}");
    assert!(planned["records"].as_u64().unwrap() >= 2, "{planned}");
    scene.topic("other");
    assert_eq!(cli(&scene, &["erase", "--key", CANARY, "--topic", "other", "--yes"])["events"], json!(0));
    assert_eq!(kinds(&scene, "orders").iter().filter(|(_, kind)| kind == "bugle.erased").count(), 0);

    let erased = cli(&scene, &["erase", "--key", CANARY, "--yes"]);
    assert_eq!(erased["events"], json!(4), "that her key was given up is told too: {erased}");
    for name in ["scheduled", "dead_letters", "unknown"] {
        assert_eq!(erased[name], planned[name], "{name}: {erased}");
    }
    assert_eq!((&erased["calls"], &erased["left"]), (&json!(0), &json!(0)), "{erased}");
    gone_from_files(&scene);
    let told = kinds(&scene, "orders");
    let expected = [("hers", "bugle.erased"), ("his", "order.paid"), ("due", "bugle.erased")];
    assert!(told.iter().map(|(id, kind)| (id.as_str(), kind.as_str())).eq(expected), "{told:?}");
    let outcomes = kinds(&scene, "bugle.settled");
    assert_eq!(outcomes.iter().filter(|(_, kind)| kind == "bugle.erased").count(), 2, "{outcomes:?}");
    assert_eq!(scene.dead("refusing", 1).len(), 1, "the other key's letter stays");
    assert_eq!(cli(&scene, &["unknown", "list", "breaking"]).as_array().unwrap().len(), 1);
    assert_eq!(cli(&scene, &["record", "find", "--event", "hers"]), json!([]));
    assert_ne!(cli(&scene, &["record", "find", "--event", "his"]), json!([]));
    assert_eq!(cli(&scene, &["scheduled", "list", "orders"])["events"], json!([]));
    // Who was told the receipt and knows the key can prove that it was this one; nobody else can guess it.
    let audit = scene.host.cli(&["audit", "list"]).unwrap();
    let proof = Sha256::digest(format!("{} {CANARY}", erased["receipt"].as_str().unwrap()));
    let proof: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(audit.contains(&format!("partitionkey sha256:{proof}")) && !audit.contains(CANARY), "{audit}");
    assert!(!audit.contains(erased["receipt"].as_str().unwrap()), "{audit}");

    goes_on_without_it(scene, &calls);
}

/// What waited for it goes on, its id names no other event, and that is so after a kill.
fn goes_on_without_it(mut scene: Scene, calls: &Journal) {
    cli(&scene, &["subscription", "resume", "later"]);
    scene.settled("later");
    let later: Vec<String> =
        calls.calls().into_iter().filter(|call| call.subscription == "later").map(|call| call.id).collect();
    assert_eq!(later, ["his"]);
    assert_eq!(cli(&scene, &["erase", "--key", CANARY, "--yes"])["events"], json!(0));
    let again = scene.publish("orders", [of("hers", CANARY)]);
    assert!(format!("{again:?}").contains("id-reused"), "{again:?}");
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.store("orders", [of("new", "user-7")]);
    for name in ["breaking", "later"] {
        scene.settled(name);
    }
    assert_eq!(cli(&scene, &["erase", "--key", CANARY])["events"], json!(0));
    scene.host.stop().unwrap();
}

/// An event of a key that also is its content.
fn of(id: &str, key: &str) -> Event {
    keyed(id, "order.paid", key, &json!({ "phone": key }))
}

#[test]
fn an_interrupted_erasing_is_finished_by_the_next_one() {
    let mut scene = Scene::new();
    scene.topic("orders");
    let many = 4_000;
    scene.store("orders", (0..many).map(|n| keyed(&format!("e-{n}"), "t", CANARY, &json!({ "n": n }))));
    let mut child = Command::new(scene.host.binary())
        .args(["erase", "--key", CANARY, "--yes"])
        .env("BUGLE_DATA_DIR", scene.host.data().path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the first events to be erased", PATIENCE, || {
        (kinds(&scene, "orders")[0].1 == "bugle.erased").then_some(())
    });
    scene.host.kill().unwrap();
    child.wait().unwrap();
    scene.host.restart().unwrap();
    let rest = cli(&scene, &["erase", "--key", CANARY, "--yes"]);
    assert!(rest["events"].as_u64().unwrap() < many, "a part was erased before the kill: {rest}");
    gone_from_files(&scene);
    assert!(kinds(&scene, "orders").iter().all(|(_, kind)| kind == "bugle.erased"));
    assert_eq!(cli(&scene, &["erase", "--key", CANARY])["events"], json!(0));
    scene.host.stop().unwrap();
}

#[test]
fn what_names_nobody_is_refused() {
    let scene = Scene::new();
    scene.topic("orders");
    let refused = |arguments: &[&str], words: &str| {
        let told = scene.host.cli(&[&["erase"], arguments].concat()).unwrap_err().to_string();
        assert!(told.contains(words), "{arguments:?}: {told}");
    };
    refused(&[], "--recipient");
    refused(&["--key", ""], "an empty text names nobody");
    refused(&["--key", "k", "--topic", "nowhere"], "bugle topic list");
    refused(&["--key", "k", "--attribute", "subject=s"], "cannot be used with");
    refused(&["--attribute", "subject"], "subject=user/42");
    refused(&["--recipient", "r", "--topic", "orders"], "leave `topic` out");
    let ask = |body: Value| {
        let answer: Result<Value, bugle_harness::AdminError> = scene.admin().post("/v1/erase", &body).unwrap();
        answer.unwrap_err().code
    };
    assert_eq!(ask(json!({ "attribute": "subject" })), "invalid");
    assert_eq!(ask(json!({ "key": "k", "attribute": "a", "value": "b" })), "invalid");
    assert_eq!(ask(json!({})), "invalid");
}

#[test]
fn a_recipient_is_erased_from_records_and_outcomes() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, _) = scene.receiver("calls.jsonl", &[("one", Script::default()), ("two", Script::default())]);
    for name in ["one", "two"] {
        scene.apply(name, &webhook(name, "orders", &receiver, "records = true\nsettled_events = true"));
    }
    scene.store("orders", (0..5).map(|n| keyed(&format!("e-{n}"), "order.paid", "k", &json!({ "n": n }))));
    ["one", "two"].iter().for_each(|name| scene.settled(name));
    let records = cli(&scene, &["record", "find", "--event", "e-3"]);
    let is_hers = |record: &&Value| record["recipient"].as_str().is_some_and(|text| text.ends_with("/one"));
    let noted = records.as_array().unwrap().iter().find(is_hers).unwrap();
    let recipient = noted["recipient"].as_str().unwrap().to_owned();
    let found = |scene: &Scene| cli(scene, &["record", "find", "--recipient", &recipient]).as_array().unwrap().len();
    let before = found(&scene);
    assert!(before >= 5, "{before} records");
    let erased = cli(&scene, &["erase", "--recipient", &recipient, "--yes"]);
    assert_eq!((&erased["records"], &erased["dead_letters"]), (&json!(before), &json!(0)), "{erased}");
    assert_eq!(found(&scene), 0);
    let outcomes = scene.get("/v1/topics/bugle.settled/events?from=earliest&limit=1000");
    assert!(!outcomes.to_string().contains(&format!("\"{recipient}\"")), "{outcomes}");
    assert!(kinds(&scene, "orders").iter().all(|(_, kind)| kind == "order.paid"), "the events themselves stay");
    scene.host.stop().unwrap();
}
