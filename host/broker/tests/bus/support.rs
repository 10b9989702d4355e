//! A bus on a real store in a directory of its own, a scripted plugin, and a producer that keeps its results.
//!
//! Knows nothing of CloudEvents: an event's bytes are its attributes one after the other.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bugle_broker::{ApplySubscription, Bus, Call, FollowUp, Invoke, Options, Parts, ResultSink, Retentions, StartAt};
use bugle_core::delivery::{CallEnd, Delivery, Failure, Fault, Retry};
use bugle_core::event::{Event, Index, Span};
use bugle_core::ids::{Name, Sequence, SessionId, StreamId, SubscriptionId, TopicId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, PublishBatch, Try};
use bugle_core::retention::Shelf;
use bugle_core::spec::{RetryPolicy, Subscription, Topic};
use bugle_core::time::Millis;
use bugle_store::{DeadEntry, Store};
use bytes::Bytes;

/// How long a test waits for something before it says that it did not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An event with these attributes.
pub(crate) fn event(id: &str, key: Option<&str>, data: &str) -> Event {
    event_with(id, "/test", key, &[], data)
}

/// An event with extension attributes.
pub(crate) fn event_with(id: &str, source: &str, key: Option<&str>, others: &[(&str, &str)], data: &str) -> Event {
    let mut bytes = String::new();
    let mut add = |text: &str| {
        let start = bytes.len() as u32;
        bytes.push_str(text);
        Span { start, len: text.len() as u32 }
    };
    let index = Index {
        id: add(id),
        source: add(source),
        kind: add("test.happened"),
        key: key.map(&mut add),
        others: others.iter().map(|(name, value)| (add(name), add(value))).collect(),
        data: add(data),
        ..Index::default()
    };
    Event::new(Bytes::from(bytes), index).unwrap()
}

/// Encodes follow-ups the way [`event`] does; refuses a type of `bad`.
fn encode(follow_up: FollowUp<'_>) -> Result<Event, String> {
    let event = follow_up.event;
    if event.kind == "bad" {
        return Err("the type is `bad`".to_owned());
    }
    let hops = follow_up.hops.to_string();
    let source = format!("bugle:{}", follow_up.subscription);
    let id = event.id.as_deref().unwrap_or_default();
    let data = String::from_utf8_lossy(&event.data);
    Ok(event_with(id, &source, event.key.as_deref(), &[(bugle_broker::HOPS_ATTRIBUTE, &hops)], &data))
}

/// Adds attributes the way [`event_with`] does.
fn stamp(event: &Event, attributes: &[(&str, &str)]) -> Event {
    let mut tail = String::new();
    let mut add = |text: &str| {
        let start = tail.len() as u32;
        tail.push_str(text);
        Span { start, len: text.len() as u32 }
    };
    let added: Vec<_> = attributes.iter().map(|(name, value)| (add(name), add(value))).collect();
    event.extended(tail.as_bytes(), &added)
}

/// What the scripted plugin does with a delivery.
pub(crate) enum Act {
    /// Ends the call at once.
    End(CallEnd),
    /// Keeps the call until the test takes it.
    Keep,
}

/// One delivery as the plugin saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) subscription: String,
    pub(crate) id: String,
    pub(crate) key: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) offset: u64,
    pub(crate) idempotency_key: String,
}

type Behaviour = Box<dyn Fn(&str, &Delivery) -> Act + Send + Sync>;

/// A plugin that does what the test says, and remembers what it was handed.
pub(crate) struct Script {
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    kept: Mutex<VecDeque<Call>>,
}

impl Script {
    pub(crate) fn new(behaviour: impl Fn(&Delivery) -> Act + Send + Sync + 'static) -> Arc<Script> {
        Arc::new(Script {
            behaviour: Mutex::new(Box::new(move |_, delivery| behaviour(delivery))),
            seen: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    pub(crate) fn acks() -> Arc<Script> {
        Script::new(|_| Act::End(ack()))
    }

    pub(crate) fn keeps() -> Arc<Script> {
        Script::new(|_| Act::Keep)
    }

    pub(crate) fn behave(&self, behaviour: impl Fn(&Delivery) -> Act + Send + Sync + 'static) {
        self.behave_by_name(move |_, delivery| behaviour(delivery));
    }

    /// Another behaviour for each subscription.
    pub(crate) fn behave_by_name(&self, behaviour: impl Fn(&str, &Delivery) -> Act + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.id).collect()
    }

    pub(crate) fn kept(&self) -> usize {
        self.kept.lock().unwrap().len()
    }

    /// The call kept first.
    pub(crate) async fn take(&self) -> Call {
        wait("a call", || self.kept() > 0).await;
        self.kept.lock().unwrap().pop_front().unwrap()
    }
}

/// What is handed to the bus: the script is shared with the test.
pub(crate) struct Scripted(pub(crate) Arc<Script>);

impl Invoke for Scripted {
    fn invoke(&self, subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            let delivery = call.delivery();
            self.0.seen.lock().unwrap().push(Seen {
                subscription: subscription.to_string(),
                id: delivery.event.event.id().to_owned(),
                key: delivery.event.event.key().map(str::to_owned),
                attempt: delivery.attempt.0,
                offset: delivery.event.position.offset.0,
                idempotency_key: delivery.idempotency_key.clone(),
            });
            let act = (self.0.behaviour.lock().unwrap())(subscription, delivery);
            match act {
                Act::End(end) => call.finish(end),
                Act::Keep => self.0.kept.lock().unwrap().push_back(call),
            }
        }
    }
}

pub(crate) fn ack() -> CallEnd {
    CallEnd::Returned(Ok(()))
}

pub(crate) fn nack() -> CallEnd {
    let retry = Retry { after: None, reason: "not now".to_owned(), fault: Fault::Event };
    CallEnd::Returned(Err(Failure::Retry(retry)))
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Results(Mutex<Vec<BatchResult>>);

impl Results {
    pub(crate) fn all(&self) -> Vec<BatchResult> {
        self.0.lock().unwrap().clone()
    }
}

impl ResultSink for Results {
    fn deliver(&self, results: Vec<BatchResult>) {
        self.0.lock().unwrap().extend(results);
    }
}

/// A producer with one stream.
pub(crate) struct Producer {
    bus: Bus,
    session: SessionId,
    sequence: u64,
    results: Arc<Results>,
}

impl Producer {
    pub(crate) async fn open(bus: &Bus, session: u64) -> Producer {
        let session = SessionId(session);
        let producer = Name::from(format!("producer-{}", session.0));
        bus.open_session(OpenSession { session, producer, epoch: None }).await.unwrap();
        Producer { bus: bus.clone(), session, sequence: 0, results: Arc::default() }
    }

    /// Publishes a batch and waits for its outcome.
    pub(crate) async fn publish(&mut self, topic: &str, events: Vec<Event>) -> BatchOutcome {
        self.attempt(topic, events, Try::First).await
    }

    /// The same, perhaps as a batch that was sent before.
    pub(crate) async fn attempt(&mut self, topic: &str, events: Vec<Event>, attempt: Try) -> BatchOutcome {
        self.sequence += 1;
        let sequence = Sequence(self.sequence);
        let batch = PublishBatch {
            session: self.session,
            stream: StreamId(1),
            sequence,
            attempt,
            topic: Name::from(topic),
            events: events.into_iter().map(Ok).collect(),
        };
        let sink: Arc<dyn ResultSink> = self.results.clone();
        self.bus.publish(batch, sink).await.unwrap();
        let results = Arc::clone(&self.results);
        let find = || results.all().into_iter().find(|result| result.sequence == sequence);
        wait("a result", || find().is_some()).await;
        find().unwrap().outcome
    }

    /// Publishes a batch of which every event must be stored; returns the first offset.
    pub(crate) async fn store(&mut self, topic: &str, events: Vec<Event>) -> u64 {
        let count = events.len() as u32;
        match self.publish(topic, events).await {
            BatchOutcome::Stored { first: Some(first), stored, .. } if stored == count => first.offset.0,
            other => panic!("expected {count} stored events, got {other:?}"),
        }
    }
}

/// Starts a bus on a directory, with what its catalog says.
pub(crate) fn start(dir: &Path, script: &Arc<Script>, options: Options) -> Bus {
    start_with(dir, script, options, |spec| spec)
}

/// The same, with what the catalog of the tests does not say of a subscription.
pub(crate) fn start_with(
    dir: &Path,
    script: &Arc<Script>,
    options: Options,
    complete: impl Fn(Subscription) -> Subscription,
) -> Bus {
    start_stored(dir, script, options, bugle_store::Options::default(), complete)
}

/// The same, with small epochs.
pub(crate) fn start_in_epochs(dir: &Path, script: &Arc<Script>, options: Options, epoch_bytes: u64) -> Bus {
    let stored = bugle_store::Options { epoch_bytes, ..bugle_store::Options::default() };
    start_stored(dir, script, options, stored, |spec| spec)
}

fn start_stored(
    dir: &Path,
    script: &Arc<Script>,
    options: Options,
    stored: bugle_store::Options,
    complete: impl Fn(Subscription) -> Subscription,
) -> Bus {
    let (store, opened) = Store::open(dir, stored).unwrap();
    let known = store
        .catalog_list(bugle_core::step::CatalogKind::Subscription, None, 100)
        .unwrap()
        .into_iter()
        .map(|(name, row)| complete(subscription_of(&name, &row)))
        .collect();
    let topics = store.catalog_list(bugle_core::step::CatalogKind::Topic, None, 100).unwrap();
    let topics = topics.into_iter().map(|(name, row)| topic_of(&name, &row)).collect();
    Bus::start(Parts {
        store,
        opened,
        topics,
        retentions: Retentions::default(),
        subscriptions: known,
        invoke: Arc::new(Scripted(Arc::clone(script))),
        encode: Arc::new(encode),
        stamp: Arc::new(stamp),
        topic_row,
        runtime: tokio::runtime::Handle::current(),
        options,
    })
    .unwrap()
}

/// A subscription with quick retries.
pub(crate) fn subscription(name: &str) -> Subscription {
    Subscription {
        retry: RetryPolicy { attempts_max: 3, first_backoff: Millis(10), backoff_max: Millis(40) },
        ..Subscription::new(SubscriptionId(0), name, "plugin", vec![TopicId(1)])
    }
}

/// The catalog row of the tests: the number in decimal.
fn row(spec: &Subscription) -> Vec<u8> {
    spec.id.0.to_string().into_bytes()
}

fn topic_row(topic: &Topic) -> Vec<u8> {
    topic.id.0.to_string().into_bytes()
}

fn topic_of(name: &str, row: &[u8]) -> Topic {
    Topic { id: TopicId(std::str::from_utf8(row).unwrap().parse().unwrap()), name: Name::from(name) }
}

fn subscription_of(name: &str, row: &[u8]) -> Subscription {
    let id = std::str::from_utf8(row).unwrap().parse().unwrap();
    Subscription { id: SubscriptionId(id), ..subscription(name) }
}

/// Creates the topic `orders` and a subscription.
pub(crate) async fn set_up(bus: &Bus, spec: Subscription, start: StartAt) {
    if bus.topic("orders").is_none() {
        bus.create_topic(Name::from("orders"), Shelf::default(), topic_row, Vec::new()).await.unwrap();
    }
    bus.apply_subscription(ApplySubscription { spec, start, row, also: Vec::new() }).await.unwrap();
}

/// Creates a topic, with its number as its row.
pub(crate) async fn topic(bus: &Bus, name: &str) -> TopicId {
    let row = |topic: &Topic| topic.id.to_string().into_bytes();
    bus.create_topic(Name::from(name), Shelf::default(), row, Vec::new()).await.unwrap().id
}

/// Waits until something holds.
pub(crate) async fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a subscription has settled everything up to an offset.
pub(crate) async fn settled(bus: &Bus, name: &str, floor: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = bus.status(name).await.unwrap();
        let at = status.machine.as_ref().map(|machine| machine.floor.0);
        if at.is_some_and(|at| at >= floor) {
            return;
        }
        assert!(Instant::now() < deadline, "waited in vain for floor {floor}: {status:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a subscription has this many dead letters on disk; settling in memory comes a commit earlier.
pub(crate) async fn dead(bus: &Bus, name: &str, count: usize) -> Vec<DeadEntry> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dead = bus.dead(name, None, 100).await.unwrap();
        if dead.len() >= count {
            return dead;
        }
        assert!(Instant::now() < deadline, "waited in vain for {count} dead letters: {dead:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Ends a bus in order, so that its directory can be opened again.
pub(crate) async fn stop(bus: Bus) {
    bus.shutdown(Duration::from_secs(5)).await;
    drop(bus);
}
