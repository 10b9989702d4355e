//! The clocks of the simulated machine: the wall, which steps at will, the time since boot, and the accepted clock between them.
//!
//! How far the wall is followed is the core's rule, the one the host runs. What that rule must come to is checked here from what
//! only the simulator knows: when the wall was really moved. Invariant: time since boot only grows.

use bugle_core::clock::Skew;
use bugle_core::time::{Millis, Timestamp};

use crate::rule::{self, Checked, must};

/// When a simulated machine starts: far from zero, so that the wall can go back for years.
const START_MS: i64 = 1_800_000_000_000;
/// G8: a step above this is held ...
const SMALL_STEP_MS: i64 = 5 * 60 * 1000;
/// ... until the wall was left alone this long ...
const STABLE_MS: i64 = 10 * 60 * 1000;
/// ... and for ever if it is a day or more.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    boot_ms: i64,
    wall_ms: i64,
    /// Accepted time minus time since boot.
    offset_ms: i64,
    last_ms: i64,
    skew: Skew,
    /// When the wall was moved last, in time since boot.
    stepped_at: i64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            boot_ms: 0,
            wall_ms: START_MS,
            offset_ms: START_MS,
            last_ms: START_MS,
            skew: Skew::new(0),
            stepped_at: 0,
        }
    }

    /// The accepted time.
    pub(crate) fn now(&mut self) -> Timestamp {
        self.last_ms = self.last_ms.max(self.boot_ms + self.offset_ms);
        Timestamp(self.last_ms.unsigned_abs())
    }

    /// Time goes by, and the accepted clock follows the wall as far as it may.
    pub(crate) fn pass(&mut self, by: Millis) -> Checked {
        let by = i64::try_from(by.0).unwrap_or(DAY_MS);
        self.boot_ms += by;
        self.wall_ms += by;
        let skew_ms = self.wall_ms - (self.boot_ms + self.offset_ms);
        let by_ms = self.skew.decide(self.boot_ms, skew_ms).by_ms();
        self.offset_ms += by_ms;
        let is_stable = self.boot_ms - self.stepped_at >= STABLE_MS && by_ms.abs() < DAY_MS;
        must(rule::CLOCK_IS_BELIEVABLE, by_ms.abs() <= SMALL_STEP_MS || is_stable, || {
            format!("followed a step of {by_ms} ms, {} ms after it was made", self.boot_ms - self.stepped_at)
        })
    }

    /// Somebody sets the wall clock.
    pub(crate) fn step_wall(&mut self, by_ms: i64) {
        self.wall_ms = (self.wall_ms + by_ms).max(1);
        self.stepped_at = self.boot_ms;
    }

    /// The host starts again, with this as the latest time its store has seen.
    pub(crate) fn restart(&mut self, floor: Timestamp) {
        let floor = i64::try_from(floor.0).unwrap_or(i64::MAX / 2);
        self.offset_ms = self.wall_ms.max(floor) - self.boot_ms;
        self.last_ms = 0;
        self.skew = Skew::new(self.boot_ms);
    }
}
