//! What admission costs per event of 256 bytes with a full window of 10 million ids.
//!
//! Run with `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-core --example admission_cost [events per batch]`. Events are made
//! outside the measured time; sealed chunks are dropped, so a look-up finds nothing: with fresh ids there is nothing to find.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bugle_core::admission::{Admission, Facts, Recovery, WindowSize};
use bugle_core::event::{Event, Index, Span};
use bugle_core::ids::{BootId, Name, Offset, Sequence, SessionId, Slot, StreamId, TopicId};
use bugle_core::publish::{OpenSession, PublishBatch, Try};
use bugle_core::row::{IdBlockRow, IdEntry};
use bugle_core::spec::Topic;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;

const WINDOW_IDS: u64 = 10_000_000;
const EVENT_BYTES: usize = 256;
/// Batches made, then admitted in one measured run and committed as one group of at most 4,096 events.
const GROUP_EVENTS: usize = 4096;

#[derive(Default)]
struct Cost {
    probe: Duration,
    publish: Duration,
    seal: Duration,
    longest_seal: Duration,
    events: u64,
    lookups: u64,
}

struct Run {
    admission: Admission,
    batch_events: usize,
    sequence: u64,
    made: u64,
    writes: Vec<Write>,
    blocks: Vec<(u64, IdBlockRow)>,
    chunks: Vec<(u64, Vec<IdEntry>)>,
}

fn main() {
    let batch_events = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(512);
    let mut run = Run {
        admission: recovery(Offset(0)).finish(),
        batch_events,
        sequence: 0,
        made: 0,
        writes: Vec::new(),
        blocks: Vec::new(),
        chunks: Vec::new(),
    };
    let open = OpenSession { session: SessionId(1), producer: Name::from("p"), epoch: None };
    run.admission.open(open, Vec::new());
    let empty = run.measure(1_000_000);
    print("empty window", &empty);
    while run.made < WINDOW_IDS + 1_000_000 {
        run.measure(1_000_000);
    }
    let (ids, filter_bytes) = run.admission.window();
    println!("window: {ids} ids, filter {} MiB", filter_bytes >> 20);
    let full = run.measure(2_000_000);
    print("full window", &full);
    let repeats = run.measure_repeats();
    println!("probe of known ids: {repeats:.3} us/event");
    let started = Instant::now();
    let mut recovery = recovery(Offset(run.made));
    for (block, row) in &run.blocks {
        recovery.block(*block, *row);
        for (_, ids) in run.chunks.iter().filter(|(of, _)| of == block) {
            recovery.chunk(*block, ids);
        }
    }
    black_box(recovery.finish());
    println!("recovery of {} sealed blocks from memory: {:?}", run.blocks.len(), started.elapsed());
}

fn print(what: &str, cost: &Cost) {
    let per_event = |time: Duration| time.as_secs_f64() * 1e6 / cost.events as f64;
    println!(
        "{what}: {:.3} us/event = probe {:.3} + publish {:.3} + seal {:.3}; longest seal {:?}; {:.2} % look-ups",
        per_event(cost.probe + cost.publish + cost.seal),
        per_event(cost.probe),
        per_event(cost.publish),
        per_event(cost.seal),
        cost.longest_seal,
        cost.lookups as f64 * 100.0 / cost.events as f64,
    );
}

fn recovery(next: Offset) -> Recovery {
    Recovery::new(Facts {
        slot: Slot(0),
        seed: [3; 16],
        boot: BootId(1),
        first_boot: BootId(0),
        boots: Vec::new(),
        next,
        floor: Offset(0),
        dropped_below: Offset(0),
        topics: vec![Topic { id: TopicId(1), name: Name::from("t") }],
        window: WindowSize { ids: WINDOW_IDS, ..WindowSize::default() },
    })
}

impl Run {
    fn measure(&mut self, events: u64) -> Cost {
        let mut cost = Cost::default();
        let until = self.made + events;
        while self.made < until {
            let batches: Vec<PublishBatch> =
                (0..GROUP_EVENTS.div_ceil(self.batch_events)).map(|_| self.batch()).collect();
            for batch in batches {
                let started = Instant::now();
                let probe = self.admission.probe(&batch);
                let probed = Instant::now();
                cost.events += batch.events.len() as u64;
                cost.lookups += probe.lookups().len() as u64;
                black_box(self.admission.publish(now(), batch, &probe, &[], &mut self.writes));
                cost.probe += probed - started;
                cost.publish += probed.elapsed();
            }
            let started = Instant::now();
            self.admission.seal(now(), &mut self.writes);
            self.admission.committed();
            let took = started.elapsed();
            cost.seal += took;
            cost.longest_seal = cost.longest_seal.max(took);
            self.keep();
        }
        cost
    }

    fn measure_repeats(&mut self) -> f64 {
        self.made -= 1_000_000;
        let batch = PublishBatch { sequence: Sequence(0), ..self.batch() };
        self.made += 1_000_000 - self.batch_events as u64;
        let rounds = 1 + 100_000 / self.batch_events;
        let started = Instant::now();
        for _ in 0..rounds {
            black_box(self.admission.probe(&batch));
        }
        started.elapsed().as_secs_f64() * 1e6 / (rounds * self.batch_events) as f64
    }

    fn batch(&mut self) -> PublishBatch {
        self.sequence += 1;
        let first = self.made;
        self.made += self.batch_events as u64;
        PublishBatch {
            session: SessionId(1),
            stream: StreamId(1),
            sequence: Sequence(self.sequence),
            attempt: Try::First,
            topic: Name::from("t"),
            events: (first..self.made).map(|number| Ok(event(number))).collect(),
        }
    }

    /// Keeps what recovery needs and drops the rest, as if it were committed.
    fn keep(&mut self) {
        for write in self.writes.drain(..) {
            match write {
                Write::IdChunk { block, ids, .. } => self.chunks.push((block, ids)),
                Write::IdBlock { block, row: Some(row) } => self.blocks.push((block, row)),
                Write::IdBlock { block, row: None } => {
                    self.blocks.retain(|(of, _)| *of != block);
                    self.chunks.retain(|(of, _)| *of != block);
                }
                _ => {}
            }
        }
    }
}

fn now() -> Timestamp {
    Timestamp(1_000_000)
}

fn event(number: u64) -> Event {
    let mut bytes =
        format!("00000000-0000-7000-8000-{number:012x}/orders/service-1com.example.order.paid").into_bytes();
    let index = Index {
        id: Span { start: 0, len: 36 },
        source: Span { start: 36, len: 17 },
        kind: Span { start: 53, len: 22 },
        data: Span { start: bytes.len() as u32, len: (EVENT_BYTES - bytes.len()) as u32 },
        ..Index::default()
    };
    bytes.resize(EVENT_BYTES, b'x');
    Event::new(bytes.into(), index).expect("the spans are those of the format above")
}
