//! Random histories of the whole bus, with every test run; `BUGLE_SIM_SEEDS` and `make sim` run more.

use bugle_sim::{Failure, Plan, Summary, run_many};

fn keep_every_rule(plan: Plan) -> Summary {
    let failed = |(seed, failure): (u64, Box<Failure>)| -> Summary {
        panic!("seed {seed} {failure}\nmake it short with: make sim ARGS=\"--start {seed} --seeds 1\"")
    };
    run_many(plan, |_, _| {}).unwrap_or_else(failed)
}

#[test]
fn random_histories_of_the_whole_bus_break_no_rule() {
    let seeds = std::env::var("BUGLE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let all = keep_every_rule(Plan::new(1, seeds));
    println!("{all:?}");
    // Faults that never strike would prove nothing.
    assert!(all.crashes > all.seeds && all.comparisons > 50 * all.seeds, "{all:?}");
    assert!(all.let_go > all.seeds, "{all:?}");
    assert!(all.expired > all.seeds, "{all:?}");
    assert!(all.openings > all.seeds / 4 && all.suppressed > all.seeds / 4, "{all:?}");
    assert!(
        all.repeats > 0
            // Some are erased before they could be given up.
            && all.dead > all.seeds / 5
            && all.unknown > 0
            && all.asked > all.seeds / 4
            && all.conflicts > all.seeds,
        "{all:?}"
    );
}

#[test]
fn without_faults_nothing_is_sent_twice() {
    let all = keep_every_rule(Plan { has_faults: false, ..Plan::new(1, 100) });
    assert_eq!((all.repeats, all.crashes, all.unknown), (0, 0, 0), "{all:?}");
    assert!(all.received > all.seeds, "{all:?}");
}
