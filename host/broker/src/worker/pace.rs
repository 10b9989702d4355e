//! How fast a subscription settles and how fast the log grows, over about the last minute.
//!
//! Fed with two growing numbers at most once a second; knows nothing of clocks and of what the numbers count.
//!
//! Invariant: holds at most [`SAMPLES_MAX`] samples, the oldest one a minute old or the only one.

use std::collections::VecDeque;

use bugle_core::time::{Millis, Timestamp};

/// Between two samples.
const EVERY: Millis = Millis(1_000);
/// How far back a pace looks.
const OVER: Millis = Millis(60_000);
const SAMPLES_MAX: usize = 64;

/// What happened over the last minute, or since the start if that is less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// How long that is.
    pub over: Millis,
    /// Offsets settled or skipped in it.
    pub settled: u64,
    /// Offsets added to the log in it.
    pub arrived: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    progress: u64,
    end: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PaceMeter {
    samples: VecDeque<Sample>,
}

impl PaceMeter {
    /// Whether the next sample is due.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.samples.back().is_none_or(|last| now.since(last.at) >= EVERY)
    }

    /// Takes a sample.
    pub(super) fn note(&mut self, now: Timestamp, progress: u64, end: u64) {
        self.samples.push_back(Sample { at: now, progress, end });
        let is_old = |sample: &Sample| now.since(sample.at) >= OVER;
        while self.samples.len() > SAMPLES_MAX || self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// The pace up to now.
    pub(super) fn read(&self, now: Timestamp, progress: u64, end: u64) -> Pace {
        let Some(first) = self.samples.front() else { return Pace::default() };
        Pace {
            // An old sample means that nothing happened since: what did happen, happened within the last minute.
            over: now.since(first.at).min(OVER),
            settled: progress.saturating_sub(first.progress),
            arrived: end.saturating_sub(first.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Timestamp {
        Timestamp(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_pace_is_what_happened_in_the_last_minute() {
        let mut meter = PaceMeter::default();
        assert_eq!(meter.read(secs(0), 5, 5), Pace::default());
        for second in 0..200 {
            assert!(meter.is_due(secs(second)));
            meter.note(secs(second), second * 10, second * 4);
            assert!(!meter.is_due(Timestamp(secs(second).0 + 999)));
            assert!(meter.samples.len() <= SAMPLES_MAX);
        }
        let pace = meter.read(secs(200), 2_000, 800);
        assert_eq!(pace, Pace { over: OVER, settled: 610, arrived: 244 });
    }

    #[test]
    fn a_young_or_a_sleeping_subscription_has_a_pace_too() {
        let mut meter = PaceMeter::default();
        meter.note(secs(0), 0, 0);
        assert_eq!(meter.read(secs(5), 50, 60), Pace { over: Millis(5_000), settled: 50, arrived: 60 });
        meter.note(secs(1), 50, 60);
        assert_eq!(meter.read(secs(500), 50, 60).settled, 50);
        meter.note(secs(500), 50, 60);
        assert_eq!(meter.read(secs(501), 50, 60), Pace { over: OVER, settled: 0, arrived: 0 });
        meter.note(secs(3), 40, 60);
        assert_eq!(meter.read(secs(3), 30, 60).settled, 0, "a seek back is no pace");
    }
}
