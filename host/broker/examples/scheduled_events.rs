//! What a million scheduled events cost: memory, disk, the time of a restart, and publishing beside a release of many at once.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-broker --example scheduled_events -- [events]`, on the directory of `TMPDIR`.
//! As many plain events are published and delivered first, so that the ring, the store's buffers and the allocator are as full as they
//! get; then all are scheduled for one second, a second process opens the store before that, and when they fall due plain events
//! are published beside. Prints one JSON line per stage: resident memory, growth since the warm-up, rates and latencies.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bugle_broker::{ApplySubscription, Bus, Call, FollowUp, Invoke, Options, Parts, ResultSink, Retentions, StartAt};
use bugle_core::admission::WindowSize;
use bugle_core::delivery::CallEnd;
use bugle_core::event::{Event, Index, Span, Timing};
use bugle_core::ids::{Name, Sequence, SessionId, StreamId, SubscriptionId, TopicId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, PublishBatch, Try, Unreadable};
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::step::CatalogKind;
use bugle_core::time::{Millis, Timestamp};
use bytes::Bytes;
use tokio::sync::Semaphore;

const BATCH: u64 = 64;
const BATCHES_IN_FLIGHT: usize = 8;
/// The tail ring: small, so that it is full in the warm-up already.
const RING_BYTES: usize = 16 << 20;
/// The window of publish ids: small, so that it is full in the warm-up already.
const WINDOW_IDS: u64 = 100_000;
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Instead of a number: be the process after the restart, on the directory and for the number that follow.
const RESTARTED: &str = "restarted";

/// Acks everything; notes when probes come and how many others have.
#[derive(Default)]
struct Plugin {
    published: Mutex<HashMap<String, Instant>>,
    took: Mutex<Vec<Duration>>,
    delivered: AtomicU64,
    early: AtomicU64,
}

impl Invoke for Plugin {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            let event = &call.delivery().event.event;
            let at = self.published.lock().unwrap_or_else(PoisonError::into_inner).remove(event.id());
            match at {
                Some(at) => self.took.lock().unwrap_or_else(PoisonError::into_inner).push(at.elapsed()),
                None => drop(self.delivered.fetch_add(1, Ordering::Relaxed)),
            }
            if event.timing().deliver_at.is_some_and(|due| call.now() < due) {
                self.early.fetch_add(1, Ordering::Relaxed);
            }
            call.finish(CallEnd::Returned(Ok(())));
        }
    }
}

/// Gives a batch's place in flight back when its result is there.
struct Window(Arc<Semaphore>);

impl ResultSink for Window {
    fn deliver(&self, results: Vec<BatchResult>) {
        for result in &results {
            let BatchOutcome::Stored { refused, .. } = &result.outcome else { panic!("not stored: {result:?}") };
            assert!(refused.is_empty(), "an event was refused: {refused:?}");
        }
        self.0.add_permits(results.len());
    }
}

fn event(id: &str, key: &str, deliver_at: Option<Timestamp>) -> Event {
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
        timing: deliver_at.map(|at| Box::new(Timing { deliver_at: Some(at), ..Timing::default() })),
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

    async fn publish(&mut self, events: Vec<Event>) {
        self.places.acquire().await.expect("the window is never closed").forget();
        self.sequence += 1;
        let batch = PublishBatch {
            session: self.session,
            stream: StreamId(1),
            sequence: Sequence(self.sequence),
            attempt: Try::First,
            topic: Name::from("orders"),
            events: events.into_iter().map(Ok::<_, Unreadable>).collect(),
        };
        self.bus.publish(batch, Arc::clone(&self.sink)).await.expect("the bus runs");
    }

    /// Publishes so many events and waits until all are durable.
    async fn publish_many(&mut self, prefix: &str, events: u64, deliver_at: Option<Timestamp>) {
        let mut next = 0;
        while next < events {
            let to = (next + BATCH).min(events);
            let key = |number: u64| format!("{prefix}-{}", number % 1_000);
            self.publish(
                (next..to).map(|number| event(&format!("{prefix}{number}"), &key(number), deliver_at)).collect(),
            )
            .await;
            next = to;
        }
        let all = u32::try_from(BATCHES_IN_FLIGHT).expect("a small number");
        drop(self.places.acquire_many(all).await.expect("the window is never closed"));
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries
        .map(|entry| {
            entry.metadata().map_or(0, |meta| if meta.is_dir() { disk_bytes(&entry.path()) } else { meta.len() })
        })
        .sum()
}

fn start(dir: &Path, plugin: &Arc<Plugin>) -> Bus {
    let (store, opened) = bugle_store::Store::open(dir, bugle_store::Options::default()).expect("the store opens");
    let listed = store.catalog_list(CatalogKind::Topic, None, 10).expect("the catalog is read");
    let number = |row: &[u8]| std::str::from_utf8(row).expect("digits").parse().expect("a number");
    let topics = listed.iter().map(|(name, row)| Topic { id: TopicId(number(row)), name: Name::from(name.as_str()) });
    let topics: Vec<Topic> = topics.collect();
    let listed = store.catalog_list(CatalogKind::Subscription, None, 10).expect("the catalog is read");
    let subscriptions = listed.iter().map(|(name, row)| Subscription { id: SubscriptionId(number(row)), ..spec(name) });
    let subscriptions = subscriptions.collect();
    Bus::start(Parts {
        store,
        opened,
        topics,
        retentions: Retentions::default(),
        subscriptions,
        invoke: Arc::clone(plugin) as Arc<dyn Invoke>,
        encode: Arc::new(|_: FollowUp<'_>| Err("no follow-ups here".to_owned())),
        stamp: Arc::new(|event, _| event.clone()),
        topic_row: |topic| topic.id.0.to_string().into_bytes(),
        runtime: tokio::runtime::Handle::current(),
        options: Options {
            ring_bytes_max: RING_BYTES,
            window: WindowSize { ids: WINDOW_IDS, ..WindowSize::default() },
            ..Options::default()
        },
    })
    .expect("the bus starts")
}

fn spec(name: &str) -> Subscription {
    Subscription { concurrency: 256, ..Subscription::new(SubscriptionId(0), name, "plugin", vec![TopicId(1)]) }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(1_800), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn report(stage: &str, base_kib: u64, more: &str) {
    let now = resident_kib();
    println!(
        "{{\"stage\":\"{stage}\",\"resident_mib\":{:.1},\"growth_mib\":{:.1}{more}}}",
        now as f64 / 1024.0,
        (now as f64 - base_kib as f64) / 1024.0
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some(RESTARTED) => {
            let number = |at: usize| arguments[at].parse().expect("a number");
            runtime.block_on(restarted(Path::new(&arguments[1]), number(2), Timestamp(number(3))));
        }
        first => {
            let events = first.map_or(1_000_000, |text| text.parse().expect("a number of events"));
            runtime.block_on(scheduling(events));
        }
    }
}

async fn scheduling(events: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = Arc::new(Plugin::default());
    let bus = start(dir.path(), &plugin);
    let row = |topic: &Topic| topic.id.0.to_string().into_bytes();
    bus.create_topic(Name::from("orders"), Shelf::default(), row, Vec::new()).await.expect("a new topic");
    let row = |spec: &Subscription| spec.id.0.to_string().into_bytes();
    let apply = ApplySubscription { spec: spec("mail"), start: StartAt::Latest, row, also: Vec::new() };
    bus.apply_subscription(apply).await.expect("a new subscription");
    let mut producer = Producer::open(&bus).await;
    let started = Instant::now();
    producer.publish_many("warm", events, None).await;
    let plain = started.elapsed();
    until("the warm-up", || plugin.delivered.load(Ordering::Relaxed) >= events).await;
    let (base, disk) = (resident_kib(), disk_bytes(dir.path()));
    report("warm", base, &format!(",\"plain_per_s\":{:.0}", events as f64 / plain.as_secs_f64()));
    // Far enough that all are stored, and the second process has started, before the first is due.
    let due = bus.now().after(Millis(60_000 + events / 4));
    let started = Instant::now();
    producer.publish_many("due", events, Some(due)).await;
    let took = started.elapsed();
    assert!(bus.now() < due, "the machine is too slow for this plan");
    let topic = bus.topic("orders").expect("it was created");
    assert_eq!(bus.scheduled_totals(topic).expect("a row").waiting, events);
    let bytes = disk_bytes(dir.path()).saturating_sub(disk) / events.max(1);
    report(
        "scheduled",
        base,
        &format!(",\"scheduled_per_s\":{:.0},\"disk_bytes_per_event\":{bytes}", events as f64 / took.as_secs_f64()),
    );
    drop(producer);
    bus.shutdown(Duration::from_secs(10)).await;
    drop(bus);
    let program = std::env::current_exe().expect("this program");
    let arguments = [RESTARTED, dir.path().to_str().expect("a plain path"), &events.to_string(), &due.0.to_string()];
    let ended = std::process::Command::new(program).args(arguments).status().expect("the second process runs");
    assert!(ended.success());
}

async fn restarted(dir: &Path, events: u64, due: Timestamp) {
    let base = resident_kib();
    let plugin = Arc::new(Plugin::default());
    let started = Instant::now();
    let bus = start(dir, &plugin);
    report("restarted", base, &format!(",\"start_ms\":{}", started.elapsed().as_millis()));
    let mut producer = Producer::open(&bus).await;
    let mut probes = 0;
    let mut released = None;
    while plugin.delivered.load(Ordering::Relaxed) < events {
        assert!(started.elapsed() < Duration::from_secs(3_600), "waited in vain for the deliveries");
        tokio::time::sleep(PROBE_EVERY).await;
        if bus.now() < due {
            continue;
        }
        let topic = bus.topic("orders").expect("it was created");
        if released.is_none() && bus.scheduled_totals(topic).expect("a row").waiting == 0 {
            released = Some(bus.now().since(due));
        }
        let id = format!("probe{probes}");
        probes += 1;
        plugin.published.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Instant::now());
        producer.publish(vec![event(&id, &id, None)]).await;
    }
    let delivered = bus.now().since(due);
    until("the probes", || plugin.published.lock().unwrap_or_else(PoisonError::into_inner).is_empty()).await;
    let mut took = plugin.took.lock().unwrap_or_else(PoisonError::into_inner).clone();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).map_or(0, |took| took.as_micros());
    report(
        "delivered",
        base,
        &format!(
            ",\"released_ms\":{},\"delivered_ms\":{},\"early\":{},\"probes\":{probes},\"probe_us_p50\":{},\"probe_us_p99\":{}",
            released.unwrap_or(delivered).0,
            delivered.0,
            plugin.early.load(Ordering::Relaxed),
            at(50),
            at(99),
        ),
    );
    bus.shutdown(Duration::from_secs(10)).await;
}
