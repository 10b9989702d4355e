//! What operators do leaves a row each, in the batch of the change; what is refused or only looked at leaves none.

use bugle_harness::{AdminError, Settings, eventually};
use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

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

#[test]
fn rows_beyond_the_bound_go_the_oldest_first_and_bounds_that_forget_the_day_are_refused() {
    let config = "[storage]\naudit_rows = 1000\n".to_owned();
    let mut scene = Scene::with(Settings { config, ..Settings::default() });
    scene.topic("orders");
    for number in 0..1_010 {
        let path = format!("/v1/kv/box/key-{number}");
        let written: Result<Value, AdminError> = scene.admin().put_bytes(&path, b"one").unwrap();
        written.unwrap_or_else(|error| panic!("{path}: {error:?}"));
    }
    // The next start looks at once.
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    let rows = eventually("old rows to go", PATIENCE, || {
        let rows = scene.get("/v1/audit?since=1d&limit=1000");
        (rows[0]["action"] != json!("topic.create")).then_some(rows)
    });
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(scene.get("/v1/audit?since=1d&limit=1000"), rows, "what is gone stays gone");
    let rows = rows.as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["target"], &rows[999]["target"]),
        (1_000, &json!("box key-10"), &json!("box key-1009"))
    );
    let refused = scene.host.directory().join("refused.toml");
    for (line, told) in [("audit = \"1h\"", "at least 1d"), ("audit_rows = 3", "at least 1000")] {
        std::fs::write(&refused, format!("[storage]\n{line}\n")).unwrap();
        let error =
            scene.host.cli(&["config", "check", "--config", refused.to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}
