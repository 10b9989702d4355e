//! The policy `ask` before a provider that drops answers, loses requests, holds them while the host is killed, or cannot be asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use bugle_harness::eventually;
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, event, webhook};

/// What happens to the first message under each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum First {
    /// Taken and answered.
    #[default]
    Taken,
    /// Taken, and the connection breaks before the answer.
    AnswerLost,
    /// Lost on the way in: the connection breaks and nothing was taken.
    RequestLost,
    /// Taken, and never answered.
    Held,
}

#[derive(Debug, Default)]
pub(crate) struct Inside {
    first: First,
    /// Whether it says what it has.
    is_mute: bool,
    /// Messages taken, by idempotency key, and requests to send.
    pub(crate) taken: BTreeMap<String, u32>,
    requests: BTreeMap<String, u32>,
    pub(crate) questions: u32,
}

/// Takes `POST /send` and tells of it under `GET /sent/KEY`.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Provider {
    pub(crate) fn start(first: First) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside { first, ..Inside::default() }));
        let shared = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Provider { address, inside }
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// How often each message was taken, without the keys.
    pub(crate) fn taken(&self) -> Vec<u32> {
        self.inside().taken.values().copied().collect()
    }

    pub(crate) fn requests(&self) -> Vec<u32> {
        self.inside().requests.values().copied().collect()
    }
}

/// One request per connection.
fn serve(stream: &TcpStream, shared: &Mutex<Inside>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    let value = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let mut body = vec![0; value("content-length:").parse().unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let path = head[0].split(' ').nth(1).unwrap_or_default();
    let status = match path.strip_prefix("/sent/") {
        Some(key) => question(shared, key),
        None => send(shared, value("idempotency-key:")),
    };
    match status {
        Some(0) => drop(reader.read(&mut [0])),
        Some(status) => {
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            drop((&*stream).write_all(answer.as_bytes()));
        }
        None => {}
    }
}

fn question(shared: &Mutex<Inside>, key: &str) -> Option<u16> {
    let mut inside = shared.lock().unwrap();
    inside.questions += 1;
    let has = inside.taken.contains_key(key);
    Some(if inside.is_mute {
        503
    } else if has {
        200
    } else {
        404
    })
}

/// The status; none to break off, 0 to hold until the other side is gone.
fn send(shared: &Mutex<Inside>, key: &str) -> Option<u16> {
    let mut inside = shared.lock().unwrap();
    let requests = inside.requests.entry(key.to_owned()).or_default();
    *requests += 1;
    let how = if *requests == 1 { inside.first } else { First::Taken };
    if how != First::RequestLost {
        *inside.taken.entry(key.to_owned()).or_default() += 1;
    }
    match how {
        First::Taken => Some(200),
        First::AnswerLost | First::RequestLost => None,
        First::Held => Some(0),
    }
}

fn sms(provider: &Provider, attempts: u32) -> Scene {
    let scene = Scene::new();
    let origin = format!("http://{}", provider.address);
    let more = format!(
        "uncertain = \"ask\"\nretry = {{ attempts_max = {attempts}, first_backoff = \"20ms\", backoff_max = \"100ms\" }}\n\
         config = {{ url = \"{origin}\" }}\ngrants = {{ egress = [\"{origin}\"], kv = true }}"
    );
    scene.probe("sms", &more);
    scene
}

fn message(id: &str, ask: &str) -> bugle_client::Event {
    event(id, "once-post", &json!({ "url": "/send", "ask": ask }))
}

fn messages(count: u32) -> Vec<bugle_client::Event> {
    (0..count).map(|n| message(&format!("m-{n}"), "provider")).collect()
}

fn unknown(scene: &Scene) -> Vec<Value> {
    let answer = scene.host.cli(&["unknown", "list", "sms", "--state", "open", "--json"]).unwrap();
    serde_json::from_str::<Value>(&answer).unwrap().as_array().unwrap().clone()
}

#[test]
fn what_the_provider_has_is_not_sent_again_and_what_it_has_not_is() {
    for (first, requests) in [(First::AnswerLost, 1), (First::RequestLost, 2)] {
        let provider = Provider::start(first);
        let scene = sms(&provider, 5);
        scene.store("sms", messages(8));
        scene.settled("sms");
        assert_eq!((provider.taken(), provider.requests()), (vec![1; 8], vec![requests; 8]), "{first:?}");
        assert_eq!(provider.inside().questions, 8, "one question each");
        assert!(unknown(&scene).is_empty());
        assert_eq!(scene.get("/v1/dead?subscription=sms"), json!([]));
    }
}

#[test]
fn what_was_under_way_at_a_kill_is_asked_about_after_it() {
    let provider = Provider::start(First::Held);
    let mut scene = sms(&provider, 5);
    scene.store("sms", messages(6));
    eventually("all to be under way", PATIENCE, || (provider.taken().len() == 6).then_some(()));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.settled("sms");
    assert_eq!((provider.taken(), provider.requests()), (vec![1; 6], vec![1; 6]), "nothing went out twice");
    assert_eq!(provider.inside().questions, 6);
    assert!(unknown(&scene).is_empty());
}

#[test]
fn what_nobody_can_tell_is_for_a_person_after_the_last_attempt() {
    let provider = Provider::start(First::AnswerLost);
    provider.inside().is_mute = true;
    let mut scene = sms(&provider, 3);
    let position = scene.store("sms", messages(1)).remove(0);
    let parked = eventually("it to be parked", PATIENCE, || unknown(&scene).pop());
    assert_eq!((&parked["attempts"], provider.inside().questions), (&json!(3), 2), "{parked}");
    assert!(parked["reference"].as_str().unwrap().contains("503"), "{parked}");
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    assert_eq!(unknown(&scene).len(), 1);
    provider.inside().is_mute = false;
    // Who has a copy sent knows better than the provider: it is not asked again.
    scene.host.cli(&["unknown", "resolve", "sms", &position, "--as", "retry"]).unwrap();
    scene.settled("sms");
    eventually("the copy to arrive", PATIENCE, || (provider.taken() == [2]).then_some(()));
    assert_eq!((provider.requests(), provider.inside().questions), (vec![2], 2));
}

#[test]
fn a_plugin_that_breaks_while_it_is_asked_sends_nothing() {
    let provider = Provider::start(First::AnswerLost);
    let scene = sms(&provider, 2);
    let hostile = ["trap", "spin", "kv", "claim", "unclear"];
    scene.store("sms", hostile.map(|ask| message(ask, ask)));
    scene.store("sms", [message("huge", "huge")]);
    let parked = eventually("all to be parked", PATIENCE, || {
        let parked = unknown(&scene);
        (parked.len() == hostile.len()).then_some(parked)
    });
    scene.settled("sms");
    assert_eq!(provider.requests(), vec![1; 6], "nothing went out twice");
    let why = |ask: &str| {
        let row = parked.iter().find(|row| row["event"]["event"]["id"] == json!(ask)).unwrap();
        row["reference"].as_str().unwrap().to_owned()
    };
    for (ask, word) in [
        ("trap", "asked to trap"),
        ("spin", "CPU"),
        ("kv", "only asks"),
        ("claim", "only asks"),
        ("unclear", "not know"),
    ] {
        assert!(why(ask).contains(word), "{ask}: {}", why(ask));
    }
}

#[test]
fn who_cannot_be_asked_is_refused() {
    let provider = Provider::start(First::Taken);
    let scene = sms(&provider, 3);
    scene.deploy("webhook", &bugle_guests::webhook());
    scene.topic("orders");
    let (receiver, _) = scene.receiver("calls.jsonl", &[("hook", bugle_receivers::Script::default())]);
    let told = scene.try_apply("hook", &webhook("hook", "orders", &receiver, "uncertain = \"ask\""), &[]).unwrap_err();
    assert!(told.contains("exports `reconcile`, and `webhook` does not") && told.contains("[invalid]"), "{told}");
    let noop = bugle_guests::noop();
    let told = scene.host.cli(&["plugin", "deploy", "probe", noop.to_str().unwrap()]).unwrap_err().to_string();
    assert!(told.contains("subscription `sms`") && told.contains("reconcile"), "{told}");
    scene.store("sms", messages(1));
    scene.settled("sms");
    assert_eq!(provider.taken(), [1], "the revision before runs on");
}
