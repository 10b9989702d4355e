//! How much of the log is kept: by age, by size or until it is done with, and never less than a subscription still needs.
//!
//! A log is dropped in whole runs from its beginning (`docs/decisions/0027-retention.md`). Knows nothing of where runs are kept.
//! What a subscription needs begins at the floor of its durable cursor, since everything below is settled and what is kept of it
//! (dead letters, unknown results, records, scheduled events) holds its event itself; but the row of a delivery that was let go
//! while it waited lies below the floor until it has come back, and its event tells which key goes on.
//!
//! Invariant: nothing at or above a needed offset is dropped, and the last run never is.

use crate::ids::Offset;
use crate::seeded::{Bug, is_planted};
use crate::time::{Millis, Timestamp};

/// Smallest size that can be asked for. Below, a log would be cut into more runs than it has events.
pub const SIZE_MIN: u64 = 1 << 20;
/// Smallest age that can be asked for: a repeat of an event that is gone is refused, so producers need time to repeat.
pub const AGE_MIN: Millis = Millis::from_secs(1);
/// Nothing younger goes unless an operator says so: a host that was killed is back within seconds, and the clock of a producer may be ten
/// seconds ahead.
pub const AT_LEAST: Millis = Millis::from_secs(60);
/// Largest age: ten years. More is a slip of the keyboard.
pub const AGE_MAX: Millis = Millis::from_secs(3_653 * 24 * 3_600);
/// Runs of all logs that may be live before time alone begins no new one: making or dropping one costs 19 ms at this number and
/// ten times as much at a thousand.
pub const RUNS_MAX: usize = 64;
/// A run is this part of what is kept, so that about this much more than asked is on disk.
const PARTS: u64 = 32;
/// No run is begun for time alone that has lasted less.
const SPAN_MIN: Millis = Millis::from_secs(1);
/// A run lasts no longer than this where events go as soon as they are done with.
const SPAN_DONE_MAX: Millis = Millis::from_secs(60);

/// Logs with rules of their own, the one of [`KeepClass::DEFAULT`] included: each costs live runs, of which there are few.
pub const CLASSES_MAX: usize = 4;

/// Which log of the slot a topic's events are kept in: one per retention, since a run is dropped as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepClass(u8);

impl KeepClass {
    /// That of topics that were given none.
    pub const DEFAULT: KeepClass = KeepClass(0);

    /// The class of a number below [`CLASSES_MAX`].
    #[must_use]
    pub fn new(number: u8) -> Option<KeepClass> {
        (usize::from(number) < CLASSES_MAX).then_some(KeepClass(number))
    }

    /// Every class.
    pub fn all() -> impl Iterator<Item = KeepClass> {
        (0..CLASSES_MAX as u8).map(KeepClass)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its place in a table of all classes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Where the events of a topic are: those from now on, and those from before it was given another retention, which go by the rules
/// they were stored under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    class: KeepClass,
    /// One bit for each class it ever had.
    ever: u8,
}

impl Default for Shelf {
    fn default() -> Self {
        Shelf::new(KeepClass::DEFAULT)
    }
}

impl Shelf {
    /// Of a topic that never had another class.
    #[must_use]
    pub fn new(class: KeepClass) -> Shelf {
        Shelf { class, ever: 1 << class.number() }
    }

    /// As it was written down: the class, and [`Shelf::ever`].
    #[must_use]
    pub fn of(class: KeepClass, ever: u8) -> Shelf {
        Shelf { class, ever: ever | 1 << class.number() }
    }

    /// The same with another class from now on.
    #[must_use]
    pub fn moved_to(self, class: KeepClass) -> Shelf {
        Shelf::of(class, self.ever)
    }

    /// Where events go from now on.
    #[must_use]
    pub fn class(self) -> KeepClass {
        self.class
    }

    /// One bit for each class it ever had.
    #[must_use]
    pub fn ever(self) -> u8 {
        self.ever
    }

    /// Whether events of the topic can be there.
    #[must_use]
    pub fn has(self, class: KeepClass) -> bool {
        self.ever >> class.number() & 1 == 1
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A run may go when its last event is older than this ...
    pub age: Millis,
    /// ... or when the log with it has more bytes than this ...
    pub bytes: u64,
    /// ... or, if this is set, as soon as every subscription has settled it.
    pub when_done: bool,
    /// But never before its last event is as old as this: the retry of an event that may be gone is refused, so that producers need time
    /// to retry what they are in doubt about.
    pub at_least: Millis,
}

impl Default for Retention {
    /// The documented defaults: 7 days or 64 GiB, and a minute at least.
    fn default() -> Self {
        Retention { age: Millis::from_secs(7 * 24 * 3_600), bytes: 64 << 30, when_done: false, at_least: AT_LEAST }
    }
}

/// What cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionProblem {
    /// Below [`AGE_MIN`].
    AgeTooShort,
    /// Over [`AGE_MAX`].
    AgeTooLong,
    /// Below [`SIZE_MIN`].
    SizeTooSmall,
    /// More than the age.
    AtLeastTooLong,
}

/// A run of the log, dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first offset; it ends where the next one begins.
    pub first: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// When its first event was accepted; `None` if it has none or that is not known.
    pub oldest: Option<Timestamp>,
    /// When its last event was accepted; `None` if that is not known, and then age does not let it go.
    pub newest: Option<Timestamp>,
}

/// What a subscription has on disk, as far as it says what of the logs it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The floor of its cursor.
    pub floor: Offset,
    /// The first event with a row of a waiting delivery.
    pub waiting: Option<Offset>,
    /// One bit for each class it covers, or covered since the start: what it has queued of a topic is still delivered.
    pub covered: u8,
}

impl Claims {
    /// The lowest offset whose event must stay in the log of a class; `None` if it needs nothing of it. What waits may be of a topic that
    /// it no longer covers, so it counts everywhere.
    #[must_use]
    pub fn needed_of(self, class: KeepClass) -> Option<Offset> {
        let floor = (self.covered >> class.number() & 1 == 1).then_some(self.floor);
        if is_planted(Bug::RetentionIgnoresWaiting) {
            return floor;
        }
        floor.into_iter().chain(self.waiting).min()
    }
}

/// What the rules come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Runs that end at or below this go.
    pub drop_below: Offset,
    /// Up to here they would go if no subscription needed them: more than `drop_below` means that one pins them.
    pub allowed_below: Offset,
}

impl Retention {
    /// Whether the rules can be meant.
    ///
    /// # Errors
    ///
    /// The first value that cannot.
    pub fn check(&self) -> Result<(), RetentionProblem> {
        if self.age < AGE_MIN {
            Err(RetentionProblem::AgeTooShort)
        } else if self.age > AGE_MAX {
            Err(RetentionProblem::AgeTooLong)
        } else if self.bytes < SIZE_MIN {
            Err(RetentionProblem::SizeTooSmall)
        } else if self.at_least > self.age {
            Err(RetentionProblem::AtLeastTooLong)
        } else {
            Ok(())
        }
    }

    /// Judges the runs of a log, oldest first. `needed` is the lowest offset a subscription still needs.
    #[must_use]
    pub fn judge(&self, now: Timestamp, runs: &[Run], needed: Offset) -> Verdict {
        let floor = runs.first().map_or(Offset(0), |run| run.first);
        let mut verdict = Verdict { drop_below: floor, allowed_below: floor };
        let mut bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        for (run, next) in runs.iter().zip(runs.iter().skip(1)) {
            let is_old = run.newest.is_some_and(|newest| now.since(newest) > self.age);
            let is_young = run.newest.is_some_and(|newest| now.since(newest) < self.at_least);
            if is_young || !self.when_done && !is_old && bytes <= self.bytes {
                break;
            }
            bytes -= run.bytes;
            verdict.allowed_below = next.first;
            if next.first <= needed {
                verdict.drop_below = next.first;
            }
        }
        verdict
    }

    /// Whether the last run is to end here, so that what is in it can go in its time: it is the only one that never goes. `live`
    /// is the number of runs of all logs.
    #[must_use]
    pub fn ends(&self, now: Timestamp, last: &Run, live: usize) -> bool {
        let Some(oldest) = last.oldest else { return false };
        let part = Millis(self.age.0 / PARTS);
        let span = if self.when_done { part.min(SPAN_DONE_MAX) } else { part };
        let is_long = live < RUNS_MAX && now.since(oldest) >= span.max(SPAN_MIN);
        is_long || last.bytes >= (self.bytes / PARTS).max(SIZE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(first: u64, bytes: u64, newest: u64) -> Run {
        Run { first: Offset(first), bytes, oldest: Some(Timestamp(newest)), newest: Some(Timestamp(newest)) }
    }

    fn rules(age: u64, bytes: u64) -> Retention {
        Retention { age: Millis(age), bytes, when_done: false, at_least: Millis(0) }
    }

    #[test]
    fn runs_go_by_age_or_size_and_stay_while_somebody_needs_them() {
        let rules = rules(100, 1_000);
        let runs = [run(0, 300, 10), run(10, 300, 60), run(20, 300, 150), run(30, 300, 190)];
        let check = |now: u64, needed: u64, drop: u64, allowed: u64| {
            let verdict = rules.judge(Timestamp(now), &runs, Offset(needed));
            assert_eq!((verdict.drop_below.0, verdict.allowed_below.0), (drop, allowed), "{now} {needed}");
        };
        // 1,200 bytes: the first goes by size.
        check(100, 40, 10, 10);
        check(161, 40, 20, 20);
        check(161, 20, 20, 20);
        check(161, 19, 10, 20);
        check(161, 9, 0, 20);
        // The last one stays, however old.
        check(10_000, 40, 30, 30);
        assert_eq!(rules.judge(Timestamp(10_000), &[], Offset(5)), Verdict::default());
        let unknown = [Run { newest: None, ..run(0, 300, 0) }, run(10, 300, 60)];
        assert_eq!(rules.judge(Timestamp(10_000), &unknown, Offset(40)).drop_below, Offset(0));
    }

    #[test]
    fn what_is_done_with_goes_at_once_if_that_is_the_rule() {
        let runs = [run(0, 3, 10), run(10, 3, 60), run(20, 3, 150)];
        let rules = Retention { when_done: true, ..rules(1_000, 1_000) };
        let verdict = |needed| rules.judge(Timestamp(151), &runs, Offset(needed));
        assert_eq!(verdict(20).drop_below, Offset(20));
        assert_eq!(verdict(15), Verdict { drop_below: Offset(10), allowed_below: Offset(20) });
        let later = Retention { at_least: Millis(100), ..rules };
        assert_eq!(later.judge(Timestamp(151), &runs, Offset(20)).drop_below, Offset(10), "the second is too young");
        assert_eq!(later.judge(Timestamp(160), &runs, Offset(20)).drop_below, Offset(20));
    }

    #[test]
    fn a_run_ends_after_a_part_of_what_is_kept() {
        let rules = rules(64_000, 64 << 20);
        let ends = |now, last, live| rules.ends(Timestamp(now), &last, live);
        assert!(!ends(2_000, run(0, 10, 1), 3));
        assert!(ends(2_001, run(0, 10, 1), 3), "a 32nd of the age");
        assert!(!ends(2_001, run(0, 10, 1), RUNS_MAX), "too many are live already");
        assert!(ends(1, run(0, 2 << 20, 1), RUNS_MAX), "a 32nd of the size");
        assert!(!ends(90_000, Run { oldest: None, ..run(0, 0, 1) }, 3), "an empty one never does");
        let done = Retention { when_done: true, age: AGE_MAX, ..rules };
        assert!(done.ends(Timestamp(60_001), &run(0, 10, 1), 3));
    }

    #[test]
    fn values_that_cannot_be_meant_are_told() {
        let check = |age, bytes| rules(age, bytes).check();
        assert_eq!(check(0, 64 << 20), Err(RetentionProblem::AgeTooShort));
        assert_eq!(check(AGE_MAX.0 + 1, 64 << 20), Err(RetentionProblem::AgeTooLong));
        assert_eq!(check(60_000, 100), Err(RetentionProblem::SizeTooSmall));
        let late = Retention { at_least: Millis(60_001), ..rules(60_000, 64 << 20) };
        assert_eq!(late.check(), Err(RetentionProblem::AtLeastTooLong));
        assert_eq!(Retention::default().check(), Ok(()));
    }

    #[test]
    fn a_row_below_the_floor_keeps_its_event_in_every_log() {
        let (covered, other) = (KeepClass(1), KeepClass(2));
        let needed = |waiting| {
            let claims = Claims { floor: Offset(10), waiting, covered: 0b0010 };
            [claims.needed_of(covered), claims.needed_of(other)].map(|needed| needed.map(|offset| offset.0))
        };
        assert_eq!(needed(None), [Some(10), None]);
        assert_eq!(needed(Some(Offset(4))), [Some(4), Some(4)]);
        assert_eq!(needed(Some(Offset(14))), [Some(10), Some(14)]);
    }

    proptest! {
        #[test]
        fn nothing_needed_and_nothing_within_the_rules_is_dropped(
            lens in proptest::collection::vec((1_u64..20, 0_u64..500, 0_u64..50), 1..12),
            (age, bytes, needed, later) in (0_u64..400, 0_u64..4_000, 0_u64..250, 0_u64..500),
            when_done in any::<bool>(),
        ) {
            let (mut first, mut newest, mut runs) = (7, 0, Vec::new());
            for (len, bytes, span) in lens {
                newest += span;
                runs.push(run(first, bytes, newest));
                first += len;
            }
            let (rules, now) = (Retention { when_done, ..rules(age, bytes) }, Timestamp(newest + later));
            let verdict = rules.judge(now, &runs, Offset(needed));
            prop_assert!(verdict.drop_below <= verdict.allowed_below);
            prop_assert!(verdict.drop_below <= Offset(needed).max(runs[0].first));
            prop_assert!(runs.iter().any(|run| run.first == verdict.drop_below));
            // What stays begins with a run that is neither old nor too much, unless it is needed or the last.
            let kept: Vec<&Run> = runs.iter().filter(|run| run.first >= verdict.allowed_below).collect();
            if let [oldest, _, ..] = kept[..] {
                let size: u64 = kept.iter().map(|run| run.bytes).sum();
                prop_assert!(!when_done && size <= bytes && newest + later - oldest.newest.unwrap().0 <= age);
            }
        }
    }
}
