//! Stands in for the host's program where only its hidden subcommand is needed: `compile_child compile-component IN OUT`.
//!
//! Tests give its path to [`bugle_sandbox::Compiler::Child`].

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, subcommand, input, output] = arguments.as_slice() else {
        eprintln!("usage: compile_child compile-component IN OUT");
        return ExitCode::FAILURE;
    };
    if subcommand != bugle_sandbox::COMPILE_SUBCOMMAND {
        eprintln!("`{subcommand}` is no subcommand");
        return ExitCode::FAILURE;
    }
    match bugle_sandbox::compile_child_main(Path::new(input), Path::new(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
