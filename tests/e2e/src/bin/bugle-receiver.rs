//! An HTTP receiver as a process of its own, for tests that must not share one with thousands of connections.
//!
//! Prints its port on the first line, serves `/hook` and `/stats`, and ends when its standard input is closed, so it never outlives
//! the test that started it.

use std::io::Read as _;
use std::time::Duration;

use bugle_receivers::http::{HttpReceiver, Route};
use bugle_receivers::{Script, limits};
use clap::Parser;

/// Answers every request to `/hook`.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  bugle-receiver --hold-until 10000 --delay-ms 1000")]
struct Arguments {
    /// Answer nothing before so many requests wait at once
    #[arg(long, default_value_t = 0)]
    hold_until: u64,
    /// Milliseconds before each answer
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    limits::raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let script = Script { delay: Duration::from_millis(arguments.delay_ms), ..Script::default() };
    let route = Route { path: "/hook".to_owned(), subscription: String::new(), script };
    runtime.block_on(async {
        let receiver = HttpReceiver::start(None, vec![route])?;
        if arguments.hold_until > 0 {
            receiver.hold(arguments.hold_until);
        }
        println!("{}", receiver.address().port());
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}
