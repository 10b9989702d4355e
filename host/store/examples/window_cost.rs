//! What a full id window of 10 million ids costs on disk: a restart, and the look-up of an id in a sealed block.
//!
//! Run with `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p bugle-store --example window_cost [directory]`. Blocks are written as admission
//! writes them; behind them the log has as many events as a block has ids, which a restart reads again.

use std::path::PathBuf;
use std::time::Instant;

use bugle_core::admission::{Admission, Facts, IdLookup, IdPlace, Recovery, WindowSize};
use bugle_core::event::{Event, Index, Span};
use bugle_core::ids::{BootId, Slot, TopicId};
use bugle_core::time::Timestamp;
use bugle_store::{Durability, Opened, Options, Store};

const EVENT_BYTES: usize = 256;
const EVENTS: u64 = 11_000_000;
const GROUP: u64 = 4096;

fn main() {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).expect("the directory given can be written");
    let (store, opened) = Store::open(dir.path(), Options::default()).expect("a new store opens");
    let mut admission = recover(&store, &opened);
    let started = Instant::now();
    let mut made = 0;
    while made < EVENTS {
        let mut writes = Vec::new();
        for _ in 0..GROUP {
            admission.append(Timestamp(1), TopicId(1), event(made), &mut writes);
            made += 1;
        }
        admission.seal(Timestamp(1), &mut writes);
        let mut batch = store.batch(2 << 20);
        writes.iter().for_each(|write| batch.push(write));
        store.commit(batch, Durability::Synced).expect("the disk works");
        admission.committed();
        if made % (GROUP * 64) == 0 {
            store.upkeep().expect("the disk works");
        }
    }
    println!(
        "{made} events with ids, synced by {GROUP}: {:.0} events/s",
        made as f64 / started.elapsed().as_secs_f64()
    );
    store.close().expect("the mark can be written");

    let started = Instant::now();
    let (store, opened) = Store::open(dir.path(), Options::default()).expect("the store opens again");
    let was_opened = started.elapsed();
    let admission = recover(&store, &opened);
    println!("restart: open {was_opened:?}, admission {:?}", started.elapsed() - was_opened);
    look_up(&store, &admission);
}

fn recover(store: &Store, opened: &Opened) -> Admission {
    let mut recovery = Recovery::new(Facts {
        slot: Slot(0),
        seed: opened.id_seed,
        boot: BootId(1),
        first_boot: BootId(0),
        boots: Vec::new(),
        next: opened.next,
        floor: opened.floor,
        dropped_below: opened.dropped_below,
        topics: Vec::new(),
        window: WindowSize::default(),
    });
    store.feed(&mut recovery).expect("the disk works");
    recovery.finish()
}

fn look_up(store: &Store, admission: &Admission) {
    let blocks = store.id_blocks().expect("the disk works");
    let lookups: Vec<IdLookup> = (0..20_000_u64)
        .map(|number| IdLookup {
            index: 0,
            hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            place: IdPlace::Block(blocks[number as usize % blocks.len()].0),
        })
        .collect();
    for round in ["first", "second"] {
        let started = Instant::now();
        store.id_facts(&lookups).expect("the disk works");
        let us = started.elapsed().as_secs_f64() * 1e6 / lookups.len() as f64;
        println!("{round} look-up in {} sealed blocks: {us:.2} us each", blocks.len());
    }
    println!("window: {} ids", admission.window().0);
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
