//! Runs many seeds of the simulator: `bugle-sim --seeds 10000 --start 1`. Stops at the first seed that breaks a rule and prints it.
//!
//! Knows nothing of what is simulated.

use std::process::ExitCode;

use bugle_sim::{Summary, run};

/// Seeds between two lines of progress.
const SEEDS_PER_LINE: u64 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let setting = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(Ok(default), |text| text.parse().map_err(|_| text.clone()))
    };
    let (seeds, start) = match (setting("--seeds", 1_000), setting("--start", 1)) {
        (Ok(seeds), Ok(start)) => (seeds, start),
        (Err(text), _) | (_, Err(text)) => {
            eprintln!("`{text}` is not a number; example: bugle-sim --seeds 10000 --start 1");
            return ExitCode::FAILURE;
        }
    };
    let mut all = Summary::default();
    for seed in start..start + seeds {
        match run(seed, true) {
            Ok(summary) => add(&mut all, summary),
            Err(wrong) => {
                eprintln!("{wrong}\nrun it again with: bugle-sim --seeds 1 --start {seed}");
                return ExitCode::FAILURE;
            }
        }
        if (seed + 1 - start) % SEEDS_PER_LINE == 0 {
            println!("{} seeds: {all:?}", seed + 1 - start);
        }
    }
    println!("{seeds} seeds from {start} on, no rule broken: {all:?}");
    ExitCode::SUCCESS
}

fn add(all: &mut Summary, one: Summary) {
    all.events += one.events;
    all.attempts += one.attempts;
    all.crashes += one.crashes;
    all.received += one.received;
    all.repeats += one.repeats;
}
