//! What a million scheduled events cost: memory, disk, the time of a restart, and publishing beside a release of many at once.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-broker --example scheduled_events -- [events]`, on the directory of `TMPDIR`.
//! As many plain events are published and delivered first, so that the ring, the store's buffers and the allocator are as full as they
//! get; then all are scheduled for one second, a second process opens the store before that, and when they fall due plain events
//! are published beside. Prints one JSON line per stage: resident memory, growth since the warm-up, rates and latencies.

mod publishing;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bugle_broker::{ApplySubscription, Bus, Call, Invoke, StartAt};
use bugle_core::delivery::CallEnd;
use bugle_core::ids::{Name, SubscriptionId, TopicId};
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::step::CatalogKind;
use bugle_core::time::{Millis, Timestamp};
use publishing::{PROBE_EVERY, Probes, Producer, event, resident_mib, small, until};

/// Instead of a number: be the process after the restart, on the directory and for the number that follow.
const RESTARTED: &str = "restarted";

/// Acks everything; notes when probes come and how many others have.
#[derive(Default)]
struct Plugin {
    probes: Probes,
    delivered: AtomicU64,
    early: AtomicU64,
}

impl Invoke for Plugin {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            let event = &call.delivery().event.event;
            if !self.probes.comes(event.id()) {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            if event.timing().deliver_at.is_some_and(|due| call.now() < due) {
                self.early.fetch_add(1, Ordering::Relaxed);
            }
            call.finish(CallEnd::Returned(Ok(())));
        }
    }
}

/// Publishes so many events and waits until all are durable.
async fn publish_many(producer: &mut Producer, prefix: &str, events: u64, deliver_at: Option<Timestamp>) {
    let each = |number: u64| event(&format!("{prefix}{number}"), &format!("{prefix}-{}", number % 1_000), deliver_at);
    producer.publish_each(events, each).await;
    producer.all_stored().await;
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
    let opened = bugle_store::Store::open(dir, bugle_store::Options::default()).expect("the store opens");
    let store = &opened.0;
    let listed = store.catalog_list(CatalogKind::Topic, None, 10).expect("the catalog is read");
    let number = |row: &[u8]| std::str::from_utf8(row).expect("digits").parse().expect("a number");
    let topics = listed.iter().map(|(name, row)| Topic { id: TopicId(number(row)), name: Name::from(name.as_str()) });
    let topics: Vec<Topic> = topics.collect();
    let listed = store.catalog_list(CatalogKind::Subscription, None, 10).expect("the catalog is read");
    let subscriptions = listed.iter().map(|(name, row)| Subscription { id: SubscriptionId(number(row)), ..spec(name) });
    let subscriptions = subscriptions.collect();
    publishing::start(opened, Arc::clone(plugin) as Arc<dyn Invoke>, topics, subscriptions, small())
}

fn spec(name: &str) -> Subscription {
    Subscription { concurrency: 256, ..Subscription::new(SubscriptionId(0), name, "plugin", vec![TopicId(1)]) }
}

fn report(stage: &str, base: f64, more: &str) {
    let now = resident_mib();
    println!("{{\"stage\":\"{stage}\",\"resident_mib\":{now:.1},\"growth_mib\":{:.1}{more}}}", now - base);
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
    let mut producer = Producer::open(&bus, 1, "orders").await;
    let started = Instant::now();
    publish_many(&mut producer, "warm", events, None).await;
    let plain = started.elapsed();
    until("the warm-up", || plugin.delivered.load(Ordering::Relaxed) >= events).await;
    let (base, disk) = (resident_mib(), disk_bytes(dir.path()));
    report("warm", base, &format!(",\"plain_per_s\":{:.0}", events as f64 / plain.as_secs_f64()));
    // Far enough that all are stored, and the second process has started, before the first is due.
    let due = bus.now().after(Millis(60_000 + events / 4));
    let started = Instant::now();
    publish_many(&mut producer, "due", events, Some(due)).await;
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
    let base = resident_mib();
    let plugin = Arc::new(Plugin::default());
    let started = Instant::now();
    let bus = start(dir, &plugin);
    report("restarted", base, &format!(",\"start_ms\":{}", started.elapsed().as_millis()));
    let mut producer = Producer::open(&bus, 1, "orders").await;
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
        plugin.probes.leaves(&id);
        producer.publish(vec![event(&id, &id, None)]).await;
    }
    let delivered = bus.now().since(due);
    until("the probes", || plugin.probes.have_all_come()).await;
    let (p50, p99) = plugin.probes.take();
    report(
        "delivered",
        base,
        &format!(
            ",\"released_ms\":{},\"delivered_ms\":{},\"early\":{},\"probes\":{probes},\"probe_us_p50\":{:.0},\"probe_us_p99\":{:.0}",
            released.unwrap_or(delivered).0,
            delivered.0,
            plugin.early.load(Ordering::Relaxed),
            p50 * 1e3,
            p99 * 1e3,
        ),
    );
    bus.shutdown(Duration::from_secs(10)).await;
}
