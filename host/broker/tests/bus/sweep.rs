//! Claims and kv entries that end by time: they count as absent at once, and their rows really go.

use std::path::Path;

use bugle_broker::{Bus, Options, StartAt};
use bugle_core::ids::Name;
use bugle_core::import::{ClaimOutcome, Import, Reply, Strength};
use bugle_core::row::Expiring;
use bugle_core::time::{Millis, Timestamp};
use bugle_store::{ScannedRow, Store};

use crate::support::{Producer, Script, ack, event, set_up, settled, start, stop, subscription, wait};

const STORE: &str = "mail";

/// Rows of claims and kv entries, and entries of the index that finds them.
fn rows(dir: &Path) -> (usize, usize, usize) {
    let (store, _) = Store::open(dir, bugle_store::Options::default()).unwrap();
    let scanned: Vec<ScannedRow> = store.scan().collect::<Result<_, _>>().unwrap();
    let claims = scanned.iter().filter(|row| matches!(row, ScannedRow::Claim { .. })).count();
    let entries = scanned.iter().filter(|row| matches!(row, ScannedRow::Kv { .. })).count();
    let index = |of| store.expiries(of, None, Timestamp(u64::MAX), 10_000).unwrap().len();
    (claims, entries, index(Expiring::Claim) + index(Expiring::Kv))
}

async fn claim(call: &mut bugle_broker::Call, key: String, keep: Millis) -> ClaimOutcome {
    match call.import(Import::Claim { key, strength: Strength::Strong, keep }).await {
        Ok(Reply::Claim(outcome)) => outcome,
        other => panic!("a claim was answered {other:?}"),
    }
}

async fn put(call: &mut bugle_broker::Call, key: String, ttl: Option<Millis>) {
    assert_eq!(call.import(Import::KvPut { key, value: b"v".to_vec(), ttl }).await, Ok(Reply::Done));
}

/// Waits until so many rows were removed.
async fn swept(bus: &Bus, rows: usize) {
    wait("the sweep", || bus.commits().swept.get() >= rows as u64).await;
}

#[tokio::test]
async fn rows_of_ended_claims_and_entries_go_and_renewed_ones_stay() {
    const MANY: usize = 600;
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription(STORE), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    let first = producer.store("orders", vec![event("e0", None, "x"), event("e1", None, "x")]).await;

    let (short, long) = (Millis(300), Millis::from_secs(3600));
    let mut call = script.take().await;
    for n in 0..MANY {
        put(&mut call, format!("short/{n}"), Some(short)).await;
    }
    for (n, keep) in [(0, short), (1, short), (2, long)] {
        let outcome = claim(&mut call, format!("order:{n}"), keep).await;
        let ClaimOutcome::Claimed { claim, uncertain: false } = outcome else { panic!("{outcome:?}") };
        assert_eq!(call.import(Import::Confirm { claim, receipt: None }).await, Ok(Reply::Done));
    }
    put(&mut call, "renewed".to_owned(), Some(short)).await;
    put(&mut call, "kept".to_owned(), None).await;
    call.finish(ack());
    let mut call = script.take().await;
    put(&mut call, "renewed".to_owned(), Some(long)).await;
    call.finish(ack());
    settled(&bus, STORE, first + 2).await;
    drop(producer);
    swept(&bus, MANY + 2).await;
    let store = Name::from(STORE);
    assert!(bus.kv_get(&store, "renewed").unwrap().is_some());
    assert!(bus.kv_get(&store, "kept").unwrap().is_some());
    stop(bus).await;
    let (claims, entries, index) = rows(dir.path());
    assert_eq!((claims, entries), (1, 2), "one claim and two entries have not ended");
    assert_eq!(index, 2, "of them one claim and one entry end by time");
}

#[tokio::test]
async fn what_ended_while_the_host_was_down_goes_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::keeps();
    let bus = start(dir.path(), &script, Options::default());
    set_up(&bus, subscription(STORE), StartAt::Latest).await;
    let store = Name::from(STORE);
    let ends = bus.now().after(Millis(1_200));
    for key in ["a", "b"] {
        bus.kv_put(&store, key.to_owned(), Some(b"v".to_vec()), Some(ends), Vec::new()).await.unwrap();
    }
    stop(bus).await;
    assert_eq!(rows(dir.path()), (0, 2, 2));
    let bus = start(dir.path(), &script, Options::default());
    swept(&bus, 2).await;
    assert!(bus.now() >= ends, "not early");
    stop(bus).await;
    assert_eq!(rows(dir.path()), (0, 0, 0));
}
