//! What a million parked keys cost: memory, the time of a restart, and the latency of other keys beside them.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-broker --example parked_keys -- [keys]`, on the directory of `TMPDIR`. As many
//! deliveries first wait for a moment each and are acked, so that the ring, the store's buffers and the allocator are as full as
//! they get; then every key is parked for a day, a tenth of them gets another event, and a second process opens the same store.
//! Prints one JSON line per stage: resident memory, growth since the warm-up, publish-to-plugin latency of other keys.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bugle_broker::{ApplySubscription, Bus, Call, FollowUp, Invoke, Options, Parts, ResultSink, Retentions, StartAt};
use bugle_core::admission::WindowSize;
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::event::{Event, Index, Span};
use bugle_core::ids::{Name, Offset, Sequence, SessionId, StreamId, SubscriptionId, TopicId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, PublishBatch, Try, Unreadable};
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::subscription::Status;
use bugle_core::time::Millis;
use bytes::Bytes;
use tokio::sync::Semaphore;

const BATCH: u64 = 64;
const BATCHES_IN_FLIGHT: usize = 8;
/// The tail ring: small, so that it is full in the warm-up already.
const RING_BYTES: usize = 16 << 20;
/// The window of publish ids: small, so that it is full in the warm-up already.
const WINDOW_IDS: u64 = 100_000;
/// Events of other keys whose latency is measured, and the time between two.
const PROBES: u64 = 400;
const PROBE_EVERY: Duration = Duration::from_millis(5);
const DAY: Millis = Millis::from_secs(24 * 3600);
/// Instead of a number of keys: be the process after the restart, on the directory that follows.
const RESTARTED: &str = "restarted";

/// Parks events whose key begins with `parked`, makes those of the warm-up wait once, acks the rest.
#[derive(Default)]
struct Plugin {
    /// When each probe was published, by its id; then how long it took.
    published: Mutex<HashMap<String, Instant>>,
    took: Mutex<Vec<Duration>>,
    has_probe_come: AtomicBool,
    /// Offsets of the warm-up that waited once.
    waited: Mutex<Vec<bool>>,
}

impl Invoke for Plugin {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            let delivery = call.delivery();
            let key = delivery.event.event.key().unwrap_or_default();
            let end = if key.starts_with("parked") {
                Err(Failure::Defer(DAY))
            } else if key.starts_with("warm") && self.waits_now(delivery.event.position.offset) {
                Err(Failure::Defer(Millis(1_000)))
            } else {
                self.note(delivery.event.event.id());
                Ok(())
            };
            call.finish(CallEnd::Returned(end));
        }
    }
}

impl Plugin {
    fn waits_now(&self, Offset(offset): Offset) -> bool {
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = offset as usize;
        if waited.len() <= offset {
            waited.resize(2 * offset + 1, false);
        }
        !std::mem::replace(&mut waited[offset], true)
    }

    fn note(&self, id: &str) {
        let at = self.published.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(at) = at {
            self.took.lock().unwrap_or_else(PoisonError::into_inner).push(at.elapsed());
            self.has_probe_come.store(true, Ordering::Release);
        }
    }
}

/// Gives a batch's place in flight back when its result is there.
struct Window(Arc<Semaphore>);

impl ResultSink for Window {
    fn deliver(&self, results: Vec<BatchResult>) {
        for result in &results {
            assert!(matches!(&result.outcome, BatchOutcome::Stored { .. }), "a batch was not stored: {result:?}");
        }
        self.0.add_permits(results.len());
    }
}

fn event(id: &str, key: &str) -> Event {
    let mut bytes = String::with_capacity(128);
    let mut add = |text: &str| {
        let start = bytes.len() as u32;
        bytes.push_str(text);
        Span { start, len: text.len() as u32 }
    };
    let index = Index {
        id: add(id),
        source: add("/bench"),
        kind: add("bench.happened"),
        key: Some(add(key)),
        data: add("a small payload, as a notification has it"),
        ..Index::default()
    };
    Event::new(Bytes::from(bytes), index).expect("the spans are in the event")
}

struct Producer {
    bus: Bus,
    session: SessionId,
    sequence: u64,
    places: Arc<Semaphore>,
    sink: Arc<dyn ResultSink>,
}

impl Producer {
    async fn open(bus: &Bus) -> Producer {
        let session = SessionId(1);
        let open = OpenSession { session, producer: Name::from("producer"), epoch: None };
        bus.open_session(open).await.expect("the bus runs");
        let places = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT));
        let sink = Arc::new(Window(Arc::clone(&places)));
        Producer { bus: bus.clone(), session, sequence: 0, places, sink }
    }

    async fn publish(&mut self, events: Vec<Result<Event, Unreadable>>) {
        self.places.acquire().await.expect("the semaphore stays open").forget();
        self.sequence += 1;
        let batch = PublishBatch {
            session: self.session,
            stream: StreamId(1),
            sequence: Sequence(self.sequence),
            attempt: Try::First,
            topic: Name::from("bench"),
            events,
        };
        self.bus.publish(batch, Arc::clone(&self.sink)).await.expect("the bus runs");
    }

    /// One event for each of so many keys.
    async fn publish_keys(&mut self, prefix: &str, round: u32, keys: u64) {
        for first in (0..keys).step_by(BATCH as usize) {
            let numbers = first..(first + BATCH).min(keys);
            let events = numbers.map(|n| Ok(event(&format!("{prefix}-{round}-{n}"), &format!("{prefix}-{n}"))));
            self.publish(events.collect()).await;
        }
    }

    /// Publish-to-plugin latency of keys of their own: median and 99th percentile, in ms.
    async fn probe(&mut self, plugin: &Plugin, stage: &str) -> (f64, f64) {
        for n in 0..PROBES {
            let id = format!("probe-{stage}-{n}");
            let published = Instant::now();
            plugin.published.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), published);
            self.publish(vec![Ok(event(&id, &id))]).await;
            tokio::time::sleep(PROBE_EVERY.saturating_sub(published.elapsed())).await;
        }
        while plugin.took.lock().unwrap_or_else(PoisonError::into_inner).len() < PROBES as usize {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut took = std::mem::take(&mut *plugin.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        let at = |part: f64| took[(took.len() as f64 * part) as usize].as_secs_f64() * 1e3;
        (at(0.5), at(0.99))
    }
}

/// The bus, and how much processor time the store took to open, and the bus to start.
fn open(dir: &Path, plugin: &Arc<Plugin>, topics: Vec<Topic>, specs: Vec<Subscription>) -> (Bus, Duration, Duration) {
    let start = cpu();
    let (store, opened) = bugle_store::Store::open(dir, bugle_store::Options::default()).expect("the store opens");
    let opened_at = cpu();
    let bus = Bus::start(Parts {
        store,
        opened,
        topics,
        retentions: Retentions::default(),
        subscriptions: specs,
        invoke: Arc::clone(plugin) as Arc<dyn Invoke>,
        encode: Arc::new(|_: FollowUp<'_>| Err("no follow-ups here".to_owned())),
        stamp: Arc::new(|event, _| event.clone()),
        topic_row: |topic| topic.name.as_bytes().to_vec(),
        runtime: tokio::runtime::Handle::current(),
        options: Options {
            ring_bytes_max: RING_BYTES,
            window: WindowSize { ids: WINDOW_IDS, ..WindowSize::default() },
            ..Options::default()
        },
    });
    (bus.expect("the bus starts"), opened_at - start, cpu() - opened_at)
}

/// Processor time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Resident memory, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

async fn machine(bus: &Bus) -> Status {
    bus.status("bench").await.and_then(|status| status.machine).expect("the worker runs")
}

async fn until(bus: &Bus, is_done: impl Fn(&Status) -> bool) -> Status {
    loop {
        let status = machine(bus).await;
        if is_done(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn report(stage: &str, start: Instant, base: f64, producer: &mut Producer, plugin: &Plugin) {
    let status = machine(&producer.bus).await;
    let (resident, seconds) = (resident(), start.elapsed().as_secs_f64());
    let (p50, p99) = producer.probe(plugin, stage).await;
    println!(
        "{{\"bench\":\"parked_keys\",\"stage\":\"{stage}\",\"seconds\":{seconds:.1},\"waiting\":{},\"on_disk_only\":{},\
         \"keys_with_later_events\":{},\"resident_mib\":{resident:.1},\"growth_mib\":{:.1},\"other_keys_p50_ms\":{p50:.2},\
         \"other_keys_p99_ms\":{p99:.2}}}",
        status.waiting,
        status.spilled,
        status.overflowed,
        resident - base,
    );
}

async fn park(dir: &Path, keys: u64) -> Subscription {
    let plugin = Arc::<Plugin>::default();
    let (bus, ..) = open(dir, &plugin, Vec::new(), Vec::new());
    bus.create_topic(Name::from("bench"), Shelf::default(), |_| Vec::new(), Vec::new())
        .await
        .expect("the topic is new");
    let spec =
        Subscription { concurrency: 256, ..Subscription::new(SubscriptionId(0), "bench", "park", vec![TopicId(1)]) };
    let row = |_: &Subscription| Vec::new();
    let apply = ApplySubscription { spec, start: StartAt::Latest, row, also: Vec::new() };
    bus.apply_subscription(apply).await.expect("the subscription is new");
    let mut producer = Producer::open(&bus).await;
    let start = Instant::now();
    producer.publish_keys("warm", 0, keys).await;
    until(&bus, |status| status.floor == bus.end()).await;
    let base = resident();
    report("warmed up", start, base, &mut producer, &plugin).await;
    let start = Instant::now();
    producer.publish_keys("parked", 0, keys).await;
    until(&bus, |status| status.waiting as u64 == keys).await;
    report("parked", start, base, &mut producer, &plugin).await;
    let start = Instant::now();
    producer.publish_keys("parked", 1, keys / 10).await;
    until(&bus, |status| status.read == bus.end()).await;
    report("a tenth has later events", start, base, &mut producer, &plugin).await;
    let specs = bus.subscriptions();
    bus.shutdown(Duration::from_secs(5)).await;
    specs.into_iter().next().expect("it was applied")
}

/// The process after the restart.
async fn restarted(dir: &Path, keys: u64) {
    let plugin = Arc::<Plugin>::default();
    let topics = vec![Topic { id: TopicId(1), name: Name::from("bench") }];
    let spec =
        Subscription { concurrency: 256, ..Subscription::new(SubscriptionId(1), "bench", "park", vec![TopicId(1)]) };
    let start = Instant::now();
    let (bus, opening, starting) = open(dir, &plugin, topics, vec![spec]);
    let started = start.elapsed();
    assert_eq!(machine(&bus).await.waiting as u64, keys);
    let mut producer = Producer::open(&bus).await;
    plugin.published.lock().unwrap_or_else(PoisonError::into_inner).insert("first".to_owned(), Instant::now());
    producer.publish(vec![Ok(event("first", "first"))]).await;
    while !plugin.has_probe_come.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let delivered = start.elapsed();
    plugin.took.lock().unwrap_or_else(PoisonError::into_inner).clear();
    println!(
        "{{\"bench\":\"parked_keys\",\"stage\":\"restart\",\"open_cpu_s\":{:.2},\"start_cpu_s\":{:.2},\"start_s\":{:.2},\
         \"first_delivery_of_another_key_s\":{:.2}}}",
        opening.as_secs_f64(),
        starting.as_secs_f64(),
        started.as_secs_f64(),
        delivered.as_secs_f64(),
    );
    report("restarted", start, 0.0, &mut producer, &plugin).await;
    bus.shutdown(Duration::from_secs(5)).await;
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    if let [mode, dir, ..] = &arguments[..]
        && mode == RESTARTED
    {
        runtime.block_on(restarted(Path::new(dir), number(2).expect("the number of keys")));
        return;
    }
    let keys = number(0).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a directory can be made");
    let spec = runtime.block_on(park(dir.path(), keys));
    assert_eq!(spec.id, SubscriptionId(1), "the second process counts on it");
    let this = std::env::current_exe().expect("this program has a path");
    let mut second = std::process::Command::new(this);
    let end = second.arg(RESTARTED).arg(dir.path()).arg(keys.to_string()).status().expect("it can be run again");
    assert!(end.success());
}
