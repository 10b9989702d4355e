//! Random writes and deletes with restarts, against a map in memory.

use std::collections::BTreeMap;

use bugle_core::event::Class;
use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::row::KvRow;
use bugle_core::step::{CatalogKind, Write};
use proptest::prelude::*;

use super::{commit, open, sample};

#[derive(Clone, Debug)]
enum Act {
    Kv(u8, Option<u64>),
    Waiting(u8, bool),
    Chunk(u8, bool),
    Claim(u8, bool),
    Catalog(u8, Option<u8>),
    Commit,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..12_u8, proptest::option::of(any::<u64>())).prop_map(|(key, version)| Act::Kv(key, version)),
        2 => (0..6_u8, any::<bool>()).prop_map(|(offset, is_there)| Act::Waiting(offset, is_there)),
        2 => (0..6_u8, any::<bool>()).prop_map(|(chunk, is_there)| Act::Chunk(chunk, is_there)),
        2 => (0..6_u8, any::<bool>()).prop_map(|(key, is_there)| Act::Claim(key, is_there)),
        2 => (0..6_u8, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Act::Catalog(key, value)),
        4 => Just(Act::Commit),
        1 => Just(Act::Restart),
    ]
}

/// What is there: by kind and key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    kv: BTreeMap<u8, u64>,
    waiting: BTreeMap<u8, ()>,
    chunks: BTreeMap<u8, ()>,
    claims: BTreeMap<u8, ()>,
    catalog: BTreeMap<u8, u8>,
}

fn set<V>(map: &mut BTreeMap<u8, V>, key: u8, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

const SUBSCRIPTION: SubscriptionId = SubscriptionId(3);

fn write(act: &Act, rows: &mut Rows) -> Option<Write> {
    let (subscription, class) = (SUBSCRIPTION, Class::Normal);
    Some(match act {
        Act::Kv(key, version) => {
            set(&mut rows.kv, *key, *version);
            let row = version.map(|version| KvRow { version, ..sample::kv() });
            Write::Kv { store: "s".into(), key: format!("{key:02}"), row }
        }
        Act::Waiting(offset, is_there) => {
            set(&mut rows.waiting, *offset, is_there.then_some(()));
            let row = is_there.then(sample::waiting);
            Write::Waiting { subscription, offset: Offset(u64::from(*offset)), row }
        }
        Act::Chunk(chunk, is_there) => {
            set(&mut rows.chunks, *chunk, is_there.then_some(()));
            Write::Chunk { subscription, class, chunk: u64::from(*chunk), row: is_there.then(sample::chunk) }
        }
        Act::Claim(key, is_there) => {
            set(&mut rows.claims, *key, is_there.then_some(()));
            Write::Claim { scope: "c".into(), key: key.to_string(), row: is_there.then(sample::claim) }
        }
        Act::Catalog(key, value) => {
            set(&mut rows.catalog, *key, *value);
            let value = value.map(|value| vec![value]);
            Write::Catalog { kind: CatalogKind::Topic, key: format!("{key:02}"), value }
        }
        Act::Commit | Act::Restart => return None,
    })
}

fn read(store: &crate::Store) -> Rows {
    let number = |text: &str| text.parse::<u8>().unwrap();
    let of = store.subscription(SUBSCRIPTION).unwrap();
    let kv = store.kv_scan("s", "", None, 100, 1 << 20).unwrap().rows;
    let catalog = store.catalog_list(CatalogKind::Topic, None, 100).unwrap();
    Rows {
        kv: kv.into_iter().map(|(key, row)| (number(&key), row.version)).collect(),
        waiting: store.waiting(SUBSCRIPTION).map(|row| (row.unwrap().0.0 as u8, ())).collect(),
        chunks: of.chunks.into_iter().map(|(_, chunk, _)| (chunk as u8, ())).collect(),
        claims: (0..6)
            .filter(|key| store.claim("c", &key.to_string()).unwrap().is_some())
            .map(|key| (key, ()))
            .collect(),
        catalog: catalog.into_iter().map(|(key, value)| (number(&key), value[0])).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_is_there_and_nothing_else(acts in proptest::collection::vec(act(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        let (mut durable, mut live, mut group) = (Rows::default(), Rows::default(), Vec::new());
        for act in acts {
            group.extend(write(&act, &mut live));
            match act {
                Act::Commit => {
                    commit(&store, &std::mem::take(&mut group));
                    durable = live.clone();
                }
                Act::Restart => {
                    group.clear();
                    live = durable.clone();
                    drop(store);
                    store = open(dir.path()).0;
                }
                Act::Kv(..) | Act::Waiting(..) | Act::Chunk(..) | Act::Claim(..) | Act::Catalog(..) => {}
            }
            prop_assert_eq!(read(&store), durable.clone());
        }
    }
}
