//! The product as the tests run it: the same program, in which the environment may plant one bug.
//!
//! Only this binary looks at `BUGLE_SEEDED_BUG`, so no operator can plant anything. Invariant: an unknown bug is refused, since a
//! test that plants nothing would prove nothing.

use std::process::ExitCode;

use bugle_core::seeded::{self, Bug};
use clap::Parser as _;

fn main() -> ExitCode {
    if let Ok(word) = std::env::var("BUGLE_SEEDED_BUG") {
        let Some(bug) = Bug::from_word(&word) else {
            eprintln!("there is no seeded bug `{word}`");
            return ExitCode::FAILURE;
        };
        seeded::plant(Some(bug));
    }
    bugle::cli::main(bugle::cli::Cli::parse())
}
