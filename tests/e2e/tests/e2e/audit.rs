//! What operators do leaves a row each, in the batch of the change; what is refused or only looked at leaves none.

use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{Scene, event, webhook};

/// Action and target of each row, oldest first.
fn actions(scene: &Scene) -> Vec<(String, String)> {
    let rows: Value = serde_json::from_str(&scene.host.cli(&["audit", "list", "--json"]).unwrap()).unwrap();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(row, "action"), text(row, "target"))).collect()
}

#[test]
fn every_change_of_an_operator_leaves_a_row_that_survives_a_kill() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, _calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    let definition = webhook("hook", "orders", &receiver, "");
    scene.apply("hook", &definition);
    scene.store("orders", [event("a", "t", &json!({}))]);
    scene.settled("hook");
    let cli = |line: &str| scene.host.cli(&line.split(' ').collect::<Vec<_>>());
    for line in [
        "subscription pause hook --reason lunch",
        "subscription resume hook",
        "subscription drain hook --boost 2",
        "subscription seek hook --to earliest --yes",
        "kv put box a one",
        "kv delete box a",
    ] {
        cli(line).unwrap();
    }
    // Looked at, planned or refused.
    for line in
        ["subscription show hook", "subscription seek hook --to earliest", "subscription pause nobody", "kv get box a"]
    {
        let _ = cli(line);
    }
    scene.try_apply("hook", &definition, &["--dry-run"]).unwrap();
    assert!(scene.try_apply("hook", &webhook("hook", "nowhere", &receiver, ""), &[]).is_err());
    cli("subscription delete hook --yes").unwrap();
    let wanted = [
        ("topic.create", "orders"),
        ("plugin.deploy", "webhook"),
        ("subscription.apply", "hook"),
        ("subscription.pause", "hook"),
        ("subscription.resume", "hook"),
        ("subscription.boost", "hook"),
        ("subscription.seek", "hook"),
        ("kv.put", "box a"),
        ("kv.delete", "box a"),
        ("subscription.delete", "hook"),
    ];
    let wanted: Vec<_> = wanted.map(|(action, target)| (action.to_owned(), target.to_owned())).into();
    assert_eq!(actions(&scene), wanted);
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(actions(&scene), wanted);
    let told = scene.host.cli(&["audit", "list"]).unwrap();
    for part in ["lunch", "factor 2", "back from", "created, plugin webhook"] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}
