//! Running histories: one with its report, many on all cores, and a failing one made short.
//!
//! Knows nothing of what happens in a history. Invariant: which seed is reported does not depend on the number of threads.

use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::history::{ACTIONS, History};
use crate::rule::{self, Broken};
use crate::world::World;

/// Runs of a failing history while it is made shorter.
const SHRINK_RUNS_MAX: u32 = 600;

/// What runs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Histories run.
    pub seeds: u64,
    /// Events in their logs at the end.
    pub events: u64,
    /// Attempts started.
    pub attempts: u64,
    /// Crashes.
    pub crashes: u64,
    /// Sends that reached the receiver.
    pub received: u64,
    /// Of those, sends of something it had seen before.
    pub repeats: u64,
    /// Questions to a provider about what may have been sent.
    pub asked: u64,
    /// Dead letters that came.
    pub dead: u64,
    /// Deliveries parked for a decision.
    pub unknown: u64,
    /// Deliveries that a degrade rule dropped or handed on.
    pub suppressed: u64,
    /// Deliveries that were let go: passed by a seek, or expired over the backlog cap.
    pub let_go: u64,
    /// Deliveries whose event passed its expirytime.
    pub expired: u64,
    /// Breakers that opened.
    pub openings: u64,
    /// Transactions that met a conflict.
    pub conflicts: u64,
    /// Comparisons of a live machine with a recovered one.
    pub comparisons: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.attempts += other.attempts;
        self.crashes += other.crashes;
        self.received += other.received;
        self.repeats += other.repeats;
        self.asked += other.asked;
        self.dead += other.dead;
        self.unknown += other.unknown;
        self.suppressed += other.suppressed;
        self.let_go += other.let_go;
        self.expired += other.expired;
        self.openings += other.openings;
        self.conflicts += other.conflicts;
        self.comparisons += other.comparisons;
    }
}

/// A history that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which rule, and what broke it.
    pub broken: Broken,
    /// Actions that were done when it did; all of them if it was in the second phase.
    pub done: usize,
    /// What had happened, if that was asked for.
    pub journal: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\n  after {} actions", self.journal, self.broken, self.done)
    }
}

/// Runs a history.
///
/// # Errors
///
/// The first rule that was broken.
pub fn replay(history: &History) -> Result<Summary, Box<Failure>> {
    replay_noting(history, false)
}

/// The same with a journal, for a history that fails.
///
/// # Errors
///
/// The first rule that was broken, with the latest lines of the journal.
pub fn replay_noting(history: &History, has_journal: bool) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(history, has_journal);
    let end = catch_unwind(AssertUnwindSafe(|| world.run(&history.actions))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Broken { rule: rule::NO_PANIC, what: text.unwrap_or_default() })
    });
    match end {
        Ok(()) => Ok(world.summary()),
        Err(broken) => Err(Box::new(Failure { broken, done: world.done, journal: world.bus.journal() })),
    }
}

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub start: u64,
    /// How many.
    pub seeds: u64,
    /// Stop when this time has come, whatever is left.
    pub until: Option<Instant>,
    /// Whether there are faults.
    pub has_faults: bool,
    /// Threads.
    pub threads: usize,
}

impl Plan {
    /// These seeds, with faults, on all cores.
    #[must_use]
    pub fn new(start: u64, seeds: u64) -> Plan {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Plan { start, seeds, until: None, has_faults: true, threads }
    }
}

/// Runs many seeds; the lowest one that breaks a rule, if any does. `progress` is told how many were run, now and then.
///
/// # Errors
///
/// The seed and its failure.
pub fn run_many(plan: Plan, progress: impl Fn(u64, &Summary) + Sync) -> Result<Summary, (u64, Box<Failure>)> {
    let next = AtomicU64::new(plan.start);
    let end = AtomicU64::new(plan.start.saturating_add(plan.seeds));
    let all = Mutex::new((Summary::default(), None));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = plan.until.is_some_and(|until| Instant::now() >= until);
            if seed >= end.load(Ordering::Relaxed) || is_late {
                return;
            }
            let result = replay(&History::draw(seed, plan.has_faults, ACTIONS));
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(summary) => {
                    all.0 += summary;
                    progress(all.0.seeds, &all.0);
                }
                Err(failure) => {
                    // Lower seeds are still run, so that the lowest failing one is found on any number of threads.
                    end.fetch_min(seed, Ordering::Relaxed);
                    let is_lowest = all.1.as_ref().is_none_or(|(lowest, _)| seed < *lowest);
                    if is_lowest {
                        all.1 = Some((seed, failure));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..plan.threads.max(1) {
            scope.spawn(work);
        }
        work();
    });
    let (summary, failure) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(summary), Err)
}

/// Leaves out actions of a failing history while the same rule is still broken.
#[must_use]
pub fn shrink(history: &History) -> History {
    let Err(failure) = replay(history) else { return history.clone() };
    let mut best = history.clone();
    best.actions.truncate(failure.done);
    let fails = |history: &History| {
        replay(history).err().filter(|other| other.broken.rule == failure.broken.rule).map(|other| other.done)
    };
    if fails(&best).is_none() {
        best = history.clone();
    }
    let (mut runs, mut chunk) = (0, best.actions.len().div_ceil(2).max(1));
    loop {
        let (mut at, mut has_shrunk) = (0, false);
        while at < best.actions.len() && runs < SHRINK_RUNS_MAX {
            runs += 1;
            let mut shorter = best.clone();
            shorter.actions.drain(at..(at + chunk).min(best.actions.len()));
            if let Some(done) = fails(&shorter) {
                shorter.actions.truncate(done);
                best = shorter;
                has_shrunk = true;
            } else {
                at += chunk;
            }
        }
        if runs >= SHRINK_RUNS_MAX || (chunk == 1 && !has_shrunk) {
            return best;
        }
        chunk = if has_shrunk { chunk } else { chunk.div_ceil(2) }.max(1);
    }
}
