//! Results: one JSON line each as they come, a table of medians at the end.

use std::collections::BTreeMap;

use serde::Serialize;

/// One measured run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// Scenario, as in the benchmark suite.
    pub(crate) scenario: &'static str,
    /// `F`: synced to disk before the confirm.
    pub(crate) durability: &'static str,
    /// Settings of the run, for people.
    pub(crate) settings: String,
    /// Confirmed or settled events.
    pub(crate) events: u64,
    /// Wall time.
    pub(crate) seconds: f64,
    /// Events per second.
    pub(crate) rate: f64,
    /// CPU of the host per event, in microseconds.
    pub(crate) host_cpu_us: f64,
    /// CPU of the load generator per event, in microseconds.
    pub(crate) load_cpu_us: f64,
    /// Events per synced commit.
    pub(crate) events_per_sync: f64,
    /// Latency in milliseconds, from the call to the confirm, or from publish to settled: median.
    pub(crate) p50_ms: f64,
    /// The slowest hundredth.
    pub(crate) p99_ms: f64,
    /// Resident memory of the host at the end, in MiB.
    pub(crate) host_mib: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    runs: BTreeMap<(&'static str, String), Vec<Measured>>,
}

impl Report {
    pub(crate) fn add(&mut self, repeat: usize, measured: Measured) {
        #[derive(Serialize)]
        struct Line<'a> {
            repeat: usize,
            #[serde(flatten)]
            measured: &'a Measured,
        }
        println!("{}", serde_json::to_string(&Line { repeat, measured: &measured }).expect("plain numbers and texts"));
        self.runs.entry((measured.scenario, measured.settings.clone())).or_default().push(measured);
    }

    pub(crate) fn print_table(&self) {
        println!();
        println!(
            "| scenario | settings | class | events/s (median, range) | host us/event | load us/event | events/sync | p50 ms | p99 ms | host MiB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for ((scenario, settings), runs) in &self.runs {
            let median = |of: fn(&Measured) -> f64| {
                let mut values: Vec<f64> = runs.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                (values[values.len() / 2], values[0], values[values.len() - 1])
            };
            let (rate, low, high) = median(|run| run.rate);
            println!(
                "| {scenario} | {settings} | {} | {rate:.0} ({low:.0} to {high:.0}) | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} |",
                runs[0].durability,
                median(|run| run.host_cpu_us).0,
                median(|run| run.load_cpu_us).0,
                median(|run| run.events_per_sync).0,
                median(|run| run.p50_ms).0,
                median(|run| run.p99_ms).0,
                median(|run| run.host_mib as f64).0,
            );
        }
    }
}
