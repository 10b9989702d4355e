//! More waiting deliveries than memory keeps: they come back from the store, in order, also after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bugle_broker::{Options, StartAt};
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::event::Event;
use bugle_core::time::Millis;

use crate::support::{Act, Producer, Script, Seen, ack, event, set_up, settled, start, stop, subscription};

/// More than a machine keeps in memory.
const KEYS: usize = 4_500;
const BATCH: usize = 500;

fn wait_for(time: Millis) -> Act {
    Act::End(CallEnd::Returned(Err(Failure::Defer(time))))
}

/// Two events for each key: all the first ones, then all the second ones.
async fn publish(producer: &mut Producer) -> u64 {
    let events: Vec<Event> = ["first", "second"]
        .into_iter()
        .flat_map(|round| (0..KEYS).map(move |key| event(&format!("{round}-{key}"), Some(&format!("k{key}")), "x")))
        .collect();
    let mut last = 0;
    for batch in events.chunks(BATCH) {
        last = producer.store("orders", batch.to_vec()).await + batch.len() as u64;
    }
    last
}

/// The ids of each key, in the order in which the plugin saw them.
fn by_key(seen: Vec<Seen>) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in seen {
        keys.entry(seen.key.unwrap()).or_default().push(seen.id);
    }
    keys
}

#[tokio::test]
async fn deliveries_that_wait_on_disk_come_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let tried = Mutex::new(BTreeSet::new());
    let script = Script::new(move |delivery| {
        let id = delivery.event.event.id();
        let is_new = id.starts_with("first") && tried.lock().unwrap().insert(id.to_owned());
        if is_new { wait_for(Millis(1_500)) } else { Act::End(ack()) }
    });
    // Without a ring, rows and events both come from the disk.
    let options = Options { ring_bytes_max: 1, ..Options::default() };
    let bus = start(dir.path(), &script, options);
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let end = publish(&mut producer).await;
    settled(&bus, "mail", end).await;
    let keys = by_key(script.seen());
    assert_eq!(keys.len(), KEYS);
    for (key, seen) in keys {
        let number = &key[1..];
        let (first, second) = (format!("first-{number}"), format!("second-{number}"));
        assert_eq!(seen, [first.clone(), first, second], "{key}");
    }
    let status = bus.status("mail").await.unwrap().machine.unwrap();
    assert_eq!((status.waiting, status.spilled, status.overflowed), (0, 0, 0));
    stop(bus).await;
}

#[tokio::test]
async fn a_restart_finds_them_by_their_rows_and_nothing_runs_twice() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::new(|_| wait_for(Millis(60_000)));
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription("mail"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let end = publish(&mut producer).await;
    let status = loop {
        let status = bus.status("mail").await.unwrap().machine.unwrap();
        if status.waiting == KEYS && status.read.0 == end {
            break status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert!(status.spilled > 0 && status.lanes == KEYS, "{status:?}");
    stop(bus).await;
    drop((script, producer));

    let script = Script::acks();
    let bus = start(dir.path(), &script, Options::default());
    let mut producer = Producer::open(&bus, 1).await;
    let other = producer.store("orders", vec![event("other", Some("other"), "x")]).await;
    loop {
        let status = bus.status("mail").await.unwrap().machine.unwrap();
        if status.read.0 > other && script.ids() == ["other"] {
            assert_eq!((status.waiting, status.spilled, status.overflowed), (KEYS, KEYS, KEYS), "{status:?}");
            break;
        }
        assert!(script.ids().len() <= 1, "nothing is due and nothing overtakes");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop(bus).await;
}
