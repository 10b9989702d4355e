//! What door and client cost per event, without a store:
//! `cargo run -p bugle-ingress --example loopback -- [seconds] [bytes] [producers] [in flight] [commit us]`.
//!
//! By default eight producers with 512 events in flight each on one thread, the listener on a second, and a third that
//! answers every batch as stored, in groups, as a committer would. `1 1 0` for the last three gives the latency of a lone
//! producer. A measurement, not a test: it prints and asserts nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bugle_client::{Client, ClientBuilder, Event, PendingReceipt};
use bugle_core::ids::{Name, Offset, Position, ProducerEpoch, SessionId, Slot};
use bugle_core::publish::{Abandon, BatchOutcome, BatchResult, IdState, OpenSession, Opened, PublishBatch};
use bugle_ingress::{Config, Listener, Publish, Results, Stopped};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Seconds, bytes of an event, producers, events in flight of each, and microseconds of a commit: by default about one
/// fsync on a quiet disk, so that the group that forms meanwhile is what a commit would take.
const DEFAULTS: [u64; 5] = [3, 256, 8, 512, 300];

type Batches = Arc<(Mutex<Vec<(PublishBatch, Arc<Results>)>>, Condvar)>;

#[derive(Clone)]
struct Instantly(Batches);

impl Publish for Instantly {
    type Sink = Arc<Results>;

    fn sink(&self, results: Arc<Results>) -> Arc<Results> {
        results
    }

    async fn open(&self, _open: OpenSession) -> Result<Opened, Stopped> {
        Ok(Opened { epoch: ProducerEpoch(1), streams: Vec::new() })
    }

    async fn publish(&self, batch: PublishBatch, sink: &Arc<Results>) -> Result<(), Stopped> {
        self.0.0.lock().map_err(|_| Stopped)?.push((batch, sink.clone()));
        self.0.1.notify_one();
        Ok(())
    }

    async fn query(&self, _topic: Name, _source: String, _id: String) -> Result<Option<IdState>, Stopped> {
        Ok(None)
    }

    fn abandon(&self, _abandon: Abandon) {}

    fn close(&self, _session: SessionId) {}
}

/// Answers what has come, group by group.
fn commit(batches: &Batches, groups: &AtomicU64, commit: Duration) {
    let mut next = 0;
    loop {
        std::thread::sleep(commit);
        let Ok(waiting) = batches.0.lock() else { return };
        let Ok(mut waiting) = batches.1.wait_while(waiting, |waiting| waiting.is_empty()) else { return };
        let group = std::mem::take(&mut *waiting);
        drop(waiting);
        groups.fetch_add(u64::from(!group.is_empty()), Ordering::Relaxed);
        for (batch, results) in group {
            let stored = u32::try_from(batch.events.len()).unwrap_or(u32::MAX);
            let first = Some(Position { slot: Slot(0), offset: Offset(next) });
            next += u64::from(stored);
            let outcome = BatchOutcome::Stored { first, stored, duplicates: Vec::new(), refused: Vec::new() };
            results.deliver(vec![BatchResult { stream: batch.stream, sequence: batch.sequence, outcome }]);
        }
    }
}

/// CPU time of the calling thread so far.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

async fn produce(builder: ClientBuilder, payload: Vec<u8>, in_flight: usize, until: Instant) -> (u64, u64) {
    let client = builder.in_flight(8 << 20, in_flight).connect().await.expect("the listener is there");
    let mut pending: VecDeque<PendingReceipt> = VecDeque::with_capacity(in_flight);
    let mut confirmed = 0;
    while Instant::now() < until {
        while pending.len() < in_flight {
            let event = Event::builder("https://bench.example/p", "bench.event").binary(&payload).build();
            pending.push_back(client.send("bench", event.expect("a valid event")).await);
        }
        if let Some(first) = pending.pop_front() {
            confirmed += u64::from(first.await.receipt().is_some());
        }
    }
    for pending in pending {
        confirmed += u64::from(pending.await.receipt().is_some());
    }
    let frames = client.counters().frames;
    client.close().await;
    (confirmed, frames)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let [seconds, event_bytes, producers, in_flight, commit_us] =
        DEFAULTS.map(|default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default));
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let dir = std::env::temp_dir().join(format!("bugle-loopback-{}", std::process::id()));
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::development(dir.clone()) };
    let batches = Batches::default();
    let groups = Arc::new(AtomicU64::new(0));
    let (host, counted) = (Instantly(batches.clone()), groups.clone());
    std::thread::spawn(move || commit(&batches, &counted, Duration::from_micros(commit_us)));
    let (stop, stopped) = oneshot::channel::<()>();
    let (told, tell) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = Listener::bind(config).expect("a free port");
            let address = listener.local_address().expect("a bound socket").to_string();
            told.send((address, listener.fingerprint().to_string())).expect("somebody listens");
            listener.run(host, async { drop(stopped.await) }).await;
        });
        thread_cpu()
    });
    let (address, fingerprint) = tell.recv().expect("the listener is up");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let start = Instant::now();
    let until = start + Duration::from_secs(seconds);
    // Ids and lengths take about 100 bytes of an event.
    let payload = vec![b'x'; size(event_bytes).saturating_sub(100)];
    let produced = runtime.block_on(async {
        let tasks: Vec<_> = (0..producers)
            .map(|number| Client::builder(&address).producer(&format!("p{number}")).server_fingerprint(&fingerprint))
            .map(|builder| tokio::spawn(produce(builder, payload.clone(), size(in_flight), until)))
            .collect();
        let mut sum = (0, 0);
        for task in tasks {
            let (confirmed, frames) = task.await.expect("a producer ends");
            sum = (sum.0 + confirmed, sum.1 + frames);
        }
        sum
    });
    let elapsed = start.elapsed();
    let client_cpu = thread_cpu();
    drop(stop);
    let server_cpu = server.join().expect("the listener ends");
    let (confirmed, frames) = produced;
    let per_event = |cpu: Duration| cpu.as_secs_f64() * 1e6 / confirmed as f64;
    println!(
        "{:.0} events/s, mean latency {:.0} us, {:.1} events per frame, {:.0} per group; CPU-us per event: client {:.2}, door {:.2}",
        confirmed as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64() * 1e6 * (producers * in_flight) as f64 / confirmed as f64,
        confirmed as f64 / frames as f64,
        confirmed as f64 / groups.load(Ordering::Relaxed) as f64,
        per_event(client_cpu),
        per_event(server_cpu),
    );
    // A directory under the system's own for such things; losing the race to delete it harms nobody.
    let _ = std::fs::remove_dir_all(dir);
}
