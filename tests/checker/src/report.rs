//! What the checker found: violations by promise, and figures that show how much was checked.
//!
//! It does not decide anything and does not know how violations are found.
//!
//! Invariant: the codes are stable; tests and scripts match on them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// How many violations of one code are printed for people; the JSON report has all.
const PRINTED_PER_CODE_MAX: usize = 10;

/// The promises, as numbered in the guarantees; `Input` is for logs that prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Promise {
    /// The logs cannot be judged.
    Input,
    /// Confirmed means durable, and every event is in exactly one state.
    G1,
    /// A publish has three results, and no event is stored twice.
    G3,
    /// External effects: same key each time, repeated only for a reason.
    G4,
    /// Order per key.
    G5,
    /// Acked means done, once.
    G6,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// What kind of breach: stable, for scripts.
    pub code: &'static str,
    /// What happened, with names and places.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.promise, self.code, self.text)
    }
}

/// How much was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Events that producers tried to publish.
    pub published: usize,
    /// Of those, confirmed.
    pub confirmed: usize,
    /// Of those, refused for good.
    pub refused: usize,
    /// Of those, in doubt to the end.
    pub unknown: usize,
    /// Events in the store.
    pub stored: usize,
    /// Pairs of event and subscription that must have a state.
    pub deliveries: usize,
    /// Of those, settled.
    pub settled: usize,
    /// Calls that receivers saw.
    pub calls: usize,
    /// Effects that a receiver accepted at least once.
    pub effects: usize,
    /// Calls after an effect was already accepted.
    pub repeats: usize,
    /// The most repeats that one kill caused in one subscription.
    pub repeats_at_one_kill_max: u64,
    /// Kills.
    pub kills: usize,
}

/// The verdict on a history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How much was checked.
    pub figures: Figures,
    /// All breaches, in the order found.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Nothing was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// How often each code occurs.
    #[must_use]
    pub fn codes(&self) -> BTreeMap<&'static str, usize> {
        let mut codes = BTreeMap::new();
        for violation in &self.violations {
            *codes.entry(violation.code).or_insert(0) += 1;
        }
        codes
    }

    pub(crate) fn add(&mut self, promise: Promise, code: &'static str, text: String) {
        self.violations.push(Violation { promise, code, text });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(
            f,
            "published {} (confirmed {}, refused {}, unknown {}), stored {}",
            figures.published, figures.confirmed, figures.refused, figures.unknown, figures.stored
        )?;
        writeln!(
            f,
            "deliveries {} (settled {}), calls {}, effects {}, repeats {} (at most {} at one of {} kills)",
            figures.deliveries,
            figures.settled,
            figures.calls,
            figures.effects,
            figures.repeats,
            figures.repeats_at_one_kill_max,
            figures.kills
        )?;
        let mut printed: BTreeMap<&'static str, usize> = BTreeMap::new();
        for violation in &self.violations {
            let count = printed.entry(violation.code).or_insert(0);
            *count += 1;
            if *count <= PRINTED_PER_CODE_MAX {
                writeln!(f, "{violation}")?;
            }
        }
        for (code, count) in printed {
            if count > PRINTED_PER_CODE_MAX {
                writeln!(f, "... and {} more of {code}", count - PRINTED_PER_CODE_MAX)?;
            }
        }
        write!(f, "{} violations", self.violations.len())
    }
}
