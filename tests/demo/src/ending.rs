//! The ending: the table, the verdict, and what to try next.
//!
//! Prints only. Invariant: every command that is printed works as it stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bugle_receivers::producer::Counts;
use tempfile::TempDir;

use crate::stage::Stage;
use crate::verdict::{Row, Verdict};
use crate::{Arguments, table};

/// What is told of the run itself.
pub(crate) struct Run<'a> {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) counts: Counts,
    pub(crate) arguments: &'a Arguments,
}

pub(crate) fn report(run: &Run<'_>, verdict: &Verdict) {
    if run.arguments.json {
        let repeated: BTreeMap<&str, u64> =
            verdict.rows.iter().map(|row| (row.channel.as_str(), row.repeated)).collect();
        let line = serde_json::json!({
            "seed": run.seed,
            "ok": verdict.is_good(),
            "seconds": run.took.as_secs(),
            "repeated": repeated,
            "repeats_at_kill_max": verdict.report.figures.repeats_at_one_kill_max,
            "violations": verdict.report.codes(),
            "problems": verdict.problems,
        });
        println!("{line}");
        return;
    }
    let counts = run.counts;
    println!(
        "\n{} events published; {} more publishes with an id that was stored before were recognised\n",
        counts.stored, counts.duplicates
    );
    let headings = ["channel", "delivered", "retried", "suppressed", "repeated at the kill", "dead", "p50", "p99"];
    table::print(&headings, &verdict.rows.iter().map(row).collect::<Vec<_>>());
    println!("\nThe independent checker on the logs of producer and receivers and on the store:");
    verdict.report.to_string().trim_end().lines().for_each(|line| println!("  {line}"));
    verdict.problems.iter().for_each(|problem| println!("  problem: {problem}"));
}

fn row(row: &Row) -> Vec<String> {
    let millis = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let figures = &row.figures;
    vec![
        row.channel.clone(),
        row.delivered.to_string(),
        (figures.counter("bugle_retried_total") + figures.counter("bugle_unknown_total")).to_string(),
        figures.counter("bugle_suppressed_total").to_string(),
        row.repeated.to_string(),
        row.dead.to_string(),
        millis(figures.settled_ms(50)),
        millis(figures.settled_ms(99)),
    ]
}

/// Stops the host, keeps what is to be kept, and says what to do with it.
pub(crate) fn close(run: &Run<'_>, verdict: &Verdict, stage: Stage, logs: TempDir) -> anyhow::Result<()> {
    let is_kept = run.arguments.keep || !verdict.is_good();
    let folder = stage.close(is_kept)?;
    let logs = is_kept.then(|| logs.keep());
    if run.arguments.json {
        if let (Some(folder), Some(logs)) = (folder, logs) {
            eprintln!("kept: {} {}", folder.display(), logs.display());
        }
        return Ok(());
    }
    let seconds = run.took.as_secs();
    match verdict.is_good() {
        false => println!("\nFAILED after {seconds} s (seed {}): a promise was broken.", run.seed),
        true => {
            println!(
                "\nOK after {seconds} s: nothing lost, nothing out of order, and each repeat carried the same id, so"
            );
            println!("that a receiver that drops equal ids saw every event exactly once.");
        }
    }
    match (folder, logs) {
        (Some(folder), Some(logs)) => look_around(&folder, &logs),
        _ => try_next(),
    }
    Ok(())
}

fn program() -> String {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bugle-demo"));
    own.with_file_name("bugle").display().to_string()
}

fn try_next() {
    let bugle = program();
    println!("\nWhat to try next:");
    println!("  make demo ARGS=--keep           the same, then look around in its data directory");
    println!("  {bugle} --help");
    println!("  docs/plugin-guide.md            write a channel in about 20 lines");
}

fn look_around(folder: &Path, logs: &Path) {
    let bugle = program();
    println!("\nThe logs are in {}. To look around in what the host kept:", logs.display());
    println!("  export BUGLE_DATA_DIR={}", folder.join("data").display());
    println!("  {bugle} serve --config {} &", folder.join("bugle.toml").display());
    println!("  {bugle} status");
    println!("  {bugle} tail github --from earliest --limit 3");
    println!("  {bugle} kv scan inbox --prefix user/ --limit 5");
    println!("  {bugle} dead list --limit 3");
}
