//! Random histories of the subscription machine: publish, deliver, fail, crash, pause, forge, in any order, from a seed.
//!
//! `BUGLE_MACHINE_SEEDS` sets how many seeds are run, `BUGLE_MACHINE_START` the first. A failure prints the seed and its journal.

mod batches;
mod check;
mod disk;
mod event;
mod expiry;
mod letters;
mod loads;
mod protect;
mod runs;
#[cfg(feature = "seeded-bugs")]
mod seeded;
mod spec;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use protect::Reached;
use world::World;

/// Actions per history: long enough for several crashes, retries and holds.
const ACTIONS: u32 = 400;

/// Runs one history; what went wrong, with its journal.
fn run(seed: u64) -> Result<Reached, String> {
    let mut world = World::new(seed);
    let end = catch_unwind(AssertUnwindSafe(|| world.run(ACTIONS)))
        .unwrap_or_else(|panic| Err(format!("panicked: {:?}", panic.downcast_ref::<String>())));
    end.map(|()| world.reached).map_err(|wrong| {
        let tail = world.journal.len().saturating_sub(120);
        format!("seed {seed}: {wrong}\njournal:\n{}\nseed {seed}: {wrong}", world.journal[tail..].join("\n"))
    })
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[cfg(not(feature = "seeded-bugs"))]
#[test]
fn random_histories_keep_every_rule() {
    keep_every_rule();
}

#[cfg(not(feature = "seeded-bugs"))]
#[test]
fn a_wall_clock_that_steps_expires_nothing_early() {
    expiry::steps_of_the_wall().unwrap();
}

fn keep_every_rule() {
    let start = setting("BUGLE_MACHINE_START", 1);
    let mut all = Vec::new();
    for seed in start..start + setting("BUGLE_MACHINE_SEEDS", 300) {
        match run(seed) {
            Ok(reached) => all.push(reached),
            Err(wrong) => panic!("{wrong}"),
        }
    }
    let sum = |count: fn(&Reached) -> u64| all.iter().map(count).sum::<u64>();
    let sums = [
        ("fetches", sum(|reached| reached.fetches)),
        ("openings", sum(|reached| reached.openings)),
        ("deferred", sum(|reached| reached.deferred)),
        ("rerouted", sum(|reached| reached.rerouted)),
        ("dropped", sum(|reached| reached.dropped)),
        ("left behind", sum(|reached| reached.left_behind)),
        ("poisoned", sum(|reached| reached.poisoned)),
        ("given back", sum(|reached| reached.given_back)),
        ("shared", sum(|reached| reached.shared)),
        ("expired", sum(|reached| reached.expired)),
        ("shared and broken", sum(|reached| reached.shared_broken)),
    ];
    println!("{sums:?}");
    for (what, count) in sums {
        assert!(all.len() < 100 || count > 0, "no history came to this: {what}");
    }
}
