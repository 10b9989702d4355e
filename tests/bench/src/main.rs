//! Benchmarks of the real host: scenarios B1 (durable ingest) and B3 (end to end through a plugin), each on a fresh data directory.
//!
//! Prints one JSON line per result and, at the end, a table for people. The load runs in this process, on the same machine as the
//! host; CPU per event is taken from process accounting and fsyncs from the host's own counter, since wall times are noisy here.
//! Knows the host as its users do: binary, command line, QUIC client.

mod end_to_end;
mod host;
mod ingest;
mod load;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::report::Report;

/// What to measure and for how long.
#[derive(Debug, Parser)]
#[command(about = "Measure the host on this machine", after_help = "Example: bugle-bench --seconds 10 --scenario b1")]
struct Arguments {
    /// Only this scenario (b1 or b3); default all.
    #[arg(long)]
    scenario: Option<String>,
    /// Measured seconds of each ingest run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Events of each end-to-end run.
    #[arg(long, default_value_t = 500_000)]
    events: u64,
    /// Repeats of each run; the median is printed in the table.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// The host's binary; default: `bugle` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("bugle"),
    };
    anyhow::ensure!(binary.exists(), "`{}` does not exist; build it with `cargo build -p bugle`", binary.display());
    let wanted = |name: &str| arguments.scenario.as_deref().is_none_or(|only| only == name);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start tokio")?;
    let mut report = Report::default();
    for repeat in 1..=arguments.repeats {
        if wanted("b1") {
            for payload in [256, 1024] {
                let result = runtime.block_on(ingest::run(&binary, payload, Duration::from_secs(arguments.seconds)))?;
                report.add(repeat, result);
            }
        }
        if wanted("b3") {
            let result = runtime.block_on(end_to_end::run(&binary, arguments.events))?;
            report.add(repeat, result);
        }
    }
    report.print_table();
    Ok(())
}
