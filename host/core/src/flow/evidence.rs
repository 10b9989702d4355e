//! Whose fault a failed attempt was, by evidence: what the latest attempts came to, over which events.
//!
//! A guest's or a provider's word does not decide. Faults that spread over many events while nearly everything fails are the
//! channel's, or the plugin's if most of them were traps, time-outs and limits; any other fault is the event's. Knows nothing of
//! what blame leads to.
//!
//! Some channels refuse each first attempt and take the second one (greylisting mail relays do). Once repeated attempts have shown
//! that, first failures say nothing of the channel until repeated attempts fail too.
//!
//! Invariant: fewer than `events_min` distinct events never put the blame on channel or plugin.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::ids::Offset;
use crate::row::Culprit;
use crate::spec::Blame;
use crate::time::Millis;

/// The window holds this many attempts per event that must fail: the rest may be repeats and successes.
const WINDOW_PER_EVENT: usize = 2;

/// The part of the window that must have failed, in percent.
const FAILED_PERCENT_MIN: usize = 80;

/// Repeated attempts that must have succeeded, more than failed, before first failures say nothing.
const RECOVERED_MIN: u32 = 3;

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The plugin broke: trap, time-out, limit, lapsed lease.
    pub(crate) is_break: bool,
    /// How long the provider asked to be left alone.
    pub(crate) retry_after: Option<Millis>,
}

/// One of the latest attempts.
#[derive(Clone, Copy, Debug)]
struct Seen {
    offset: Offset,
    fault: Option<Fault>,
}

/// Who is to blame for all of the latest faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) culprit: Culprit,
    /// The provider asked on every faulty attempt to be left alone at least this long.
    pub(crate) retry_after: Millis,
    /// Attempts that events were charged with since the last success, to be given back.
    pub(crate) charged: Vec<(Offset, u32)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Evidence {
    window: VecDeque<Seen>,
    /// Attempts charged to events since the last success.
    charged: BTreeMap<Offset, u32>,
    /// Successes so far, of any event.
    successes: u64,
    /// Repeated attempts that succeeded, less those that failed, within bounds.
    recovered: u32,
}

impl Evidence {
    /// `forgives_first`: what [`Evidence::forgives_first`] said before a restart.
    pub(crate) fn new(forgives_first: bool) -> Evidence {
        let recovered = if forgives_first { RECOVERED_MIN } else { 0 };
        Evidence { window: VecDeque::new(), charged: BTreeMap::new(), successes: 0, recovered }
    }

    /// Whether first failures say nothing of the channel.
    pub(crate) fn forgives_first(&self) -> bool {
        self.recovered >= RECOVERED_MIN
    }

    /// A repeated attempt ended.
    pub(crate) fn repeated(&mut self, has_succeeded: bool) {
        self.recovered =
            if has_succeeded { (self.recovered + 1).min(2 * RECOVERED_MIN) } else { self.recovered.saturating_sub(1) };
    }

    /// Deliveries that succeeded since the machine was made.
    pub(crate) fn successes(&self) -> u64 {
        self.successes
    }

    /// An attempt succeeded: channel and plugin work.
    pub(crate) fn succeeded(&mut self, blame: &Blame, offset: Offset) {
        self.successes += 1;
        self.works(blame, offset);
    }

    /// An attempt came to an answer that is no success of the event, such as a reject.
    pub(crate) fn works(&mut self, blame: &Blame, offset: Offset) {
        self.charged.clear();
        self.see(blame, Seen { offset, fault: None });
    }

    /// An attempt failed: the verdict if channel or plugin is to blame, else the event is charged.
    pub(crate) fn failed(&mut self, blame: &Blame, offset: Offset, fault: Fault, is_first: bool) -> Option<Verdict> {
        let verdict = if is_first && self.forgives_first() {
            None
        } else {
            self.see(blame, Seen { offset, fault: Some(fault) });
            self.judge(blame)
        };
        if verdict.is_none() {
            *self.charged.entry(offset).or_default() += 1;
            // Only those tried since the last success are here; more of them than fit the window were never seen together.
            if self.charged.len() > window_len(blame) {
                self.charged.pop_first();
            }
        }
        verdict
    }

    fn see(&mut self, blame: &Blame, seen: Seen) {
        self.window.push_back(seen);
        while self.window.len() > window_len(blame) {
            self.window.pop_front();
        }
    }

    fn judge(&mut self, blame: &Blame) -> Option<Verdict> {
        let faults = || self.window.iter().filter_map(|seen| seen.fault.map(|fault| (seen.offset, fault)));
        let failed = faults().count();
        if failed < events_min(blame) || failed * 100 < self.window.len() * FAILED_PERCENT_MIN {
            return None;
        }
        let mut events: Vec<Offset> = faults().map(|(offset, _)| offset).collect();
        events.sort_unstable();
        events.dedup();
        if events.len() < events_min(blame) {
            return None;
        }
        let broke = faults().filter(|(_, fault)| fault.is_break).count();
        let culprit = if broke * 2 > failed { Culprit::Plugin } else { Culprit::Channel };
        // A wait that only some of them asked for is about those events, not about the channel.
        let retry_after = faults().map(|(_, fault)| fault.retry_after.unwrap_or_default()).min().unwrap_or_default();
        self.forget();
        let charged = core::mem::take(&mut self.charged).into_iter().collect();
        Some(Verdict { culprit, retry_after, charged })
    }

    /// Starts with an empty window: what was seen before the channel was left alone says nothing of it now.
    pub(crate) fn forget(&mut self) {
        self.window.clear();
    }
}

fn events_min(blame: &Blame) -> usize {
    blame.events_min.max(1) as usize
}

fn window_len(blame: &Blame) -> usize {
    events_min(blame).saturating_mul(WINDOW_PER_EVENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    use super::{Culprit, Evidence, Fault};
    use crate::ids::Offset;
    use crate::spec::Blame;
    use crate::time::Millis;

    const BLAME: Blame = Blame { events_min: 10, fresh_breaks_max: 3 };
    const NACK: Fault = Fault { is_break: false, retry_after: None };
    const BREAK: Fault = Fault { is_break: true, retry_after: None };

    #[test]
    fn an_outage_is_seen_at_the_tenth_event_and_everything_charged_is_given_back() {
        let mut evidence = Evidence::new(false);
        evidence.succeeded(&BLAME, Offset(99));
        for offset in 0..9 {
            assert_eq!(evidence.failed(&BLAME, Offset(offset), NACK, false), None);
        }
        let verdict = evidence.failed(&BLAME, Offset(9), NACK, false).unwrap();
        assert_eq!(verdict.culprit, Culprit::Channel);
        assert_eq!(verdict.charged, (0..9).map(|offset| (Offset(offset), 1)).collect::<Vec<_>>());
    }

    #[test]
    fn nine_events_are_never_enough_however_often_they_fail() {
        let mut evidence = Evidence::new(false);
        for round in 0..100 {
            for offset in 0..9 {
                assert_eq!(evidence.failed(&BLAME, Offset(offset), BREAK, false), None, "round {round}");
            }
        }
        assert_eq!(evidence.charged.len(), 9);
    }

    #[test]
    fn one_event_that_fails_among_others_that_succeed_is_charged_alone() {
        let mut evidence = Evidence::new(false);
        for offset in 0..1_000 {
            evidence.succeeded(&BLAME, Offset(offset));
            assert_eq!(evidence.failed(&BLAME, Offset(5_000), BREAK, false), None);
        }
        assert_eq!(evidence.charged.into_iter().collect::<Vec<_>>(), [(Offset(5_000), 1)], "since the last success");
    }

    #[test]
    fn traps_on_many_events_are_the_plugins_fault() {
        let mut evidence = Evidence::new(false);
        let faults = [BREAK, BREAK, NACK];
        let verdict =
            (0..10).find_map(|offset| evidence.failed(&BLAME, Offset(offset), faults[offset as usize % 3], false));
        assert_eq!(verdict.unwrap().culprit, Culprit::Plugin);
    }

    #[test]
    fn a_wait_counts_for_the_channel_only_if_every_fault_asked_for_one() {
        let check = |asked: &dyn Fn(u64) -> Option<Millis>, wanted: Millis| {
            let mut evidence = Evidence::new(false);
            let fault = |offset| Fault { retry_after: asked(offset), ..NACK };
            let verdict = (0..10).find_map(|offset| evidence.failed(&BLAME, Offset(offset), fault(offset), false));
            assert_eq!(verdict.unwrap().retry_after, wanted);
        };
        check(&|offset| Some(Millis(60_000 + offset)), Millis(60_000));
        check(&|offset| (offset > 0).then_some(Millis(60_000)), Millis(0));
    }

    #[test]
    fn channel_that_refuses_each_first_attempt_is_learned_and_a_real_outage_is_still_seen() {
        let mut evidence = Evidence::new(false);
        for offset in 0..3 {
            evidence.failed(&BLAME, Offset(offset), NACK, true);
            evidence.repeated(true);
            evidence.succeeded(&BLAME, Offset(offset));
        }
        assert!(evidence.forgives_first());
        for offset in 10..1_000 {
            assert_eq!(evidence.failed(&BLAME, Offset(offset), NACK, true), None);
        }
        evidence.repeated(true);
        evidence.succeeded(&BLAME, Offset(10));
        assert!(Evidence::new(true).forgives_first(), "known after a restart");
        let verdict = (0..20).find_map(|offset| {
            evidence.repeated(false);
            evidence.failed(&BLAME, Offset(offset), NACK, false)
        });
        assert_eq!(verdict.unwrap().culprit, Culprit::Channel);
    }

    /// Against a plain statement of the rule, for random attempts.
    #[test]
    fn blame_needs_many_distinct_events_and_a_window_that_mostly_failed() {
        let mut random = 1_u64;
        let mut next = |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        for _ in 0..200 {
            let (events, failing) = (2 + next(30), next(101));
            let mut evidence = Evidence::new(false);
            let mut seen: Vec<(u64, bool)> = vec![];
            for _ in 0..200 {
                let (offset, is_failure) = (next(events), next(100) < failing);
                seen.push((offset, is_failure));
                if !is_failure {
                    evidence.succeeded(&BLAME, Offset(offset));
                    continue;
                }
                let window = &seen[seen.len().saturating_sub(20)..];
                let failed: Vec<u64> = window.iter().filter(|seen| seen.1).map(|seen| seen.0).collect();
                let distinct: BTreeSet<u64> = failed.iter().copied().collect();
                let wanted = distinct.len() >= 10 && failed.len() * 5 >= window.len() * 4;
                let verdict = evidence.failed(&BLAME, Offset(offset), NACK, false);
                assert_eq!(verdict.is_some(), wanted, "{window:?}");
                if wanted {
                    seen.clear();
                }
            }
        }
    }
}
