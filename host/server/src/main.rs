//! The `bugle` program: reads the command line, does it, tells a failure on standard error and by the exit code.
//!
//! Everything is in the library, so that tests can reach it.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    bugle::cli::main(bugle::cli::Cli::parse())
}
