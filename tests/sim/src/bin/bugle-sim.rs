//! Runs many seeds of the simulator on all cores: `bugle-sim --seeds 20000 --start 1`, or `bugle-sim --minutes 30`.
//!
//! Stops at the lowest seed that breaks a rule, makes its history short and writes it where the tests will replay it. Knows nothing
//! of what is simulated.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bugle_sim::{ACTIONS, Failure, History, Plan, replay_noting, run_many, shrink};

/// Seeds between two lines of progress.
const SEEDS_PER_LINE: u64 = 2_000;

const HELP: &str = "\
Runs random histories of the whole bus and checks its rules after every step.

  --seeds N     how many histories (20000)
  --start N     the first seed (1)
  --minutes N   stop after this time; without --seeds as many as fit
  --threads N   how many at once (the cores)
  --replay FILE a kept history instead, with its journal";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let (mut plan, mut minutes, mut file, mut seeds) = (Plan::new(1, 20_000), None, None, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("`{value}` is not a number"));
        match word.as_str() {
            "--seeds" => seeds = Some(number()?),
            "--start" => plan.start = number()?,
            "--minutes" => minutes = Some(number()?),
            "--threads" => plan.threads = usize::try_from(number()?).unwrap_or(1),
            "--replay" => file = Some(PathBuf::from(value)),
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    if let Some(file) = file {
        return replay_file(&file);
    }
    let start = Instant::now();
    plan.until = minutes.map(|minutes| start + Duration::from_secs(minutes * 60));
    plan.seeds = seeds.unwrap_or(if minutes.is_some() { u64::MAX } else { plan.seeds });
    let result = run_many(plan, |seeds, all| {
        if seeds % SEEDS_PER_LINE == 0 {
            println!("{seeds} seeds, {} attempts, {} crashes", all.attempts, all.crashes);
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    match result {
        Ok(all) => {
            println!("{} seeds from {} on in {seconds:.1} s, no rule broken: {all:?}", all.seeds, plan.start);
            Ok(ExitCode::SUCCESS)
        }
        Err((seed, failure)) => {
            report(seed, &failure);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn replay_file(file: &std::path::Path) -> Result<ExitCode, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("could not read `{}`: {error}", file.display()))?;
    let history: History = text.parse()?;
    Ok(match replay_noting(&history, true) {
        Ok(summary) => {
            println!("no rule broken: {summary:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    })
}

/// Shrinks the history and keeps it as a regression.
fn report(seed: u64, failure: &Failure) {
    eprintln!("seed {seed} {failure}\nmaking it shorter ...");
    let short = shrink(&History::draw(seed, true, ACTIONS));
    let broken = match replay_noting(&short, true) {
        Ok(_) => failure.broken.clone(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.broken
        }
    };
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions").join(format!("seed-{seed}.txt"));
    let text = format!("# {}\n# {}\n{short}", broken.rule, broken.what.replace('\n', "\n# "));
    match std::fs::write(&file, text) {
        Ok(()) => eprintln!("{} actions are left, kept in {}", short.actions.len(), file.display()),
        Err(error) => eprintln!("could not write {}: {error}", file.display()),
    }
    eprintln!("run it again with: bugle-sim --replay {}", file.display());
}
