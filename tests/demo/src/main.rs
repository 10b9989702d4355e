//! `make demo`: real events through a real host, with faults, a deploy half-way and a kill, and a check at the end.
//!
//! It knows the host only as its users do: binary, command line, admin API, QUIC client. What it claims at the end is decided by
//! the independent checker from the receivers' own logs.
//!
//! Invariant: exit code 0 only if nothing was lost, nothing out of order, and nothing repeated beyond the calls in flight at the
//! kill.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod channels;
mod ending;
mod figures;
mod play;
mod stage;
mod table;
mod traffic;
mod verdict;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

/// Publishes real events through a real host, kills it half-way, and checks what the receivers saw.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  make demo ARGS=\"--seed 7 --keep\"")]
pub(crate) struct Arguments {
    /// Repeats the random choices of an earlier run
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Events to publish
    #[arg(long, default_value_t = 4000)]
    pub(crate) events: u32,
    /// Events published in a second
    #[arg(long, default_value_t = 300)]
    pub(crate) rate: u32,
    /// Keep the data directory and the logs, and say how to look around in them
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print one line of JSON at the end instead of the tables
    #[arg(long)]
    pub(crate) json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let clock = now.map_or(1, |since| u64::from(since.subsec_nanos()) ^ since.as_secs());
    let seed = arguments.seed.unwrap_or(clock % 1_000_000);
    match play::play(&arguments, seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nthe demo could not be played (seed {seed}): {error:?}");
            ExitCode::from(2)
        }
    }
}
