//! The independent checker: decides from the outside whether a run of the bus kept its promises G1, G3, G4, G5 and G6.
//!
//! It reads what producers and receivers wrote down, when the host was killed, and a full dump of the store (see
//! [`record`]). It shares no code with the host and knows nothing of how the host works, so the two cannot be wrong in the
//! same way.
//!
//! Invariant: it never passes for lack of evidence. A line it cannot read, a missing store dump or a result without its
//! intent is a violation too.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

pub mod history;
pub mod record;
pub mod report;

mod effects;
mod order;
mod stored;

#[cfg(test)]
mod sample;

pub use history::History;
pub use report::{Report, Violation};

/// What the run was allowed to do; the default is the strict reading.
#[derive(Debug, Clone)]
pub struct Allowances {
    /// An effect answered at most this long before a kill may be repeated after it: its ack may not have been durable yet.
    /// The host commits within milliseconds; two seconds leave room for a disk that stalls.
    pub ack_window_us: u64,
    /// A receiver reads what a killed host had already written to its socket up to this long after the host is gone; such a
    /// call counts as made before the kill. Far less than the next host needs until it calls anybody.
    pub echo_us: u64,
    /// Producers may end in doubt, because they were not told to retry until they know.
    pub unknown_results: bool,
    /// The run ended before everything was settled.
    pub unsettled_events: bool,
}

impl Default for Allowances {
    fn default() -> Self {
        Self { ack_window_us: 2_000_000, echo_us: 100_000, unknown_results: false, unsettled_events: true }
    }
}

/// Decides all promises on `history`.
#[must_use]
pub fn check(history: &History, allowances: &Allowances) -> Report {
    let mut report = Report::default();
    history.check_input(&mut report);
    stored::check(history, allowances, &mut report);
    effects::check(history, allowances, &mut report);
    order::check(history, &mut report);
    report
}
