//! `bugle-checker FILE...`: reads the logs of a run and says which promises were broken.
//!
//! It knows nothing but files and flags; the judging is in the library.
//!
//! Invariant: exit 0 only for a clean history, 1 for a broken promise, 2 when the files or flags cannot be used.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use bugle_checker::{Allowances, History, check};

const USAGE: &str = "\
Decides from the logs of a run whether the bus kept its promises G1, G3, G4, G5 and G6.

Usage: bugle-checker [OPTIONS] FILE...

  FILE                 JSON lines written by producers, receivers, the killer and the store dump, in any order
  --json               print the whole report as JSON
  --all-settled        every event must be settled at the end
  --allow-unknown      producers may end in doubt
  --ack-window-ms N    an effect answered at most N ms before a kill may be repeated after it (default 2000)

Example: bugle-checker --all-settled producer-*.jsonl webhook.jsonl kills.jsonl store.jsonl";

struct Arguments {
    files: Vec<String>,
    json: bool,
    allowances: Allowances,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut history = History::default();
    for file in &arguments.files {
        let read = File::open(file).and_then(|opened| history.read(file, BufReader::new(opened)));
        if let Err(error) = read {
            eprintln!("could not read `{file}`: {error}");
            return ExitCode::from(2);
        }
    }
    history.complete();
    let report = check(&history, &arguments.allowances);
    if arguments.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("could not write the report as JSON: {error}");
                return ExitCode::from(2);
            }
        }
    } else {
        println!("{report}");
    }
    ExitCode::from(u8::from(!report.is_clean()))
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { files: Vec::new(), json: false, allowances: Allowances::default() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => arguments.json = true,
            "--all-settled" => arguments.allowances.unsettled_events = false,
            "--allow-unknown" => arguments.allowances.unknown_results = true,
            "--ack-window-ms" => {
                let number = words.next().and_then(|number| number.parse::<u64>().ok());
                let ms = number.ok_or("`--ack-window-ms` needs a number of milliseconds")?;
                arguments.allowances.ack_window_us = ms.saturating_mul(1_000);
            }
            "--help" | "-h" => return Err("bugle-checker".to_owned()),
            flag if flag.starts_with("--") => return Err(format!("there is no option `{flag}`")),
            _ => arguments.files.push(word),
        }
    }
    if arguments.files.is_empty() {
        return Err("no files to check".to_owned());
    }
    Ok(arguments)
}
