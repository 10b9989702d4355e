//! Each bug that can be planted in the machine is found by the histories that pass without it.
//!
//! One test, since a planted bug is planted for the whole process.

use bugle_core::seeded::{Bug, plant};

/// A bug must be found within this many histories.
const SEEDS: u64 = 200;

#[test]
fn every_planted_bug_is_found_and_without_one_nothing_is() {
    crate::keep_every_rule();
    crate::expiry::steps_of_the_wall().unwrap();
    plant(Some(Bug::WallClockTtl));
    let early = crate::expiry::steps_of_the_wall();
    plant(None);
    assert!(
        early.is_err_and(|wrong| wrong.contains("expired after 60 s")),
        "a clock that follows each step expires early"
    );
    let bugs = [
        Bug::CumulativeAck,
        Bug::RetryToTheTail,
        Bug::DeadLetterAfterAck,
        Bug::StaleLeaseAccepted,
        Bug::BatchPaysForOne,
        Bug::ExpiredIsRetried,
    ];
    for bug in bugs {
        plant(Some(bug));
        let found = (1..=SEEDS).find_map(|seed| crate::run(seed).err());
        plant(None);
        let found = found.unwrap_or_else(|| panic!("{} was not found in {SEEDS} histories", bug.word()));
        println!("{}: {}", bug.word(), found.lines().next().unwrap_or_default());
    }
}
