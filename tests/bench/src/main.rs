//! Benchmarks: B1 (durable ingest), B3 (end to end through a plugin) and B4 (what claims and records cost) of the real host, each on
//! a fresh data directory, and B10 (what the sandbox adds to a call) of the sandbox alone and
//! of the bus in this process.
//!
//! Prints one JSON line per result and, at the end, a table for people. The load runs in this process, on the same machine as the
//! host; CPU per event is taken from process accounting and fsyncs from the host's own counter, since wall times are noisy here.
//! But for B10 it knows the host as its users do: binary, command line, QUIC client.

mod bus;
mod calls;
mod end_to_end;
mod host;
mod ingest;
mod load;
mod plugin_tax;
mod report;
mod state_cost;
mod waiting_calls;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::report::Report;
use crate::waiting_calls::Wait;

/// What to measure and for how long.
#[derive(Debug, Parser)]
#[command(about = "Measure the host on this machine", after_help = "Example: bugle-bench --seconds 10 --scenario b1")]
struct Arguments {
    /// Only this scenario; default all.
    #[arg(long)]
    scenario: Option<Scenario>,
    /// Measured seconds of each ingest run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Events of each end-to-end run.
    #[arg(long, default_value_t = 500_000)]
    events: u64,
    /// Events of each run of B4.
    #[arg(long, default_value_t = 100_000)]
    state_events: u64,
    /// Calls of each run of B10.
    #[arg(long, default_value_t = 200_000)]
    calls: usize,
    /// Calls that wait for an answer at once in B10.
    #[arg(long, default_value_t = 10_000)]
    waiting: usize,
    /// Repeats of each run; the median is printed in the table.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// The host's binary; default: `bugle` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    B1,
    B3,
    B4,
    B10,
}

fn main() -> Result<()> {
    if std::env::args().nth(1).is_some_and(|word| word == waiting_calls::RECEIVER) {
        return waiting_calls::receive();
    }
    let arguments = Arguments::parse();
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("bugle"),
    };
    anyhow::ensure!(binary.exists(), "`{}` does not exist; build it with `cargo build -p bugle`", binary.display());
    let wanted = |name: Scenario| arguments.scenario.is_none_or(|only| only == name);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start tokio")?;
    let mut report = Report::default();
    for repeat in 1..=arguments.repeats {
        if wanted(Scenario::B1) {
            for payload in [256, 1024] {
                let result = runtime.block_on(ingest::run(&binary, payload, Duration::from_secs(arguments.seconds)))?;
                report.add(repeat, result);
            }
        }
        if wanted(Scenario::B3) {
            let result = runtime.block_on(end_to_end::run(&binary, arguments.events))?;
            report.add(repeat, result);
        }
        if wanted(Scenario::B4) {
            for result in runtime.block_on(state_cost::run(&binary, arguments.state_events))? {
                report.add(repeat, result);
            }
        }
        if wanted(Scenario::B10) {
            for result in plugin_tax::run(arguments.calls)? {
                report.add(repeat, result);
            }
            for result in bus::run(arguments.events)? {
                report.add(repeat, result);
            }
            for wait in [Wait::Import, Wait::Answer] {
                report.add(repeat, waiting_calls::run(arguments.waiting, wait)?);
            }
        }
    }
    report.print_table();
    Ok(())
}
