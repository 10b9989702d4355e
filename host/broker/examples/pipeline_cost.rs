//! What the broker costs per event without network and guests: producers, committer, store, worker, settlement.
//!
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-broker --example pipeline_cost -- [events] [unkeyed]` publishes events of 256 bytes
//! in batches of 64 from 8 producers with 8 batches in flight each into a topic with one subscription whose plugin acks at
//! once, and prints one JSON line. Durable (fsync), on the directory of `TMPDIR`.

mod publishing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_broker::{ApplySubscription, Bus, Call, Invoke, Options, StartAt};
use bugle_core::delivery::CallEnd;
use bugle_core::event::{Event, Index, Span};
use bugle_core::ids::{Name, SubscriptionId, TopicId};
use bugle_core::retention::Shelf;
use bugle_core::spec::Subscription;
use bytes::Bytes;
use publishing::{BATCH, Producer, cpu};

const PRODUCERS: u64 = 8;
const EVENT_BYTES: usize = 256;

struct AckAll;

impl Invoke for AckAll {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            call.finish(CallEnd::Returned(Ok(())));
        }
    }
}

/// One frame with the events of a batch, sliced like the door does it.
fn batch(producer: u64, number: u64, is_keyed: bool) -> Vec<Event> {
    let mut frame = Vec::with_capacity(BATCH as usize * EVENT_BYTES);
    let mut spans = Vec::with_capacity(BATCH as usize);
    for n in 0..BATCH {
        let start = frame.len();
        let id = format!("{producer:02x}{number:012x}{n:02x}");
        frame.extend_from_slice(id.as_bytes());
        frame.extend_from_slice(b"/bench/sourcebench.happened");
        // Spread over 5,000 keys without a pattern, so that equal keys are seldom neighbours.
        let mixed = (producer << 40 | number << 8 | n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let key = format!("key-{:04}", mixed % 5_000);
        frame.extend_from_slice(key.as_bytes());
        frame.resize(start + EVENT_BYTES, b'x');
        let span = |start: usize, len: usize| Span { start: start as u32, len: len as u32 };
        let at = id.len();
        spans.push((
            start,
            Index {
                id: span(0, id.len()),
                source: span(at, 13),
                kind: span(at + 13, 14),
                key: is_keyed.then(|| span(at + 27, key.len())),
                data: span(at + 27 + key.len(), EVENT_BYTES - at - 27 - key.len()),
                ..Index::default()
            },
        ));
    }
    let frame = Bytes::from(frame);
    spans
        .into_iter()
        .map(|(start, index)| {
            Event::new(frame.slice(start..start + EVENT_BYTES), index).expect("the spans are in the event")
        })
        .collect()
}

async fn produce(bus: Bus, producer: u64, batches: u64, is_keyed: bool) {
    let mut publishing = Producer::open(&bus, producer, "bench").await;
    for number in 0..batches {
        publishing.publish(batch(producer, number, is_keyed)).await;
    }
    publishing.all_stored().await;
}

/// Seconds of processor time by thread name, for those with more than a hundredth.
fn threads() -> Vec<(String, f64)> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let mut times = std::collections::BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        *times.entry(read("comm").trim().to_owned()).or_insert(0.0) += (ticks(11) + ticks(12)) / TICKS_PER_SECOND;
    }
    times.into_iter().filter(|(_, seconds)| *seconds > 0.01).collect()
}

/// A bus on a new store with one topic and one subscription.
async fn start(dir: &std::path::Path) -> Bus {
    let opened = bugle_store::Store::open(dir, bugle_store::Options::default()).expect("a new store opens");
    let bus = publishing::start(opened, Arc::new(AckAll), Vec::new(), Vec::new(), Options::default());
    bus.create_topic(Name::from("bench"), Shelf::default(), |_| Vec::new(), Vec::new())
        .await
        .expect("the topic is new");
    let spec =
        Subscription { concurrency: 1024, ..Subscription::new(SubscriptionId(0), "bench", "ack", vec![TopicId(1)]) };
    let row = |_: &Subscription| Vec::new();
    bus.apply_subscription(ApplySubscription { spec, start: StartAt::Latest, row, also: Vec::new() })
        .await
        .expect("the subscription is new");
    bus
}

async fn run(events: u64, is_keyed: bool) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let bus = start(dir.path()).await;
    let batches = events / (PRODUCERS * BATCH);
    let (start, cpu_start) = (Instant::now(), cpu());
    // The producers have a thread of their own, as the host's QUIC side has.
    let producing = std::thread::Builder::new().name("producers".to_owned()).spawn({
        let bus = bus.clone();
        move || {
            let all = (0..PRODUCERS).map(|n| produce(bus.clone(), n + 1, batches, is_keyed));
            runtime().block_on(async {
                let producers: Vec<_> = all.map(tokio::spawn).collect();
                for producer in producers {
                    producer.await.expect("no producer panics");
                }
            });
            start.elapsed()
        }
    });
    let producing = producing.expect("a thread can be made");
    let events = batches * PRODUCERS * BATCH;
    let mut status = bus.status("bench").await.expect("it is there");
    while status.throughput.settle_ms.total() < events {
        tokio::time::sleep(Duration::from_millis(1)).await;
        status = bus.status("bench").await.expect("it is there");
    }
    let (settled, cpu) = (start.elapsed(), cpu() - cpu_start);
    let ingested = producing.join().expect("no producer panics");
    let commits = bus.commits().commits.get();
    println!(
        "{{\"bench\":\"broker_pipeline\",\"class\":\"F\",\"keyed\":{is_keyed},\"events\":{events},\"ingest_per_s\":{:.0},\"settled_per_s\":{:.0},\
         \"cpu_us_per_event\":{:.2},\"commits\":{commits},\"events_per_commit\":{:.0},\"bytes_per_event\":{:.0},\
         \"commit_ms_mean\":{:.2},\"steps\":{},\"settle_p50_ms\":{:?},\"settle_p99_ms\":{:?}}}",
        events as f64 / ingested.as_secs_f64(),
        events as f64 / settled.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / events as f64,
        events as f64 / commits as f64,
        bus.commits().bytes.get() as f64 / events as f64,
        bus.commits().commit_us.get() as f64 / 1e3 / commits as f64,
        status.throughput.steps,
        status.throughput.settle_ms.quantile(0.5).map(|ms| ms.0),
        status.throughput.settle_ms.quantile(0.99).map(|ms| ms.0),
    );
    eprintln!("processor seconds by thread: {:?}", threads());
    bus.shutdown(Duration::from_secs(5)).await;
}

fn main() {
    let events = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(500_000);
    let is_keyed = std::env::args().nth(2).as_deref() != Some("unkeyed");
    runtime().block_on(run(events, is_keyed));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}
