//! How much of the log is kept: by age, by size, and never less than a subscription still needs.
//!
//! All topics of a slot share one log (`docs/decisions/0018-retention.md`), which is dropped in whole runs from its beginning. Knows
//! nothing of where runs are kept; what a subscription needs is the floor of its durable cursor, since everything below is settled
//! and what is kept of it (dead letters, parked deliveries, records) holds its event itself.
//!
//! Invariant: nothing at or above a needed offset is dropped, and the last run never is.

use crate::ids::Offset;
use crate::time::{Millis, Timestamp};

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A run may go when its last event is older than this ...
    pub age: Millis,
    /// ... or when the log with it has more bytes than this.
    pub bytes: u64,
}

impl Default for Retention {
    /// The documented defaults: 7 days or 64 GiB.
    fn default() -> Self {
        Retention { age: Millis::from_secs(7 * 24 * 3600), bytes: 64 << 30 }
    }
}

/// A run of the log, dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first offset; it ends where the next one begins.
    pub first: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// When its last event was accepted; `None` if that is not known, and then age does not let it go.
    pub newest: Option<Timestamp>,
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
    /// Judges the runs of a log, oldest first. `needed` is the lowest offset a subscription still needs.
    #[must_use]
    pub fn judge(&self, now: Timestamp, runs: &[Run], needed: Offset) -> Verdict {
        let floor = runs.first().map_or(Offset(0), |run| run.first);
        let mut verdict = Verdict { drop_below: floor, allowed_below: floor };
        let mut bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        for (run, next) in runs.iter().zip(runs.iter().skip(1)) {
            let is_old = run.newest.is_some_and(|newest| now.since(newest) > self.age);
            if !is_old && bytes <= self.bytes {
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
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn run(first: u64, bytes: u64, newest: u64) -> Run {
        Run { first: Offset(first), bytes, newest: Some(Timestamp(newest)) }
    }

    #[test]
    fn runs_go_by_age_or_size_and_stay_while_somebody_needs_them() {
        let rules = Retention { age: Millis(100), bytes: 1_000 };
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

    proptest! {
        #[test]
        fn nothing_needed_and_nothing_within_the_rules_is_dropped(
            lens in proptest::collection::vec((1_u64..20, 0_u64..500, 0_u64..50), 1..12),
            (age, bytes, needed, later) in (0_u64..400, 0_u64..4_000, 0_u64..250, 0_u64..500),
        ) {
            let (mut first, mut newest, mut runs) = (7, 0, Vec::new());
            for (len, bytes, span) in lens {
                newest += span;
                runs.push(run(first, bytes, newest));
                first += len;
            }
            let (rules, now) = (Retention { age: Millis(age), bytes }, Timestamp(newest + later));
            let verdict = rules.judge(now, &runs, Offset(needed));
            prop_assert!(verdict.drop_below <= verdict.allowed_below);
            prop_assert!(verdict.drop_below <= Offset(needed).max(runs[0].first));
            prop_assert!(runs.iter().any(|run| run.first == verdict.drop_below));
            // What stays begins with a run that is neither old nor too much, unless it is needed or the last.
            let kept: Vec<&Run> = runs.iter().filter(|run| run.first >= verdict.allowed_below).collect();
            if let [oldest, _, ..] = kept[..] {
                let size: u64 = kept.iter().map(|run| run.bytes).sum();
                prop_assert!(size <= bytes && newest + later - oldest.newest.unwrap().0 <= age);
            }
        }
    }
}
