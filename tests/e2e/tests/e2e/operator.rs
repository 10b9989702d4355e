//! Bad input from operators: config, data directory, token, components, definitions. Each is told with a code and what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use bugle_harness::AdminError;
use serde_json::Value;

use crate::scene::{Scene, binary};

/// Runs the program and gives what it said when it failed.
fn failure(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_typing_mistake_in_the_config_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bugle.toml");
    std::fs::write(&file, "[quic]\nlisten = \"127.0.0.1:0\"\n\n[storage]\ntail_rnig = \"64MiB\"\n").unwrap();
    let told = failure(&["serve", "--config", file.to_str().unwrap()]);
    assert!(told.contains("bugle.toml:5") && told.contains("tail_rnig") && told.contains("`tail_ring`"), "{told}");
    std::fs::write(&file, "[admin]\nlisten = \"0.0.0.0:0\"\n").unwrap();
    let told = failure(&["serve", "--config", file.to_str().unwrap()]);
    assert!(told.contains("loopback"), "{told}");
}

#[test]
fn a_second_host_is_told_who_has_the_data_directory() {
    let scene = Scene::new();
    let data = scene.host.data();
    let told = failure(&["serve", "--data-dir", data.path().to_str().unwrap()]);
    assert!(told.contains(&format!("in use by process {}", scene.host.pid())), "{told}");
    scene.get("/v1/status");
}

fn ask(scene: &Scene, request: &str) -> String {
    let address = scene.host.data().find().unwrap().admin;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn nobody_gets_in_without_the_token_or_under_a_foreign_name() {
    let scene = Scene::new();
    for authorization in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n"] {
        let request = format!("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n{authorization}Connection: close\r\n\r\n");
        let answer = ask(&scene, &request);
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\"unauthenticated\""), "{answer}");
    }
    let token = std::fs::read_to_string(scene.host.data().token()).unwrap();
    let token = token.trim();
    let request = format!(
        "GET /v1/status HTTP/1.1\r\nHost: rebound.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(&scene, &request);
    assert!(answer.contains("\"denied\""), "{answer}");
    let answer = ask(&scene, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(scene.host.data().token()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn deploy(scene: &Scene, component: &PathBuf) -> AdminError {
    let bytes = std::fs::read(component).unwrap();
    let answer: Result<Value, AdminError> = scene.admin().put_bytes("/v1/plugins/bad", &bytes).unwrap();
    answer.unwrap_err()
}

#[test]
fn components_that_cannot_run_are_refused_and_nothing_of_them_stays() {
    let scene = Scene::new();
    let bad = [
        (bugle_guests::not_wasm(), ""),
        (bugle_guests::truncated(), ""),
        (bugle_guests::core_module(), "component"),
        (bugle_guests::no_exports(), ""),
        (bugle_guests::wrong_handler(), ""),
        (bugle_guests::unknown_import(), "evil:thing/door"),
        (bugle_guests::small_unknown_import(), ""),
        (bugle_guests::small_start_trap(), ""),
        (bugle_guests::many_memories(), ""),
    ];
    for (component, word) in bad {
        let refusal = deploy(&scene, &component);
        println!("{}: {} {}", component.display(), refusal.code, refusal.message);
        assert_eq!((refusal.status, refusal.code.as_str()), (400, "invalid"), "{}", component.display());
        assert!(refusal.message.contains(word), "{}: {}", component.display(), refusal.message);
    }
    assert_eq!(scene.get("/v1/plugins"), serde_json::json!([]));
    scene.deploy("webhook", &bugle_guests::webhook());
}

#[test]
fn a_plugin_that_fails_its_trial_gets_no_subscription() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("probe", &bugle_guests::probe());
    let with = |check: &str| {
        let definition = format!("topics = [\"orders\"]\nplugin = \"probe\"\nconfig = {{ check = \"{check}\" }}");
        scene.try_apply("tried", &definition, &[]).unwrap_err()
    };
    assert!(with("fail").contains("the config says fail"));
    let told = with("trap");
    assert!(told.contains("check"), "{told}");
    let told = with("spin");
    assert!(told.contains("check"), "{told}");
    let told = with("other");
    assert!(told.contains("`other` is none of"), "{told}");
    assert_eq!(scene.get("/v1/subscriptions"), serde_json::json!([]));
}

#[test]
fn a_plugin_that_traps_while_it_starts_is_stopped_at_the_trial() {
    let scene = Scene::new();
    scene.topic("orders");
    let bytes = std::fs::read(bugle_guests::start_trap()).unwrap();
    let deployed: Result<Value, AdminError> = scene.admin().put_bytes("/v1/plugins/trap", &bytes).unwrap();
    let told = match deployed {
        Err(refusal) => refusal.message,
        Ok(_) => scene.try_apply("tried", "topics = [\"orders\"]\nplugin = \"trap\"", &[]).unwrap_err(),
    };
    assert!(told.contains("start"), "{told}");
    assert_eq!(scene.get("/v1/subscriptions"), serde_json::json!([]));
}

#[test]
fn definitions_that_cannot_work_are_refused_with_the_line_to_mend() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let told = |definition: &str| scene.try_apply("bad", definition, &[]).unwrap_err();
    let text =
        told("topics = [\"oders\"]\nplugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:1/\", sign = false }");
    assert!(text.contains("unknown-topic") && text.contains("bugle topic create oders"), "{text}");
    let text = told("topics = [\"orders\"]\nplugin = \"webhok\"");
    assert!(text.contains("webhok"), "{text}");
    let text = told("topics = [\"orders\"]\nplugin = \"webhook\"\nconcurency = 3");
    assert!(text.contains("concurency") && text.contains("`concurrency`"), "{text}");
    let text = told("topics = [\"orders\"]\nplugin = \"webhook\"\nconfig = { sign = false }");
    assert!(text.contains("url"), "{text}");
    let text = told("topics = [\"orders\"]\nplugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:1/\" }");
    assert!(text.contains("signing"), "{text}");
    assert_eq!(scene.get("/v1/subscriptions"), serde_json::json!([]));
}
