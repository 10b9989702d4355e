//! A few hundred seeds of the simulator with every test run; more with `bugle-sim` or `BUGLE_SIM_SEEDS`.

use bugle_sim::run;

#[cfg(not(feature = "seeded-bugs"))]
#[test]
fn random_histories_of_the_whole_bus_break_no_rule() {
    random_histories();
}

#[cfg(not(feature = "seeded-bugs"))]
#[test]
fn without_faults_nothing_is_sent_twice() {
    for seed in 1..=40 {
        let summary = run(seed, false).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!((summary.repeats, summary.crashes), (0, 0), "seed {seed}");
        assert!(summary.received > 0, "seed {seed} sent nothing");
    }
}

fn random_histories() {
    let seeds = std::env::var("BUGLE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let (mut crashes, mut repeats) = (0, 0);
    for seed in 1..=seeds {
        let summary = run(seed, true).unwrap_or_else(|wrong| panic!("{wrong}"));
        crashes += summary.crashes;
        repeats += summary.repeats;
    }
    assert!(
        crashes > seeds && repeats > 0,
        "{crashes} crashes and {repeats} repeats: the faults are not strong enough"
    );
}

/// One test, since a planted bug is planted for the whole process.
#[cfg(feature = "seeded-bugs")]
#[test]
fn every_planted_bug_is_found_and_without_one_nothing_is() {
    use bugle_core::seeded::{Bug, plant};
    random_histories();
    for bug in Bug::ALL {
        plant(Some(bug));
        let found = (1..=300).find_map(|seed| run(seed, true).err());
        plant(None);
        let found = found.unwrap_or_else(|| panic!("{} was not found", bug.word()));
        println!("{}: {}", bug.word(), found.lines().last().unwrap_or_default());
    }
}
