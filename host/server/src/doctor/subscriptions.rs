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
        let (name, dead, bounds) = (&self.name, &self.dead, &self.dead_bounds);
        if dead.removed > 0 {
            let what = format!("{} undecided dead letters were removed for being too many or too old", dead.removed);
            report.add(Level::Warning, "letters-removed", name, what, format!("bugle dead list {name}"));
        }
        if is_near(dead.letters, bounds.letters_max) || is_near(dead.bytes, bounds.bytes_max) {
            let what = format!(
                "its dead letters are near their bounds: {} of {}, {} of {} bytes",
                dead.letters, bounds.letters_max, dead.bytes, bounds.bytes_max
            );
            let advice = format!("decide about them: bugle dead list {name}, then replay, dismiss or purge");
            report.add(Level::Warning, "letters-near", name, what, advice);
        }
        if self.parked > 0 {
            let what = format!("{} keys wait for a decision about their dead letter", self.parked);
            report.add(Level::Warning, "parked", name, what, format!("bugle dead list {name} --state manual"));
        }
    }
    fn judge_unknown(&self, report: &mut Report) {
        let (name, unknown, bounds) = (&self.name, &self.unknown, &self.dead_bounds);
        if unknown.removed > 0 {
            let what = format!("{} open unknown results were removed for being too many or too old", unknown.removed);
            report.add(Level::Warning, "unknown-removed", name, what, format!("bugle unknown list {name}"));
        }
        if is_near(unknown.rows, bounds.letters_max) || is_near(unknown.bytes, bounds.bytes_max) {
            let what = format!(
                "its unknown results are near their bounds: {} of {}, {} of {} bytes",
                unknown.rows, bounds.letters_max, unknown.bytes, bounds.bytes_max
            );
            let advice = format!("ask the provider and resolve them, the oldest go first: bugle unknown list {name}");
            report.add(Level::Warning, "unknown-near", name, what, advice);
        }
    }
}
