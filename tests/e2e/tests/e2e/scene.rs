//! A host with the tools around it that every test needs: runtime, receiver, command line, client.
//!
//! Knows no particular test. Invariant: everything a scene started ends with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bugle_client::{Client, Event, Outcome};
use bugle_harness::{Admin, AdminError, Host, Settings, eventually};
use bugle_receivers::http::{HttpReceiver, Route};
use bugle_receivers::producer::Counts;
use bugle_receivers::{Journal, Producer, Script};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Long enough for a machine that runs other tests beside; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A signing secret of the right form.
pub(crate) const SECRET: &str = "whsec_YnVnbGUtZW5kLXRvLWVuZC10ZXN0LWtleQ==";

pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) runtime: Runtime,
    /// Logs of receivers and producers.
    pub(crate) logs: tempfile::TempDir,
}

pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bugle-test-host"))
}

impl Scene {
    pub(crate) fn new() -> Scene {
        Scene::with(Settings::default())
    }

    pub(crate) fn with(mut settings: Settings) -> Scene {
        settings.config.push_str("\n[log]\nfilter = \"warn\"\n");
        let host = Host::start(&binary(), settings).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Scene { host, runtime, logs: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn admin(&self) -> Admin {
        self.host.admin()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer: Result<Value, AdminError> = self.admin().get(path).unwrap();
        answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    pub(crate) fn topic(&self, name: &str) {
        self.host.cli(&["topic", "create", name]).unwrap();
    }

    pub(crate) fn deploy(&self, plugin: &str, component: &Path) {
        self.host.cli(&["plugin", "deploy", plugin, component.to_str().unwrap()]).unwrap();
    }

    /// Applies a definition through the command line, as a person would; the answer, or what was said instead.
    pub(crate) fn try_apply(&self, name: &str, definition: &str, flags: &[&str]) -> Result<Value, String> {
        let file = self.host.directory().join(format!("{name}.toml"));
        std::fs::write(&file, format!("name = \"{name}\"\n{definition}\n")).unwrap();
        let arguments = [&["subscription", "apply", "--json", file.to_str().unwrap()], flags].concat();
        let answer = self.host.cli(&arguments).map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&answer).unwrap())
    }

    pub(crate) fn apply(&self, name: &str, definition: &str) -> Value {
        self.try_apply(name, definition, &[]).unwrap()
    }

    /// The probe on a topic of its own.
    pub(crate) fn probe(&self, name: &str, more: &str) {
        self.topic(name);
        self.deploy("probe", &bugle_guests::probe());
        self.apply(name, &format!("topics = [\"{name}\"]\nplugin = \"probe\"\n{more}"));
    }

    /// A receiver whose paths are `/NAME` for each named subscription.
    pub(crate) fn receiver(&self, log: &str, routes: &[(&str, Script)]) -> (HttpReceiver, Journal) {
        let _inside = self.runtime.enter();
        let journal = Journal::create(self.logs.path(), log).unwrap();
        let route = |(name, script): &(&str, Script)| Route {
            path: format!("/{name}"),
            subscription: (*name).to_owned(),
            script: script.clone(),
        };
        let routes = routes.iter().map(route).collect();
        (HttpReceiver::start(Some(journal.clone()), routes).unwrap(), journal)
    }

    pub(crate) fn client(&self, producer: &str) -> Client {
        let (address, fingerprint) = self.host.quic();
        let builder = Client::builder(&address.to_string()).producer(producer).server_fingerprint(&fingerprint);
        self.runtime.block_on(builder.publish_timeout(2 * PATIENCE).connect()).unwrap()
    }

    /// A producer that writes everything down.
    pub(crate) fn producer(&self, name: &str, journal: &Journal) -> Producer {
        let client = self.client(name);
        let _inside = self.runtime.enter();
        Producer::new(client, name, journal.clone())
    }

    /// Awaits every result of the producers.
    pub(crate) fn finish(&self, producers: Vec<JoinHandle<Counts>>) -> Counts {
        let mut all = Counts::default();
        for producer in producers {
            let counts = self.runtime.block_on(producer).unwrap();
            all.stored += counts.stored;
            all.duplicates += counts.duplicates;
            all.refused += counts.refused;
            all.unknown += counts.unknown;
        }
        all
    }

    /// Publishes through a client of its own.
    pub(crate) fn publish(&self, topic: &str, events: impl IntoIterator<Item = Event>) -> Vec<Outcome> {
        let client = self.client("test");
        self.runtime.block_on(async {
            let outcomes = client.publish_many(topic, events).await;
            client.close().await;
            outcomes
        })
    }

    /// Publishes and expects every event to be stored.
    pub(crate) fn store(&self, topic: &str, events: impl IntoIterator<Item = Event>) -> Vec<String> {
        let outcomes = self.publish(topic, events).into_iter();
        outcomes
            .map(|outcome| outcome.receipt().unwrap_or_else(|| panic!("{outcome:?}")).position.to_string())
            .collect()
    }

    pub(crate) fn subscription(&self, name: &str) -> Value {
        self.get(&format!("/v1/subscriptions/{name}"))
    }

    /// Waits until nothing of a subscription is open.
    pub(crate) fn settled(&self, name: &str) {
        eventually(&format!("`{name}` to settle everything"), 2 * PATIENCE, || {
            let open = self.subscription(name)["status"]["backlog"].as_u64().unwrap();
            (open == 0).then_some(())
        });
    }

    /// Dead letters of a subscription once there are so many.
    pub(crate) fn dead(&self, name: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} dead letters of `{name}`"), PATIENCE, || {
            let dead = self.get(&format!("/v1/dead?limit=1000&subscription={name}"));
            let dead = dead.as_array().unwrap().clone();
            (dead.len() >= count).then_some(dead)
        })
    }
}

/// From the environment, to repeat a run; else a new one.
pub(crate) fn seed() -> u64 {
    let named = std::env::var("BUGLE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = named.unwrap_or_else(|| bugle_receivers::now_us() % 1_000_000);
    println!("seed {seed}; BUGLE_TEST_SEED={seed} makes the same choices again");
    seed
}

/// A webhook subscription to `topic`, called at the receiver's path of its own name.
pub(crate) fn webhook(name: &str, topic: &str, receiver: &HttpReceiver, more: &str) -> String {
    let origin = format!("http://{}", receiver.address());
    format!(
        "topics = [\"{topic}\"]\nplugin = \"webhook\"\nretry = {{ first_backoff = \"100ms\", backoff_max = \"500ms\" }}\n{more}\n\
         config = {{ url = \"{origin}/{name}\", timeout = \"2s\" }}\n\
         grants = {{ egress = [\"{origin}\"], pause = true, secrets = {{ signing = {{ value = \"{SECRET}\" }} }} }}\n"
    )
}

/// An event with a JSON payload.
pub(crate) fn event(id: &str, kind: &str, data: &Value) -> Event {
    Event::builder("/e2e", kind).id(id).json(&data.to_string()).build().unwrap()
}

/// An event with an ordering key.
pub(crate) fn keyed(id: &str, kind: &str, key: &str, data: &Value) -> Event {
    Event::builder("/e2e", kind).id(id).key(key).json(&data.to_string()).build().unwrap()
}

/// The same component with other bytes: a custom section at its end changes the digest and nothing else.
pub(crate) fn revision(component: &Path, number: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(component).unwrap();
    let name = b"revision";
    bytes.extend([0, u8::try_from(name.len() + 2).unwrap(), u8::try_from(name.len()).unwrap()]);
    bytes.extend(name);
    bytes.push(number);
    bytes
}

/// The real payloads of tests/data.
pub(crate) fn github_events() -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/github-events.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| Event::from_json(line).unwrap()).collect()
}
