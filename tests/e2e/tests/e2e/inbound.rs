//! Providers call back: records move and never go back, over kills; strangers, forgers and broken plugins change nothing.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bugle_harness::{Settings, eventually};
use serde_json::{Value, json};

use crate::independent::python;
use crate::scene::{PATIENCE, SECRET, Scene, event};

/// The secret of callbacks.
pub(crate) const CALLBACK: &str = "whsec_Y2FsbGJhY2tzLW9mLXRoZS1yZWNlaXZlcg==";
/// No answer takes longer, even on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn scene() -> Scene {
    Scene::with(Settings { config: "[inbound]\nlisten = \"127.0.0.1:0\"\n".to_owned(), ..Settings::default() })
}

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// One request on a connection of its own, byte for byte; no answer if the connection breaks.
fn send(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
    // It may be answered before all of it is written.
    drop(stream.write_all(request));
    let mut text = Vec::new();
    drop(stream.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: hooks.example\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    send(address, &request("POST", path, headers, body.as_bytes()))
}

/// A callback to the probe.
fn tell(address: SocketAddr, body: &Value) -> Option<Answer> {
    post(address, "/inbound/sms", &[("x-key", "good")], &body.to_string())
}

fn changed(reference: &str, status: &str) -> Value {
    json!({ "changes": [[reference, status]] })
}

/// Signed as Standard Webhooks by Python's own hmac: the headers.
fn signed(secret: &str, body: &str) -> Vec<(&'static str, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let program = "import base64, hmac, sys\n\
                   key = base64.b64decode(sys.argv[1][6:])\n\
                   print(base64.b64encode(hmac.digest(key, sys.argv[2].encode(), 'sha256')).decode(), end='')";
    let content = format!("c-1.{now}.{body}");
    let output = Command::new(python()).args(["-c", program, secret, &content]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let signature = format!("v1,{}", String::from_utf8(output.stdout).unwrap());
    vec![("webhook-id", "c-1".to_owned()), ("webhook-timestamp", now.to_string()), ("webhook-signature", signature)]
}

pub(crate) fn post_signed(address: SocketAddr, name: &str, secret: &str, body: &str) -> Option<Answer> {
    let headers = signed(secret, body);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(address, &format!("/inbound/{name}"), &headers, body)
}

pub(crate) fn webhook(url: &str, more: &str) -> String {
    format!(
        "topics = [\"orders\"]\nplugin = \"webhook\"\ninbound = true\nretry = {{ first_backoff = \"100ms\", backoff_max = \"500ms\" }}\n{more}\n\
         config = {{ url = \"{url}\" }}\n\
         grants = {{ egress = [\"{url}\"], secrets = {{ signing = {{ value = \"{SECRET}\" }}, callback = {{ value = \"{CALLBACK}\" }} }} }}\n"
    )
}

pub(crate) fn records(scene: &Scene, query: &str) -> Vec<Value> {
    scene.get(&format!("/v1/records?{query}")).as_array().unwrap().clone()
}

/// Status by reference.
fn statuses(scene: &Scene) -> BTreeMap<String, String> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = records(scene, "recipient=someone");
    rows.iter().map(|row| (text(row, "provider_reference"), text(row, "status"))).collect()
}

/// A receiver that takes every event, and has `call_back` do something with its `webhook-id` before it answers.
pub(crate) fn receiver(call_back: impl Fn(String) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_owned());
            }
            let value = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let length = value("content-length:").and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            drop(reader.read_exact(&mut body));
            if let Some(id) = value("webhook-id:") {
                call_back(id.to_owned());
            }
            drop((&stream).write_all(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n"));
        }
    });
    address
}

#[test]
fn a_signed_callback_moves_the_record_for_good_and_a_forged_one_does_not() {
    let mut scene = scene();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let url = format!("http://{}", receiver(drop));
    scene.apply("print", &webhook(&url, "settled_events = true"));
    scene.store("orders", [event("e-1", "order.paid", &json!({}))]);
    scene.settled("print");
    let [record] = &records(&scene, "event=e-1")[..] else { panic!("one record") };
    assert_eq!((&record["status"], &record["provider"]), (&json!("sent"), &json!("webhook")));
    let reference = record["provider_reference"].as_str().unwrap().to_owned();
    let body = |status: &str| json!({ "id": reference, "status": status, "detail": "printed" }).to_string();
    let address = scene.host.inbound().unwrap();

    for forged in [
        post(address, "/inbound/print", &[], &body("bounced")),
        post_signed(address, "print", "whsec_c29tZWJvZHkgZWxzZQ==", &body("bounced")),
        // What the host itself signed on the way out is no callback.
        post_signed(address, "print", SECRET, &body("bounced")),
    ] {
        let forged = forged.unwrap();
        assert_eq!((forged.status, &forged.json()["code"]), (400, &json!("invalid")), "{forged:?}");
        assert!(!forged.body.contains("signature"), "strangers are not told why: {forged:?}");
    }
    assert_eq!(records(&scene, "event=e-1")[0]["status"], json!("sent"));

    let taken = post_signed(address, "print", CALLBACK, &body("delivered")).unwrap();
    assert_eq!((taken.status, taken.json()), (200, json!({ "moved": 1, "same": 0 })), "{taken:?}");
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    let address = scene.host.inbound().unwrap();
    let record = records(&scene, &format!("provider_ref={reference}")).remove(0);
    assert_eq!((&record["status"], &record["detail"]), (&json!("delivered"), &json!("callback: printed")));
    for (status, moved, now) in [("delivered", 0, "delivered"), ("bounced", 1, "bounced"), ("delivered", 0, "bounced")]
    {
        let taken = post_signed(address, "print", CALLBACK, &body(status)).unwrap();
        assert_eq!((taken.status, &taken.json()["moved"]), (200, &json!(moved)), "{status}: {taken:?}");
        let shown = scene.host.cli(&["record", "find", "--provider-ref", &reference]).unwrap();
        assert!(shown.contains(now), "{shown}");
    }
    let page = scene.get("/v1/topics/bugle.settled/events?from=earliest&limit=1000");
    let events = page["events"].as_array().unwrap().iter().map(|event| event["event"].clone());
    let told: Vec<(Value, Value)> =
        events.map(|event| (event["outcome"].clone(), event["eventrecipient"].clone())).collect();
    let recipient = json!(url);
    let expected = [("sent", Value::Null), ("delivered", recipient.clone()), ("bounced", recipient)];
    assert_eq!(told, expected.map(|(outcome, recipient)| (json!(outcome), recipient)), "each told once");
    let log = scene.host.log_text();
    assert!(log.contains("a callback was not accepted") && log.contains("no signature of it is right"), "{log}");
    assert!(!log.contains(&reference), "what strangers send is not logged");
}

#[test]
fn a_callback_before_the_note_of_its_send_waits_for_it() {
    let scene = scene();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let address = scene.host.inbound().unwrap();
    let (answers, answered) = mpsc::channel();
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    let provider = receiver(move |id| {
        let (answers, calls) = (answers.clone(), Arc::clone(&calls));
        let (begun, has_begun) = mpsc::channel();
        std::thread::spawn(move || {
            let body = json!({ "id": id, "status": "delivered" }).to_string();
            begun.send(()).unwrap();
            // As providers do: again, until it is taken.
            loop {
                calls.fetch_add(1, Ordering::Relaxed);
                let answer = post_signed(address, "print", CALLBACK, &body).unwrap();
                if answer.status != 503 {
                    break answers.send(answer).unwrap();
                }
            }
        });
        has_begun.recv().unwrap();
    });
    scene.apply("print", &webhook(&format!("http://{provider}"), ""));
    scene.store("orders", (0..5).map(|n| event(&format!("e-{n}"), "order.paid", &json!({}))));
    for _ in 0..5 {
        let answer = answered.recv_timeout(ANSWER_WITHIN).unwrap();
        assert_eq!((answer.status, &answer.json()["moved"]), (200, &json!(1)), "{answer:?}");
    }
    scene.settled("print");
    let all = records(&scene, &format!("recipient=http://{provider}"));
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|row| row["status"] == json!("delivered")), "the note did not take it back: {all:?}");
    assert!(called.load(Ordering::Relaxed) < 5 * 60, "they waited, and did not hurry");
}

fn sms(scene: &Scene, count: usize) {
    scene.probe("sms", "inbound = true");
    let note = |n| event(&format!("e-{n}"), "records", &json!({ "reference": format!("r-{n}"), "status": "sent" }));
    scene.store("sms", (0..count).map(note));
    scene.settled("sms");
}

#[test]
fn what_was_answered_is_kept_over_kills_and_nothing_goes_back() {
    const SENDS: usize = 40;
    let mut scene = scene();
    sms(&scene, SENDS);
    // Every other one bounces after all; `delivered` comes twice, and once too late.
    let told =
        |n: usize| if n.is_multiple_of(2) { vec!["delivered", "bounced", "delivered"] } else { vec!["delivered"; 2] };
    let taken = Arc::new(Mutex::new(BTreeMap::new()));
    for round in 0..3 {
        let address = scene.host.inbound().unwrap();
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || {
                    for n in (caller..SENDS).step_by(4) {
                        for status in told(n) {
                            let reference = format!("r-{n}");
                            let Some(answer) = tell(address, &changed(&reference, status)) else { return };
                            assert_eq!(answer.status, 200, "{answer:?}");
                            let rank = if status == "bounced" { 2 } else { 1 };
                            let mut taken = taken.lock().unwrap();
                            let known = taken.entry(reference).or_insert(0);
                            *known = rank.max(*known);
                        }
                    }
                })
            })
            .collect();
        if round < 2 {
            let so_far = 5 + 15 * round;
            eventually("some to be taken", PATIENCE, || (taken.lock().unwrap().len() >= so_far).then_some(()));
            scene.host.kill().unwrap();
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        if round < 2 {
            scene.host.restart().unwrap();
        }
        let now = statuses(&scene);
        for (reference, rank) in taken.lock().unwrap().iter() {
            let has = match now[reference].as_str() {
                "bounced" => 2,
                "delivered" => 1,
                _ => 0,
            };
            assert!(has >= *rank, "{reference} is {}, and {rank} was answered", now[reference]);
        }
    }
    let now = statuses(&scene);
    for n in 0..SENDS {
        let expected = if n.is_multiple_of(2) { "bounced" } else { "delivered" };
        assert_eq!(now[&format!("r-{n}")], expected);
    }
    assert_eq!(scene.subscription("sms")["status"]["dead"], json!(0));
}

#[test]
fn strangers_get_nothing_but_what_is_meant_for_them() {
    let scene = scene();
    sms(&scene, 2);
    scene.topic("quiet");
    scene.apply("quiet", "topics = [\"quiet\"]\nplugin = \"probe\"");
    let address = scene.host.inbound().unwrap();
    let key = [("x-key", "good")];
    let unknown = tell(address, &json!({ "changes": [["r-0", "delivered"], ["nobody", "delivered"]] })).unwrap();
    assert_eq!((unknown.status, &unknown.json()["code"]), (503, &json!("unavailable")), "{unknown:?}");
    assert!(unknown.head.contains("retry-after: 30"), "{unknown:?}");
    assert_eq!(statuses(&scene)["r-0"], "delivered", "what is known counts");
    let other = json!({ "changes": [["r-1", "delivered", "somebody else"]] });
    assert_eq!(tell(address, &other).unwrap().status, 503, "the recipient is another");
    assert_eq!(statuses(&scene)["r-1"], "sent");

    // The rest of the host is not here, and who does not take callbacks looks like who does not exist.
    for path in [
        "/",
        "/health",
        "/metrics",
        "/v1/status",
        "/inbound",
        "/inbound/",
        "/inbound/quiet",
        "/inbound/none",
        "/inbound/..%2fv1",
    ] {
        let answer = post(address, path, &key, "{}").unwrap();
        assert_eq!((answer.status, answer.json()["message"].as_str()), (404, Some("nothing is here")), "{path}");
    }
    let deleted = send(address, &request("DELETE", "/inbound/sms", &key, b"")).unwrap();
    assert!(deleted.status == 405 && deleted.head.contains("allow: get, post, put"), "{deleted:?}");
    let shown = send(address, &request("GET", "/inbound/sms/a/b?x=%20", &[("x-key", "good")], b"")).unwrap();
    assert_eq!(shown.status, 200, "a callback may be a GET, and its path go on");

    let many: Vec<(String, &str)> = (0..65).map(|n| (format!("x-{n}"), "v")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(post(address, "/inbound/sms", &many, "{}").unwrap().status, 431);
    assert_eq!(post(address, "/inbound/sms", &[("x-long", &"v".repeat(40 << 10))], "{}").unwrap().status, 431);
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(post(address, "/inbound/sms", &key, &large).unwrap().status, 413);
    let chunked = format!(
        "POST /inbound/sms HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n100001\r\n{large}\r\n0\r\n\r\n"
    );
    assert_eq!(send(address, chunked.as_bytes()).unwrap().status, 413);
    assert_eq!(send(address, b"not http\r\n\r\n").unwrap().status, 400);
    // One that says nothing is let go; the others are served meanwhile.
    let silent = TcpStream::connect(address).unwrap();
    assert_eq!(tell(address, &changed("r-1", "delivered")).unwrap().status, 200);
    silent.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
    drop((&silent).write_all(b"POST /inbound/sms HTTP/1.1\r\n"));
    let mut rest = Vec::new();
    drop((&silent).read_to_end(&mut rest));
    assert!(!String::from_utf8_lossy(&rest).contains("200"), "it was cut off: {rest:?}");

    let metrics = scene.admin().text("/metrics").unwrap();
    assert!(metrics.contains("bugle_callbacks_total{subscription=\"sms\",result=\"unknown\"} 2"), "{metrics}");
    assert!(metrics.contains("bugle_callbacks_to_nobody_total 4"), "{metrics}");
}

#[test]
fn a_plugin_that_breaks_on_a_callback_costs_no_delivery() {
    let scene = scene();
    sms(&scene, 1);
    let address = scene.host.inbound().unwrap();
    let before = scene.subscription("sms")["status"].clone();
    for broken in [
        json!({ "do": "trap" }),
        json!({ "do": "spin" }),
        json!({ "do": "sleep" }),
        json!({ "do": "flood" }),
        changed("r-0", "arrived"),
        changed("", "delivered"),
        changed(&"r".repeat(1025), "delivered"),
    ] {
        let answer = tell(address, &broken).unwrap();
        assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("unavailable")), "{broken}: {answer:?}");
    }
    let ticket = tell(address, &json!({ "do": "ticket" })).unwrap();
    assert_eq!(ticket.status, 400, "there is no delivery");
    assert!(scene.host.log_text().contains("stale"), "{}", scene.host.log_text());
    assert_eq!(statuses(&scene)["r-0"], "sent");
    let after = scene.subscription("sms");
    for name in ["attempts", "delivered", "retried", "dead", "next_attempt", "channel"] {
        assert_eq!(after["status"][name], before[name], "{name}");
    }
    assert_eq!(after["state"], json!("running"));
    let metrics = scene.admin().text("/metrics").unwrap();
    assert!(metrics.contains("bugle_callbacks_total{subscription=\"sms\",result=\"broke\"} 7"), "{metrics}");
    scene.store("sms", [event("more", "ok", &json!({}))]);
    scene.settled("sms");
    assert_eq!(tell(address, &changed("r-0", "delivered")).unwrap().status, 200);
}

#[test]
fn who_cannot_be_called_back_is_refused() {
    let scene = scene();
    sms(&scene, 0);
    scene.deploy("noop", &bugle_guests::noop());
    let told = scene.try_apply("deaf", "topics = [\"sms\"]\nplugin = \"noop\"\ninbound = true", &[]).unwrap_err();
    assert!(told.contains("exports `inbound`, and `noop` does not") && told.contains("[invalid]"), "{told}");
    let noop = bugle_guests::noop();
    let told = scene.host.cli(&["plugin", "deploy", "probe", noop.to_str().unwrap()]).unwrap_err().to_string();
    assert!(told.contains("subscription `sms`") && told.contains("inbound"), "{told}");
    let none = Scene::new();
    assert_eq!(none.host.inbound(), None, "no listener unless the config says so");
}
