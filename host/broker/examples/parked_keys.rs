//! What a million parked keys cost: memory, the time of a restart, and the latency of other keys beside them.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-broker --example parked_keys -- [keys]`, on the directory of `TMPDIR`. As many
//! deliveries first wait for a moment each and are acked, so that the ring, the store's buffers and the allocator are as full as
//! they get; then every key is parked for a day, a tenth of them gets another event, and a second process opens the same store.
//! Prints one JSON line per stage: resident memory, growth since the warm-up, publish-to-plugin latency of other keys.

mod publishing;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bugle_broker::{ApplySubscription, Bus, Call, Invoke, StartAt};
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::ids::{Name, Offset, SubscriptionId, TopicId};
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::subscription::Status;
use bugle_core::time::Millis;
use publishing::{PROBE_EVERY, Probes, Producer, cpu, event, resident_mib, small, until};

/// Events of other keys whose latency is measured.
const PROBES: u64 = 400;
const DAY: Millis = Millis::from_secs(24 * 3600);
/// Instead of a number of keys: be the process after the restart, on the directory that follows.
const RESTARTED: &str = "restarted";

/// Parks events whose key begins with `parked`, makes those of the warm-up wait once, acks the rest.
#[derive(Default)]
struct Plugin {
    probes: Probes,
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
                self.probes.comes(delivery.event.event.id());
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
}

/// One event for each of so many keys.
async fn publish_keys(producer: &mut Producer, prefix: &str, round: u32, keys: u64) {
    producer.publish_each(keys, |n| event(&format!("{prefix}-{round}-{n}"), &format!("{prefix}-{n}"), None)).await;
}

/// Publish-to-plugin latency of keys of their own: median and 99th percentile, in ms.
async fn probe(producer: &mut Producer, plugin: &Plugin, stage: &str) -> (f64, f64) {
    for n in 0..PROBES {
        let id = format!("probe-{stage}-{n}");
        let published = Instant::now();
        plugin.probes.leaves(&id);
        producer.publish(vec![event(&id, &id, None)]).await;
        tokio::time::sleep(PROBE_EVERY.saturating_sub(published.elapsed())).await;
    }
    until("the probes", || plugin.probes.have_all_come()).await;
    plugin.probes.take()
}

/// The bus, and how much processor time the store took to open, and the bus to start.
fn open(dir: &Path, plugin: &Arc<Plugin>, topics: Vec<Topic>, specs: Vec<Subscription>) -> (Bus, Duration, Duration) {
    let start = cpu();
    let opened = bugle_store::Store::open(dir, bugle_store::Options::default()).expect("the store opens");
    let opened_at = cpu();
    let bus = publishing::start(opened, Arc::clone(plugin) as Arc<dyn Invoke>, topics, specs, small());
    (bus, opened_at - start, cpu() - opened_at)
}

async fn machine(bus: &Bus) -> Status {
    bus.status("bench").await.and_then(|status| status.machine).expect("the worker runs")
}

async fn reached(bus: &Bus, is_done: impl Fn(&Status) -> bool) -> Status {
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
    let (resident, seconds) = (resident_mib(), start.elapsed().as_secs_f64());
    let (p50, p99) = probe(producer, plugin, stage).await;
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
    let mut producer = Producer::open(&bus, 1, "bench").await;
    let start = Instant::now();
    publish_keys(&mut producer, "warm", 0, keys).await;
    reached(&bus, |status| status.floor == bus.end()).await;
    let base = resident_mib();
    report("warmed up", start, base, &mut producer, &plugin).await;
    let start = Instant::now();
    publish_keys(&mut producer, "parked", 0, keys).await;
    reached(&bus, |status| status.waiting as u64 == keys).await;
    report("parked", start, base, &mut producer, &plugin).await;
    let start = Instant::now();
    publish_keys(&mut producer, "parked", 1, keys / 10).await;
    reached(&bus, |status| status.read == bus.end()).await;
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
    let mut producer = Producer::open(&bus, 1, "bench").await;
    plugin.probes.leaves("first");
    producer.publish(vec![event("first", "first", None)]).await;
    until("the first delivery", || plugin.probes.have_all_come()).await;
    let delivered = start.elapsed();
    plugin.probes.take();
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
