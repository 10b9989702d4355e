//! Storage trouble: after a failed commit nobody is told anything and the handle says that the process must exit; a disk that
//! is nearly full refuses publishes only.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bugle_core::code::Code;
use bugle_core::ids::{Name, Offset, Sequence, SessionId, StreamId};
use bugle_core::publish::{BatchOutcome, BatchResult, OpenSession, PublishBatch, Try};
use bugle_core::retention::{AGE_MIN, KeepClass, Retention, Shelf};
use bugle_core::step::Write;
use bugle_core::time::Millis;
use bugle_store::Store;

use super::{Bus, Options, Parts};
use crate::call::Call;
use crate::invoke::{FollowUp, Invoke};
use crate::queue::{ResultSink, Stopped};
use crate::retention::Retentions;
use crate::testing::{event, stored};

struct NoPlugins;

impl Invoke for NoPlugins {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, _calls: Vec<Call>) {}
}

#[derive(Default)]
struct Results(Mutex<Vec<BatchResult>>);

impl ResultSink for Results {
    fn deliver(&self, results: Vec<BatchResult>) {
        self.0.lock().unwrap().extend(results);
    }
}

fn start(dir: &std::path::Path) -> Bus {
    let (store, opened) = Store::open(dir, bugle_store::Options::default()).unwrap();
    Bus::start(Parts {
        store,
        opened,
        topics: Vec::new(),
        retentions: Retentions::default(),
        subscriptions: Vec::new(),
        invoke: Arc::new(NoPlugins),
        encode: Arc::new(|_: FollowUp<'_>| Err("there are no follow-ups here".to_owned())),
        stamp: Arc::new(|event, _| event.clone()),
        topic_row: |topic| topic.name.as_bytes().to_vec(),
        runtime: tokio::runtime::Handle::current(),
        options: Options::default(),
    })
    .unwrap()
}

fn batch(sequence: u64) -> PublishBatch {
    PublishBatch {
        session: SessionId(1),
        stream: StreamId(1),
        sequence: Sequence(sequence),
        attempt: Try::First,
        topic: Name::from("orders"),
        events: vec![Ok(event(&format!("e{sequence}"), None, "x"))],
    }
}

#[tokio::test]
async fn a_broken_committer_confirms_nothing_and_stops_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let bus = start(dir.path());
    bus.create_topic(Name::from("orders"), Shelf::default(), |_| Vec::new(), Vec::new()).await.unwrap();
    let open = OpenSession { session: SessionId(1), producer: Name::from("p"), epoch: None };
    bus.open_session(open).await.unwrap();
    // An event at a place that admission never gave: the ring finds the gap before anybody is told.
    let lost = bus.inside.commit(vec![Write::Event(stored(999))]);
    let results = Arc::new(Results::default());
    let sink: Arc<dyn ResultSink> = results.clone();
    let published = bus.publish(batch(1), Arc::clone(&sink));
    let (lost, _) = tokio::join!(lost, published);
    assert_eq!(lost, Err(Stopped));
    let mut failed = bus.failed();
    failed.wait_for(Option::is_some).await.unwrap();
    assert_eq!(bus.publish(batch(2), sink).await, Err(Stopped));
    assert!(bus.create_topic(Name::from("late"), Shelf::default(), |_| Vec::new(), Vec::new()).await.is_err());
    assert!(results.0.lock().unwrap().is_empty(), "nothing is confirmed after the failure");
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_and_lets_state_through() {
    let dir = tempfile::tempdir().unwrap();
    let bus = start(dir.path());
    bus.create_topic(Name::from("orders"), Shelf::default(), |_| Vec::new(), Vec::new()).await.unwrap();
    let open = OpenSession { session: SessionId(1), producer: Name::from("p"), epoch: None };
    bus.open_session(open).await.unwrap();
    let results = Arc::new(Results::default());
    // The upkeep looks at the real disk once a second and may take the flag down between the two lines.
    let refused = |results: &Results| {
        let results = results.0.lock().unwrap();
        results.iter().any(|result| match &result.outcome {
            BatchOutcome::Refused(refusal) => refusal.code == Code::DiskFull && refusal.retry_after.is_some(),
            BatchOutcome::Stored { .. } => false,
        })
    };
    let mut sequence = 0;
    while !refused(&results) {
        assert!(sequence < 100, "publishing goes on without disk");
        bus.inside.shared.is_disk_full.store(true, Ordering::Relaxed);
        sequence += 1;
        bus.publish(batch(sequence), results.clone()).await.unwrap();
        let store = Name::from("inbox");
        bus.kv_put(&store, "k".to_owned(), Some(b"v".to_vec()), None, Vec::new()).await.unwrap();
    }
    assert_eq!(bus.commits().disk_full.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_go_on_a_full_disk_too_which_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let bus = start(dir.path());
    bus.create_topic(Name::from("orders"), Shelf::default(), |_| Vec::new(), Vec::new()).await.unwrap();
    let rules = Retention { age: AGE_MIN, at_least: Millis(0), ..Retention::default() };
    bus.set_retention(KeepClass::DEFAULT, rules, Vec::new()).await.unwrap();
    let open = OpenSession { session: SessionId(1), producer: Name::from("p"), epoch: None };
    bus.open_session(open).await.unwrap();
    let results = Arc::new(Results::default());
    let published = async |sequence: u64| {
        bus.publish(batch(sequence), results.clone()).await.unwrap();
        while (results.0.lock().unwrap().len() as u64) < sequence {
            tokio::task::yield_now().await;
        }
    };
    // One event in each of two epochs; the second stays, as it holds the latest event.
    published(1).await;
    while bus.epochs_of(KeepClass::DEFAULT).len() < 2 {
        tokio::task::yield_now().await;
    }
    published(2).await;
    let (mut sequence, before) = (2, bus.commits().disk_full.get());
    while bus.floor() == Offset(0) {
        bus.inside.shared.is_disk_full.store(true, Ordering::Relaxed);
        sequence += 1;
        published(sequence).await;
    }
    assert!(bus.commits().disk_full.get() > before, "publishing was refused meanwhile");
}
