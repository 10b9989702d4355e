//! What dropping the beginning of the log does to those who wait for a confirmation.
//!
//! `cargo run --workspace --example dropping -- MIB ROUNDS`, on the directory of `TMPDIR`. Each round stores so many MiB of events of
//! 1 KiB, then publishes batches of 64 at a steady pace for three looks of the retention, during which nothing may go; and then as long
//! once more, with a size that lets everything go but a little. Prints one JSON line per stage: how long single events, published every
//! 2 ms on a session of their own, waited for their confirmation, and what was dropped. Invariant: both stages of a round have the same load.

mod publishing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bugle_broker::{Bus, Call, Invoke, Options, ResultSink};
use bugle_core::delivery::CallEnd;
use bugle_core::event::{Event, Index, Span};
use bugle_core::ids::{Name, Sequence, SessionId, StreamId};
use bugle_core::publish::{BatchResult, OpenSession, PublishBatch, Try};
use bugle_core::retention::{KeepClass, Retention, Shelf};
use bugle_core::time::Millis;
use bytes::Bytes;
use publishing::{BATCH, Producer, cpu};

const EVENT_BYTES: usize = 1024;
const EPOCH_BYTES: u64 = 32 << 20;
/// What stays in a round.
const KEPT_BYTES: u64 = 64 << 20;
/// One batch of the steady load.
const LOAD_EVERY: Duration = Duration::from_millis(5);
const PROBE_EVERY: Duration = Duration::from_millis(2);
/// Three looks of the retention.
const STAGE: Duration = Duration::from_secs(6);

struct NoPlugins;

impl Invoke for NoPlugins {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            call.finish(CallEnd::Returned(Ok(())));
        }
    }
}

/// Confirmations of single events.
#[derive(Default)]
struct Confirmed {
    sent: Mutex<HashMap<u64, Instant>>,
    took: Mutex<Vec<Duration>>,
}

impl ResultSink for Confirmed {
    fn deliver(&self, results: Vec<BatchResult>) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        took.extend(results.iter().filter_map(|result| Some(sent.remove(&result.sequence.0)?.elapsed())));
    }
}

fn made(number: u64) -> Event {
    let id = format!("{number:020}");
    let mut bytes = id.clone().into_bytes();
    bytes.extend_from_slice(b"/bench/sourcebench.happened");
    bytes.resize(EVENT_BYTES, b'x');
    let span = |start: usize, len: usize| Span { start: start as u32, len: len as u32 };
    let index = Index {
        id: span(0, 20),
        source: span(20, 13),
        kind: span(33, 14),
        data: span(47, EVENT_BYTES - 47),
        ..Index::default()
    };
    Event::new(Bytes::from(bytes), index).expect("the spans are in the event")
}

/// Events that were never there before.
#[derive(Default)]
struct Numbers(u64);

impl Numbers {
    fn batch(&mut self, events: u64) -> Vec<Event> {
        self.0 += events;
        (self.0 - events..self.0).map(made).collect()
    }
}

/// Publishes single events at a steady pace until told to stop.
async fn probe(bus: Bus, session: SessionId, seen: Arc<Confirmed>, until: Instant) {
    let open = OpenSession { session, producer: Name::from(format!("probe-{session:?}")), epoch: None };
    bus.open_session(open).await.expect("the bus runs");
    let mut pace = tokio::time::interval(PROBE_EVERY);
    for sequence in 1_u64.. {
        pace.tick().await;
        if Instant::now() > until {
            break;
        }
        let event = made(1 << 60 | session.0 << 40 | sequence);
        seen.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence, Instant::now());
        let batch = PublishBatch {
            session,
            stream: StreamId(1),
            sequence: Sequence(sequence),
            attempt: Try::First,
            topic: Name::from("bench"),
            events: vec![Ok(event)],
        };
        bus.publish(batch, Arc::clone(&seen) as Arc<dyn ResultSink>).await.expect("the bus runs");
    }
}

/// Steady load and probes for one stage.
async fn stage(bus: &Bus, producer: &mut Producer, numbers: &mut Numbers, session: u64, what: &str) {
    let (seen, until) = (Arc::new(Confirmed::default()), Instant::now() + STAGE);
    let (cpu_before, before) = (cpu(), dropped(bus));
    let probing = tokio::spawn(probe(bus.clone(), SessionId(session), Arc::clone(&seen), until));
    let mut pace = tokio::time::interval(LOAD_EVERY);
    let mut events = 0;
    while Instant::now() < until {
        pace.tick().await;
        producer.publish(numbers.batch(BATCH)).await;
        events += BATCH;
    }
    producer.all_stored().await;
    probing.await.expect("probing does not panic");
    publishing::until("the last probe", || seen.sent.lock().unwrap_or_else(PoisonError::into_inner).is_empty()).await;
    let mut took = std::mem::take(&mut *seen.took.lock().unwrap_or_else(PoisonError::into_inner));
    took.sort_unstable();
    let at = |permille: usize| took.get((took.len() * permille / 1000).min(took.len() - 1)).map_or(0.0, ms);
    let (first, bytes) = (dropped(bus).0, before.1);
    println!(
        "{{\"bench\":\"dropping\",\"stage\":\"{what}\",\"events\":{events},\"probes\":{},\"p50_ms\":{:.2},\"p99_ms\":{:.2},\"p999_ms\":{:.2},\
         \"max_ms\":{:.2},\"dropped_events\":{},\"log_mib_before\":{},\"log_mib_after\":{},\"cpu_us_per_event\":{:.2}}}",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
        first - before.0,
        bytes >> 20,
        dropped(bus).1 >> 20,
        (cpu() - cpu_before).as_secs_f64() * 1e6 / (events + took.len() as u64) as f64,
    );
}

fn ms(took: &Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Where the log begins, and its bytes.
fn dropped(bus: &Bus) -> (u64, u64) {
    (bus.floor().0, bus.epochs_of(KeepClass::DEFAULT).iter().map(|epoch| epoch.bytes).sum())
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (mib, rounds) = (arguments.next().unwrap_or(1024), arguments.next().unwrap_or(3));
    let dir = tempfile::tempdir().expect("a directory can be made");
    let store = bugle_store::Options { epoch_bytes: EPOCH_BYTES, ..bugle_store::Options::default() };
    let opened = bugle_store::Store::open(dir.path(), store).expect("a new store opens");
    let bus = publishing::start(opened, Arc::new(NoPlugins), Vec::new(), Vec::new(), Options::default());
    bus.create_topic(Name::from("bench"), Shelf::default(), |_| Vec::new(), Vec::new()).await.expect("a new topic");
    let mut producer = Producer::open(&bus, 1, "bench").await;
    let mut numbers = Numbers::default();
    for round in 0..rounds {
        bus.set_retention(KeepClass::DEFAULT, Retention::default(), Vec::new()).await.expect("the bus runs");
        // No faster than epochs are made ahead: one a second.
        let mut pace = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..mib / 32 {
            pace.tick().await;
            for _ in 0..(32 << 20) / (EVENT_BYTES as u64 * BATCH) {
                producer.publish(numbers.batch(BATCH)).await;
            }
        }
        producer.all_stored().await;
        stage(&bus, &mut producer, &mut numbers, 2 + 2 * round, "kept").await;
        let small = Retention { bytes: KEPT_BYTES, at_least: Millis(0), ..Retention::default() };
        bus.set_retention(KeepClass::DEFAULT, small, Vec::new()).await.expect("the bus runs");
        stage(&bus, &mut producer, &mut numbers, 3 + 2 * round, "dropping").await;
    }
    bus.shutdown(Duration::from_secs(5)).await;
}
