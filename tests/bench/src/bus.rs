//! B10, through the bus: the same events by log, lanes, protection, cursor and settlement, once to a native handler in place of the
//! plugin and once to a guest that acks them unread, up to 64 per call.
//!
//! Bus, handler and producer are in this process, without QUIC, so the difference is the sandbox; threads are as in the host. Knows
//! nothing of the sandbox's insides. Invariant: every event is settled before the clock stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bugle_broker::{
    ApplySubscription, Bus, Call as BusCall, FollowUp, Invoke, Options as BusOptions, Parts, ResultSink, Retentions,
    StartAt,
};
use bugle_core::delivery::{CallEnd, Delivery, Settles};
use bugle_core::event::Event;
use bugle_core::ids::{Name, Revision, Sequence, SessionId, StreamId, SubscriptionId, TopicId};
use bugle_core::import::{Import, ImportResult};
use bugle_core::publish::{BatchResult, OpenSession, PublishBatch, Try, Unreadable};
use bugle_core::retention::Shelf;
use bugle_core::spec::Subscription;
use bugle_core::time::Timestamp;
use bugle_sandbox::{HostCalls, Sandbox};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;

use crate::calls::{activate, numbered, sandbox};
use crate::host::{own_cpu, per_event};
use crate::report::Measured;

/// Deliveries that may be under way: four full calls of a batch channel.
const CONCURRENCY: u32 = 256;
/// Deliveries per call.
const SHARED_BY: u32 = 64;
/// Instances that there may be; far more than calls.
const SLOTS: usize = 100;
/// Events of one publish request, and requests in flight.
const BATCH: u64 = 64;
const BATCHES_IN_FLIGHT: usize = 16;
const NAME: &str = "bench";

/// Who gets the deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Native,
    Guest,
}

/// Both, one after the other.
pub(crate) fn run(events: u64) -> Result<Vec<Measured>> {
    [Handler::Native, Handler::Guest].into_iter().map(|handler| measure(handler, events)).collect()
}

struct Native;

impl Invoke for Native {
    fn invoke(&self, _: &Name, _: &Name, calls: Vec<BusCall>) {
        BusCall::finish_all(calls.into_iter().map(|call| (call, CallEnd::Returned(Ok(())))));
    }
}

/// A call of the bus, as the sandbox wants it.
struct Wrapped(BusCall);

impl HostCalls for Wrapped {
    fn delivery(&self) -> &Delivery {
        self.0.delivery()
    }

    fn topic(&self) -> Name {
        self.0.topic()
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn runs_on(&mut self, revision: Revision, settles: Settles) {
        self.0.runs_on(revision, settles);
    }

    fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    async fn import(&mut self, import: Import) -> ImportResult {
        self.0.import(import).await
    }

    fn finish(self, end: CallEnd) {
        self.0.finish(end);
    }

    fn finish_all(ended: impl Iterator<Item = (Self, CallEnd)>) {
        BusCall::finish_all(ended.map(|(this, end)| (this.0, end)));
    }
}

struct Guests(Sandbox<Wrapped>);

impl Invoke for Guests {
    fn invoke(&self, _: &Name, _: &Name, calls: Vec<BusCall>) {
        self.0.run(NAME, calls.into_iter().map(Wrapped).collect());
    }
}

fn measure(handler: Handler, events: u64) -> Result<Measured> {
    let folder = tempfile::tempdir().context("could not make a directory for the store")?;
    let host = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let threads = std::thread::available_parallelism()?.get();
    let guest = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let invoke: Arc<dyn Invoke> = match handler {
        Handler::Native => Arc::new(Native),
        Handler::Guest => {
            let (sandbox, plugin) = sandbox(&guest, folder.path(), SLOTS, bugle_guests::noop_batch())?;
            activate(&sandbox, &plugin, NAME, CONCURRENCY as usize, None)?;
            Arc::new(Guests(sandbox))
        }
    };
    let bus = start(&folder.path().join("store"), invoke, host.handle())?;
    let (seconds, cpu_us) = host.block_on(publish_and_settle(&bus, events))?;
    host.block_on(bus.shutdown(Duration::from_secs(5)));
    let name = match handler {
        Handler::Native => "native handler".to_owned(),
        Handler::Guest => format!("guest that acks unread, up to {SHARED_BY} per call"),
    };
    Ok(Measured {
        settings: format!("through the bus: {name}"),
        events,
        seconds,
        rate: events as f64 / seconds,
        host_cpu_us: Some(cpu_us),
        ..Measured::of("B10", "F")
    })
}

fn start(folder: &std::path::Path, invoke: Arc<dyn Invoke>, runtime: &Handle) -> Result<Bus> {
    let (store, opened) = bugle_store::Store::open(folder, bugle_store::Options::default())?;
    let bus = Bus::start(Parts {
        store,
        opened,
        topics: Vec::new(),
        retentions: Retentions::default(),
        subscriptions: Vec::new(),
        invoke,
        encode: Arc::new(|_: FollowUp<'_>| Err("no follow-ups here".to_owned())),
        stamp: Arc::new(|event, _| event.clone()),
        topic_row: |topic| topic.id.0.to_string().into_bytes(),
        runtime: runtime.clone(),
        options: BusOptions::default(),
    })?;
    runtime.block_on(async {
        bus.create_topic(NAME.into(), Shelf::default(), |_| Vec::new(), Vec::new()).await?;
        let spec = Subscription {
            concurrency: CONCURRENCY,
            batch_max: SHARED_BY,
            ..Subscription::new(SubscriptionId(0), NAME, NAME, vec![TopicId(1)])
        };
        let row = |_: &Subscription| Vec::new();
        bus.apply_subscription(ApplySubscription { spec, start: StartAt::Latest, row, also: Vec::new() }).await?;
        anyhow::Ok(())
    })?;
    Ok(bus)
}

/// Gives a request's place in flight back when its events are durable.
struct Window(Arc<Semaphore>);

impl ResultSink for Window {
    fn deliver(&self, results: Vec<BatchResult>) {
        self.0.add_permits(results.len());
    }
}

/// Seconds and CPU microseconds per event, from the first publish to the last settlement. Half as many events come before, uncounted.
async fn publish_and_settle(bus: &Bus, events: u64) -> Result<(f64, f64)> {
    let session = SessionId(1);
    bus.open_session(OpenSession { session, producer: NAME.into(), epoch: None }).await?;
    let places = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT));
    let sink: Arc<dyn ResultSink> = Arc::new(Window(Arc::clone(&places)));
    let (mut sequence, mut clock) = (0, (Instant::now(), own_cpu()));
    for phase in [0..events / 2, events / 2..events / 2 + events] {
        clock = (Instant::now(), own_cpu());
        for first in phase.clone().step_by(usize::try_from(BATCH)?) {
            places.acquire().await?.forget();
            sequence += 1;
            let made: Result<Vec<Event>> = (first..(first + BATCH).min(phase.end)).map(numbered).collect();
            let batch = PublishBatch {
                session,
                stream: StreamId(1),
                sequence: Sequence(sequence),
                attempt: Try::First,
                topic: NAME.into(),
                events: made?.into_iter().map(Ok::<_, Unreadable>).collect(),
            };
            bus.publish(batch, Arc::clone(&sink)).await?;
        }
        drop(places.acquire_many(u32::try_from(BATCHES_IN_FLIGHT)?).await?);
        settled(bus).await;
    }
    Ok((clock.0.elapsed().as_secs_f64(), per_event(clock.1, own_cpu(), events)))
}

async fn settled(bus: &Bus) {
    let is_done = async || {
        let status = bus.status(NAME).await.and_then(|status| status.machine);
        status.is_some_and(|status| status.floor == bus.end())
    };
    while !is_done().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
