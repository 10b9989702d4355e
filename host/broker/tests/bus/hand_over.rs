//! Between disk and memory: a subscription that falls behind a tiny ring, and one that starts at the beginning, miss nothing.

use std::collections::BTreeSet;

use bugle_broker::{Options, StartAt};
use proptest::prelude::*;

use crate::support::{Act, Producer, Script, ack, event, set_up, settled, start, stop, subscription};

/// Room for a few events of the tests.
const TINY_RING: usize = 2_000;

async fn every_event_once(batches: Vec<usize>, ring_bytes_max: usize, keeps_every: usize) {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::acks();
    let options = Options { ring_bytes_max, ..Options::default() };
    let bus = start(dir.path(), &script, options);
    set_up(&bus, subscription("live"), StartAt::Latest).await;
    let mut producer = Producer::open(&bus, 1).await;
    if keeps_every > 0 {
        script.behave(move |delivery| {
            let is_kept = (delivery.event.position.offset.0 as usize).is_multiple_of(keeps_every);
            if is_kept { Act::Keep } else { Act::End(ack()) }
        });
    }
    let mut published = BTreeSet::new();
    let mut end = 0;
    for (number, size) in batches.iter().enumerate() {
        if number == batches.len() / 2 {
            set_up(&bus, subscription("replay"), StartAt::Earliest).await;
        }
        let ids: Vec<String> = (0..*size).map(|n| format!("e{number}-{n}")).collect();
        let events = ids.iter().map(|id| event(id, Some(&id[..2]), &"x".repeat(100))).collect();
        end = producer.store("orders", events).await + *size as u64;
        published.extend(ids);
        while script.kept() > 8 {
            script.take().await.finish(ack());
        }
    }
    script.behave(|_| Act::End(ack()));
    while script.kept() > 0 {
        script.take().await.finish(ack());
    }
    for name in ["live", "replay"] {
        settled(&bus, name, end).await;
        let seen: Vec<String> =
            script.seen().into_iter().filter(|seen| seen.subscription == name).map(|seen| seen.id).collect();
        let once: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(seen.len(), once.len(), "{name} got an event twice");
        assert_eq!(once, published, "{name} missed an event");
    }
    stop(bus).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_missed_or_repeated_between_ring_and_store(
        batches in proptest::collection::vec(1..40_usize, 2..12),
        ring in prop_oneof![Just(1), Just(TINY_RING), Just(1 << 20)],
        keeps_every in prop_oneof![Just(0_usize), 2..9_usize],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(every_event_once(batches, ring, keeps_every));
    }
}
