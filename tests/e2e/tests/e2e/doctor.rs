//! The doctor on a running host and on a directory, and its exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

/// Exit code, the codes of the findings and everything that was said.
fn doctor(scene: &Scene) -> (i32, Vec<String>, String) {
    let output = Command::new(scene.host.binary())
        .args(["doctor", "--json", "--data-dir", scene.host.data().path().to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(&said).unwrap_or_default();
    let codes = found["findings"].as_array().into_iter().flatten();
    let codes =
        codes.map(|finding| format!("{} {}", finding["code"].as_str().unwrap(), finding["place"].as_str().unwrap()));
    (output.status.code().unwrap(), codes.collect(), said + &String::from_utf8_lossy(&output.stderr))
}

/// Findings that depend on the machine the test runs on.
fn without_machine(codes: Vec<String>) -> Vec<String> {
    let is_machine = |code: &String| ["disk-low", "open-files"].iter().any(|word| code.starts_with(word));
    codes.into_iter().filter(|code| !is_machine(code)).collect()
}

#[test]
fn the_doctor_tells_what_is_wrong_with_a_host_and_with_a_directory() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, _calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    scene.store("orders", [event("a", "t", &json!({}))]);
    scene.settled("hook");
    let (_, codes, said) = doctor(&scene);
    assert_eq!(without_machine(codes), [""; 0], "{said}");
    assert!(said.contains("1 of 1 subscriptions are in order") && said.contains("\"is_running\": true"), "{said}");

    scene.host.cli(&["subscription", "pause", "hook", "--reason", "lunch"]).unwrap();
    let (code, codes, said) = doctor(&scene);
    assert!(code >= 1 && said.contains("lunch") && said.contains("bugle subscription resume hook"), "{said}");
    assert_eq!(without_machine(codes), ["paused hook"]);
    let token = scene.host.data().token();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    // A token that others can read is used for nothing.
    let (code, _, said) = doctor(&scene);
    assert!(code == 2 && said.contains("chmod 600"), "{said}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();

    // Without a host, what is on disk is told, and nothing is changed by that.
    scene.host.kill().unwrap();
    let (_, codes, said) = doctor(&scene);
    assert_eq!(without_machine(codes), [""; 0], "{said}");
    assert!(said.contains("\"is_running\": false") && said.contains("recovers to sequence"), "{said}");
    let mark = scene.host.data().store().join("mark");
    let good = fs::read(&mark).unwrap();
    fs::write(&mark, vec![0; good.len()]).unwrap();
    let (code, codes, said) = doctor(&scene);
    assert_eq!(code, 2, "{said}");
    assert!(without_machine(codes)[0].starts_with("store ") && said.contains("commit mark"), "{said}");
    fs::write(&mark, good).unwrap();
    fs::create_dir(scene.host.data().store().join("damaged-wal-1")).unwrap();
    let (_, codes, _) = doctor(&scene);
    assert!(without_machine(codes)[0].starts_with("damaged-log "));
    scene.host.restart().unwrap();
    eventually("the host to serve again", PATIENCE, || scene.host.cli(&["status"]).ok());

    let nowhere = Command::new(scene.host.binary()).args(["doctor", "--data-dir", "/not/there"]).output().unwrap();
    let told = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert_eq!(nowhere.status.code(), Some(2), "{told}");
    assert!(told.contains("there is no data directory"), "{told}");
}
