//! What can be wrong with one subscription.

use bugle_core::row::{DeadTotals, PausedRow, UnknownTotals};
use bugle_core::spec::{BacklogCap, DeadBounds};

use super::{Level, Report};

/// What is known of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFacts {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// Whether that is deployed and can run.
    pub has_plugin: bool,
    /// Whether its worker broke.
    pub is_stopped: bool,
    /// Why it does not run.
    pub paused: Option<PausedRow>,
    /// Why its breaker is not closed: who is blamed, and the last failure.
    pub breaker: Option<(String, String)>,
    /// Offsets of the log that are not settled, an upper bound.
    pub unsettled: u64,
    /// Whether more than the warned share of its cap in bytes is not settled.
    pub is_near_bytes: bool,
    /// Its cap.
    pub cap: BacklogCap,
    /// Publishing is refused on its account.
    pub is_backlog_full: bool,
    /// Its dead letters in numbers.
    pub dead: DeadTotals,
    /// Its unknown results in numbers.
    pub unknown: UnknownTotals,
    /// The bounds of either.
    pub dead_bounds: DeadBounds,
    /// Keys that wait for a decision.
    pub parked: u64,
    /// Keys whose first delivery is tried on beyond its attempts.
    pub blocked: u64,
}

/// From this share of a bound on, it is near.
pub(crate) const NEAR_PERCENT: u64 = 80;

fn is_near(value: u64, bound: u64) -> bool {
    // Small bounds must not come to nothing by the division.
    u128::from(value) * 100 > u128::from(bound) * u128::from(NEAR_PERCENT)
}

impl SubscriptionFacts {
    pub(super) fn judge(&self, report: &mut Report) {
        let before = report.findings.len();
        self.judge_running(report);
        self.judge_backlog(report);
        self.judge_letters(report);
        self.judge_unknown(report);
        report.sick += usize::from(report.findings.len() > before);
    }

    fn judge_running(&self, report: &mut Report) {
        let (name, plugin) = (&self.name, &self.plugin);
        let mut add = |level, code: &str, what: String, advice: String| report.add(level, code, name, what, advice);
        if !self.has_plugin {
            let what = format!("its plugin `{plugin}` is not deployed or cannot run, so nothing is delivered");
            let advice = format!("bugle plugin deploy {plugin} FILE; then bugle subscription resume {name}");
            add(Level::Error, "plugin-missing", what, advice);
        }
        if self.is_stopped {
            let what =
                "its worker found a broken invariant and ended; nothing is lost, and nothing is delivered".to_owned();
            add(Level::Error, "stopped", what, "look at the log for its last words, then restart the host".to_owned());
        }
        if let Some(paused) = self.paused.as_ref().filter(|_| self.has_plugin) {
            let level = if paused.by == "host" { Level::Error } else { Level::Warning };
            let reason = if paused.reason.is_empty() { "no reason given" } else { &paused.reason };
            let what = format!("paused by {}: {reason}", paused.by);
            add(level, "paused", what, format!("when the reason is gone: bugle subscription resume {name}"));
        }
        if let Some((blamed, reason)) = &self.breaker {
            let what = format!("its breaker is open, the {blamed} is blamed: {reason}");
            let advice = format!("mend the {blamed}; it probes by itself (bugle subscription show {name})");
            add(Level::Warning, "breaker-open", what, advice);
        }
        if self.blocked > 0 {
            let what = format!("{} keys are blocked by a delivery that fails on", self.blocked);
            add(Level::Warning, "blocked", what, format!("bugle subscription show {name}"));
        }
    }

    fn judge_backlog(&self, report: &mut Report) {
        let name = &self.name;
        let advice =
            format!("let it catch up: bugle subscription boost {name}, or raise `concurrency`; see bugle explain");
        if self.is_backlog_full {
            let what = "its backlog is over its cap, and publishing to its topics is refused".to_owned();
            report.add(Level::Error, "backlog-full", name, what, advice);
        } else if is_near(self.unsettled, self.cap.events_max) || self.is_near_bytes {
            let what = format!(
                "its backlog is near its cap: up to {} events of {}, or {} bytes",
                self.unsettled, self.cap.events_max, self.cap.bytes_max
            );
            report.add(Level::Warning, "backlog-near", name, what, advice);
        }
    }

    fn judge_letters(&self, report: &mut Report) {
        let (name, dead) = (&self.name, &self.dead);
        let letters = Shelf {
            codes: ["letters-removed", "letters-near"],
            words: ["undecided dead letters", "dead letters"],
            list: format!("bugle dead list {name}"),
            advice: format!("decide about them: bugle dead list {name}, then replay, dismiss or purge"),
            removed: dead.removed,
            rows: dead.letters,
            bytes: dead.bytes,
        };
        self.judge_shelf(letters, report);
        if self.parked > 0 {
            let what = format!("{} keys wait for a decision about their dead letter", self.parked);
            report.add(Level::Warning, "parked", name, what, format!("bugle dead list {name} --state manual"));
        }
    }

    fn judge_unknown(&self, report: &mut Report) {
        let (name, unknown) = (&self.name, &self.unknown);
        let results = Shelf {
            codes: ["unknown-removed", "unknown-near"],
            words: ["open unknown results", "unknown results"],
            list: format!("bugle unknown list {name}"),
            advice: format!("ask the provider and resolve them, the oldest go first: bugle unknown list {name}"),
            removed: unknown.removed,
            rows: unknown.rows,
            bytes: unknown.bytes,
        };
        self.judge_shelf(results, report);
    }

    fn judge_shelf(&self, shelf: Shelf, report: &mut Report) {
        let Shelf { codes: [lost, near], words: [undecided, all], list, advice, removed, rows, bytes } = shelf;
        let (name, bounds) = (&self.name, &self.dead_bounds);
        if removed > 0 {
            let what = format!("{removed} {undecided} were removed for being too many or too old");
            report.add(Level::Warning, lost, name, what, list);
        }
        if is_near(rows, bounds.letters_max) || is_near(bytes, bounds.bytes_max) {
            let (rows_max, bytes_max) = (bounds.letters_max, bounds.bytes_max);
            let what = format!("its {all} are near their bounds: {rows} of {rows_max}, {bytes} of {bytes_max} bytes");
            report.add(Level::Warning, near, name, what, advice);
        }
    }
}

/// Dead letters or unknown results: how they are called, and how many there are.
struct Shelf {
    /// Of the findings that some were removed, and that there are nearly too many.
    codes: [&'static str; 2],
    /// Those that nobody decided about, and all.
    words: [&'static str; 2],
    /// Shows them.
    list: String,
    /// What to do if there are nearly too many.
    advice: String,
    removed: u64,
    rows: u64,
    bytes: u64,
}
