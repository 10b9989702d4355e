//! What the run came to: the checker's judgement on the logs and the store, and a row of figures per channel.
//!
//! Delivered and dead are counted in the store dump, repeats in the receivers' logs, the rest is the host's own counting.
//!
//! Invariant: nothing the host says of itself can make the verdict better.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use bugle_checker::record::{CallAnswer, Record, State};
use bugle_checker::{Allowances, History, Report, check};

use crate::channels::INBOX;
use crate::figures::Figures;

/// One line of the final table.
pub(crate) struct Row {
    pub(crate) channel: String,
    pub(crate) delivered: u64,
    pub(crate) repeated: u64,
    pub(crate) dead: u64,
    pub(crate) figures: Figures,
}

/// See the module.
pub(crate) struct Verdict {
    pub(crate) report: Report,
    pub(crate) rows: Vec<Row>,
    /// What the checker cannot see: the inbox is kept in the host's kv store.
    pub(crate) problems: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.report.is_clean() && self.problems.is_empty()
    }
}

/// What is judged.
pub(crate) struct Evidence {
    /// Logs of producer, receivers and director.
    pub(crate) files: Vec<PathBuf>,
    /// The store dump, as the host wrote it.
    pub(crate) dump: String,
    /// Messages found in the inbox.
    pub(crate) inbox: u64,
    /// Counters by channel.
    pub(crate) figures: BTreeMap<String, Figures>,
}

pub(crate) fn judge(evidence: Evidence) -> anyhow::Result<Verdict> {
    let mut history = History::default();
    let mut accepted = BTreeMap::new();
    for path in &evidence.files {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
        for record in text.lines().map(serde_json::from_str::<Record>) {
            let record = record.with_context(|| format!("a line of `{}`", path.display()))?;
            count_accepted(&record, &mut accepted);
            history.push(record);
        }
    }
    let states = settled(&evidence.dump)?;
    let count = |name: &str, state: State| states.get(&(name.to_owned(), state as u8)).copied().unwrap_or_default();
    let mut problems = Vec::new();
    let acked = count(INBOX, State::Acked);
    if acked != evidence.inbox {
        problems.push(format!("{acked} deliveries to the inbox are acked, and it holds {} messages", evidence.inbox));
    }
    let repeats = |channel: &str| {
        let of_channel = accepted.iter().filter(|((name, _), _)| name == channel);
        of_channel.map(|(_, calls)| calls - 1).sum()
    };
    let row = |(channel, figures): (String, Figures)| Row {
        delivered: count(&channel, State::Acked),
        dead: count(&channel, State::Dead),
        repeated: repeats(&channel),
        channel,
        figures,
    };
    let rows = evidence.figures.into_iter().map(row).collect();
    history.read("store dump", evidence.dump.as_bytes())?;
    history.complete();
    let strict = Allowances { unsettled_events: false, unknown_results: false, ..Allowances::default() };
    Ok(Verdict { report: check(&history, &strict), rows, problems })
}

/// Acked and dead deliveries of the store dump, by channel.
fn settled(dump: &str) -> anyhow::Result<BTreeMap<(String, u8), u64>> {
    let mut states = BTreeMap::new();
    for line in dump.lines() {
        let record: Record =
            serde_json::from_str(line).with_context(|| format!("the store dump has the line {line}"))?;
        if let Record::State(row) = record {
            *states.entry((row.subscription, row.state as u8)).or_default() += 1;
        }
    }
    Ok(states)
}

/// Accepted calls of each event, by channel: more than one are repeats.
fn count_accepted(record: &Record, accepted: &mut BTreeMap<(String, String), u64>) {
    if let Record::Call(call) = record
        && call.answer == CallAnswer::Accepted
    {
        *accepted.entry((call.subscription.clone(), call.id.clone())).or_default() += 1;
    }
}
