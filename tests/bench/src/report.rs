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
    pub(crate) host_cpu_us: Option<f64>,
    /// CPU of the load generator per event, in microseconds.
    pub(crate) load_cpu_us: Option<f64>,
    /// Events per synced commit.
    pub(crate) events_per_sync: Option<f64>,
    /// Latency in milliseconds, from the call to the confirm, or from publish to settled: median.
    pub(crate) p50_ms: Option<f64>,
    /// The slowest hundredth.
    pub(crate) p99_ms: Option<f64>,
    /// Resident memory of the host at the end, in MiB; for waiting calls, what they added.
    pub(crate) host_mib: u64,
    /// Anything else worth telling, for people.
    pub(crate) note: String,
}

impl Measured {
    /// Nothing measured yet.
    pub(crate) fn of(scenario: &'static str, durability: &'static str) -> Measured {
        Measured {
            scenario,
            durability,
            settings: String::new(),
            events: 0,
            seconds: 0.0,
            rate: 0.0,
            host_cpu_us: None,
            load_cpu_us: None,
            events_per_sync: None,
            p50_ms: None,
            p99_ms: None,
            host_mib: 0,
            note: String::new(),
        }
    }
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
            "| scenario | settings | class | events/s (median, range) | host us/event | load us/event | events/sync | p50 ms | p99 ms | host MiB | note |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for ((scenario, settings), runs) in &self.runs {
            let mut rates: Vec<f64> = runs.iter().map(|run| run.rate).collect();
            let rate = median(&mut rates);
            let (low, high) = (rates[0], rates[rates.len() - 1]);
            let shown = |of: fn(&Measured) -> Option<f64>, digits: usize| {
                let mut values: Vec<f64> = runs.iter().filter_map(of).collect();
                if values.is_empty() { "-".to_owned() } else { format!("{:.digits$}", median(&mut values)) }
            };
            println!(
                "| {scenario} | {settings} | {} | {rate:.0} ({low:.0} to {high:.0}) | {} | {} | {} | {} | {} | {} | {} |",
                runs[0].durability,
                shown(|run| run.host_cpu_us, 2),
                shown(|run| run.load_cpu_us, 2),
                shown(|run| run.events_per_sync, 0),
                shown(|run| run.p50_ms, 2),
                shown(|run| run.p99_ms, 2),
                shown(|run| Some(run.host_mib as f64), 0),
                runs[0].note,
            );
        }
    }
}

/// The median of at least one value, which are sorted by it.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
