//! The program as scripts use it: exit code, report for people, report as JSON.
//!
//! It does not repeat the rules; each has its tests beside it.
//!
//! Invariant: a clean and a spoiled history differ in the exit code, whatever else is printed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::{Command, Output};

const GOOD: &str = r#"
{"kind":"subscription","subscription":"mail","topics":["orders"],"ordered":true}
{"kind":"intent","at_us":1,"producer":"shop","seq":1,"try":1,"topic":"orders","source":"/shop","id":"a1","type":"order.paid","key":"A","digest":"d1"}
{"kind":"result","at_us":2,"source":"/shop","id":"a1","try":1,"outcome":{"confirmed":{"position":"0-1","duplicate":false}}}
{"kind":"intent","at_us":3,"producer":"shop","seq":2,"try":1,"topic":"none","source":"/shop","id":"a2","digest":"d2"}
{"kind":"result","at_us":4,"source":"/shop","id":"a2","try":1,"outcome":{"refused":{"code":"unknown-topic"}}}
{"kind":"call","at_us":10,"done_us":11,"subscription":"mail","source":"/shop","id":"a1","idempotency_key":"k1","answer":"refused"}
{"kind":"call","at_us":20,"done_us":21,"subscription":"mail","source":"/shop","id":"a1","idempotency_key":"k1","answer":"accepted"}
{"kind":"kill","from_us":30,"until_us":31}
{"kind":"log","position":"0-1","topic":"orders","source":"/shop","id":"a1","type":"order.paid","key":"A","digest":"d1"}
{"kind":"state","subscription":"mail","position":"0-1","state":"acked"}
{"kind":"scan-end","events":1,"states":1}
"#;

fn run(name: &str, lines: &str, flags: &[&str]) -> Output {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.jsonl"));
    std::fs::write(&file, lines).unwrap();
    Command::new(env!("CARGO_BIN_EXE_bugle-checker")).args(flags).arg(file).output().unwrap()
}

#[test]
fn clean_history_exits_with_zero() {
    let output = run("clean", GOOD, &["--all-settled"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("confirmed 1, refused 1"), "{text}");
    assert!(text.ends_with("0 violations\n"), "{text}");
}

#[test]
fn broken_promise_is_named_and_exits_with_one() {
    let output = run("broken", &GOOD.replace("0-1\",\"topic", "0-2\",\"topic"), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<&str> =
        report["violations"].as_array().unwrap().iter().map(|found| found["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["moved", "no-state", "stray-state"]);
    assert_eq!(report["violations"][0]["promise"], "G1");
}

#[test]
fn unusable_files_and_flags_exit_with_two() {
    assert_eq!(run("flag", GOOD, &["--everything"]).status.code(), Some(2));
    let missing = Command::new(env!("CARGO_BIN_EXE_bugle-checker")).arg("none.jsonl").output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("`none.jsonl`"));
}

#[test]
fn empty_history_is_not_a_clean_one() {
    assert_eq!(run("empty", "", &[]).status.code(), Some(1));
}
