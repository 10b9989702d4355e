//! What the examples of this crate measure with: a bus without guests, a producer with batches in flight, probes, process figures.
//!
//! Each example is a program of its own and needs a part of it only.

#![allow(dead_code, reason = "no example uses all of it")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bugle_broker::{Bus, FollowUp, Invoke, Options, Parts, ResultSink, Retentions};
use bugle_core::admission::WindowSize;
use bugle_core::event::{Event, Index, Span, Timing};
use bugle_core::ids::{Name, Sequence, SessionId, StreamId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, PublishBatch, Try, Unreadable};
use bugle_core::spec::{Subscription, Topic};
use bugle_core::time::Timestamp;
use bugle_store::{Opened, Store};
use bytes::Bytes;
use tokio::sync::Semaphore;

pub(crate) const BATCH: u64 = 64;
const BATCHES_IN_FLIGHT: u32 = 8;
/// The tail ring of a small bus, so that it is full in the warm-up already.
const RING_BYTES: usize = 16 << 20;
/// The window of publish ids of a small bus, so that it is full in the warm-up already.
const WINDOW_IDS: u64 = 100_000;
pub(crate) const PROBE_EVERY: Duration = Duration::from_millis(5);

/// Bounds that a warm-up reaches.
pub(crate) fn small() -> Options {
    Options {
        ring_bytes_max: RING_BYTES,
        window: WindowSize { ids: WINDOW_IDS, ..WindowSize::default() },
        ..Options::default()
    }
}

/// A bus whose plugins are `invoke`; rows of topics are their numbers.
pub(crate) fn start(
    (store, opened): (Store, Opened),
    invoke: Arc<dyn Invoke>,
    topics: Vec<Topic>,
    subscriptions: Vec<Subscription>,
    options: Options,
) -> Bus {
    let bus = Bus::start(Parts {
        store,
        opened,
        topics,
        retentions: Retentions::default(),
        subscriptions,
        invoke,
        encode: Arc::new(|_: FollowUp<'_>| Err("no follow-ups here".to_owned())),
        stamp: Arc::new(|event, _| event.clone()),
        topic_row: |topic| topic.id.0.to_string().into_bytes(),
        runtime: tokio::runtime::Handle::current(),
        options,
    });
    bus.expect("the bus starts")
}

pub(crate) fn event(id: &str, key: &str, deliver_at: Option<Timestamp>) -> Event {
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

/// Gives a batch's place in flight back when its result is there.
struct Window(Arc<Semaphore>);

impl ResultSink for Window {
    fn deliver(&self, results: Vec<BatchResult>) {
        for result in &results {
            let is_stored = matches!(&result.outcome, BatchOutcome::Stored { refused, .. } if refused.is_empty());
            assert!(is_stored, "not all of a batch was stored: {result:?}");
        }
        self.0.add_permits(results.len());
    }
}

/// Publishes to one topic, with a few batches in flight.
pub(crate) struct Producer {
    pub(crate) bus: Bus,
    topic: Name,
    session: SessionId,
    sequence: u64,
    places: Arc<Semaphore>,
    sink: Arc<dyn ResultSink>,
}

impl Producer {
    /// Producer and session have the same number.
    pub(crate) async fn open(bus: &Bus, number: u64, topic: &str) -> Producer {
        let session = SessionId(number);
        let open = OpenSession { session, producer: Name::from(format!("producer-{number}")), epoch: None };
        bus.open_session(open).await.expect("the bus runs");
        let places = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT as usize));
        let sink = Arc::new(Window(Arc::clone(&places)));
        Producer { bus: bus.clone(), topic: Name::from(topic), session, sequence: 0, places, sink }
    }

    /// Publishes a batch as soon as there is a place for it.
    pub(crate) async fn publish(&mut self, events: Vec<Event>) {
        self.places.acquire().await.expect("the semaphore stays open").forget();
        self.sequence += 1;
        let batch = PublishBatch {
            session: self.session,
            stream: StreamId(1),
            sequence: Sequence(self.sequence),
            attempt: Try::First,
            topic: self.topic.clone(),
            events: events.into_iter().map(Ok::<_, Unreadable>).collect(),
        };
        self.bus.publish(batch, Arc::clone(&self.sink)).await.expect("the bus runs");
    }

    /// Publishes so many events.
    pub(crate) async fn publish_each(&mut self, events: u64, event: impl Fn(u64) -> Event) {
        for first in (0..events).step_by(BATCH as usize) {
            self.publish((first..(first + BATCH).min(events)).map(&event).collect()).await;
        }
    }

    /// Everything published before is durable.
    pub(crate) async fn all_stored(&self) {
        drop(self.places.acquire_many(BATCHES_IN_FLIGHT).await.expect("the semaphore stays open"));
    }
}

/// Events whose time from publishing to the plugin is measured, by id.
#[derive(Default)]
pub(crate) struct Probes {
    published: Mutex<HashMap<String, Instant>>,
    took: Mutex<Vec<Duration>>,
}

impl Probes {
    /// It is published now.
    pub(crate) fn leaves(&self, id: &str) {
        lock(&self.published).insert(id.to_owned(), Instant::now());
    }

    /// It reached the plugin; false if it is not a probe.
    pub(crate) fn comes(&self, id: &str) -> bool {
        let published = lock(&self.published).remove(id);
        lock(&self.took).extend(published.map(|at| at.elapsed()));
        published.is_some()
    }

    pub(crate) fn have_all_come(&self) -> bool {
        lock(&self.published).is_empty()
    }

    /// Median and 99th percentile of those since the last call, in ms.
    pub(crate) fn take(&self) -> (f64, f64) {
        let mut took = std::mem::take(&mut *lock(&self.took));
        took.sort_unstable();
        let at = |percent: usize| took.get(took.len() * percent / 100).map_or(0.0, |took| took.as_secs_f64() * 1e3);
        (at(50), at(99))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for something that comes within the hour.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(3_600), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Resident memory, in MiB.
pub(crate) fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}

/// Processor time of this process.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
