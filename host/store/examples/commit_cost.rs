//! What a synced commit costs: events per second and CPU per event at 256 bytes, for batches of 1, 64 and 512 events.
//!
//! Run with `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-store --example commit_cost [directory]`. The disk and its load decide
//! the wall time; CPU is the figure to compare.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Offset, Position, Slot, TopicId};
use bugle_core::step::Write;
use bugle_core::time::Timestamp;
use bugle_store::{Durability, EventBounds, Options, Store};
use rustix::time::{ClockId, clock_gettime};

const EVENT_BYTES: usize = 256;
/// (events per batch, batches)
const SHAPES: [(u64, u64); 3] = [(1, 3_000), (64, 3_000), (512, 1_500)];

fn main() {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).expect("the directory given can be written");
    let (store, _) = Store::open(dir.path(), Options::default()).expect("a new store opens");
    for (events, batches) in SHAPES {
        write(&store, events, batches);
    }
    read(&store);
    let next = store.next();
    store.close().expect("the mark can be written");
    let started = Instant::now();
    let (_store, opened) = Store::open(dir.path(), Options::default()).expect("the store opens again");
    assert_eq!(opened.next, next);
    println!("open with the log of {} events: {:?}", next, started.elapsed());
}

fn write(store: &Store, events: u64, batches: u64) {
    let (mut commit_wall, mut longest) = (Duration::ZERO, Duration::ZERO);
    let (cpu, process) = (cpu(ClockId::ThreadCPUTime), cpu(ClockId::ProcessCPUTime));
    let (mut made_cpu, mut wall) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..batches {
        let making = self::cpu(ClockId::ThreadCPUTime);
        let writes: Vec<Write> = (0..events).map(|number| Write::Event(event(store.next().0 + number))).collect();
        made_cpu += self::cpu(ClockId::ThreadCPUTime) - making;
        let started = Instant::now();
        let mut batch = store.batch(events as usize * 400);
        writes.iter().for_each(|write| batch.push(write));
        let committing = Instant::now();
        store.commit(batch, Durability::Synced).expect("the disk works");
        let took = committing.elapsed();
        commit_wall += took;
        longest = longest.max(took);
        wall += started.elapsed();
    }
    let total = (events * batches) as f64;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / total;
    println!(
        "{events:>4} per batch: {:>8.0} events/s; CPU {:.2} us/event of the thread, {:.2} of the process; commit {:.3} ms mean, {:.1} ms longest",
        total / wall.as_secs_f64(),
        us(self::cpu(ClockId::ThreadCPUTime) - cpu - made_cpu),
        us(self::cpu(ClockId::ProcessCPUTime) - process - made_cpu),
        commit_wall.as_secs_f64() * 1e3 / batches as f64,
        longest.as_secs_f64() * 1e3,
    );
}

fn read(store: &Store) {
    let (started, cpu) = (Instant::now(), cpu(ClockId::ThreadCPUTime));
    let bounds = EventBounds { events_max: 4096, bytes_max: 1 << 20 };
    let (mut from, mut count) = (Offset(0), 0);
    loop {
        let page = store.events(from, bounds).expect("the disk works");
        if page.events.is_empty() {
            break;
        }
        count += page.events.len();
        from = page.next;
    }
    let cpu = self::cpu(ClockId::ThreadCPUTime) - cpu;
    println!(
        "read back: {:.0} events/s, CPU {:.2} us/event",
        count as f64 / started.elapsed().as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64
    );
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn event(offset: u64) -> StoredEvent {
    let mut bytes =
        format!("00000000-0000-7000-8000-{offset:012x}/orders/service-1com.example.order.paid").into_bytes();
    let index = Index {
        id: Span { start: 0, len: 36 },
        source: Span { start: 36, len: 17 },
        kind: Span { start: 53, len: 22 },
        data: Span { start: bytes.len() as u32, len: (EVENT_BYTES - bytes.len()) as u32 },
        ..Index::default()
    };
    bytes.resize(EVENT_BYTES, b'x');
    let event = Event::new(bytes.into(), index).expect("the spans are those of the format above");
    let position = Position { slot: Slot(0), offset: Offset(offset) };
    StoredEvent { position, topic: TopicId(1), received: Timestamp(1), event }
}
