//! The host's accepted clock: time since boot on top of a wall time that is taken over only when it can be believed.
//!
//! Leases, waits and windows count milliseconds of this clock, so a wall clock that jumps by years neither ends every lease
//! nor stops every timer. Knows nothing of what the times are used for.
//!
//! Invariant: `now` never steps back, and a wall step of more than five minutes is not followed before it was stable for ten
//! minutes and is under a day (guarantees G8).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bugle_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A wall step up to this is followed at once: what time daemons do after a start.
const SMALL_STEP_MS: i64 = 5 * 60 * 1000;
/// A larger step must stay the same this long before it is believed.
const STABLE_MS: i64 = 10 * 60 * 1000;
/// A step of a day or more is never believed; an operator restarts the host with a right clock.
const BELIEVABLE_STEP_MS: i64 = 24 * 60 * 60 * 1000;
/// How far a held step may wander (slewing) and still count as the same step.
const SAME_STEP_MS: i64 = 2_000;
/// Going back is done by running slower: at most one part in this many.
const SLEW_PARTS: i64 = 10;

/// The accepted clock. One per process, shared.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Accepted wall time minus time since boot.
    offset_ms: AtomicI64,
    /// The largest time given out.
    last_ms: AtomicU64,
    skew: Mutex<Skew>,
}

impl Clock {
    /// Starts at the wall time, or at `floor` (the latest time the store has seen) if the wall is behind it.
    #[must_use]
    pub(crate) fn start(floor: Timestamp) -> Clock {
        let boot = boot_ms();
        let wall = wall_ms().max(i64::try_from(floor.0).unwrap_or(i64::MAX / 2));
        Clock { offset_ms: AtomicI64::new(wall - boot), last_ms: AtomicU64::new(0), skew: Mutex::new(Skew::new(boot)) }
    }

    /// The accepted wall time.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        let now = boot_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed));
        let now = u64::try_from(now).unwrap_or(0);
        Timestamp(self.last_ms.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Follows the wall clock as far as it can be believed; called about once a second.
    pub(crate) fn adjust(&self) {
        let boot = boot_ms();
        let skew_ms = wall_ms() - (boot + self.offset_ms.load(Ordering::Relaxed));
        let mut skew = self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        let correction = skew.decide(boot, skew_ms);
        self.offset_ms.fetch_add(correction, Ordering::Relaxed);
    }
}

/// What is known of the difference between the wall and the accepted clock.
#[derive(Debug)]
struct Skew {
    /// Time since boot at the last decision.
    decided_at: i64,
    /// A large step that is not believed yet: its size and when it was first seen.
    held: Option<(i64, i64)>,
}

impl Skew {
    fn new(boot_ms: i64) -> Skew {
        Skew { decided_at: boot_ms, held: None }
    }

    /// How much of `skew_ms` (wall minus accepted) to take over now.
    fn decide(&mut self, boot_ms: i64, skew_ms: i64) -> i64 {
        let elapsed = (boot_ms - self.decided_at).max(0);
        self.decided_at = boot_ms;
        if skew_ms.abs() > SMALL_STEP_MS && !self.is_believed(boot_ms, skew_ms) {
            return 0;
        }
        if skew_ms.abs() <= SMALL_STEP_MS {
            self.held = None;
        }
        skew_ms.max(-(elapsed / SLEW_PARTS))
    }

    fn is_believed(&mut self, boot_ms: i64, skew_ms: i64) -> bool {
        match self.held {
            Some((step, since)) if (step - skew_ms).abs() <= SAME_STEP_MS => {
                boot_ms - since >= STABLE_MS && skew_ms.abs() < BELIEVABLE_STEP_MS
            }
            _ => {
                self.held = Some((skew_ms, boot_ms));
                tracing::warn!(
                    step_ms = skew_ms,
                    "the wall clock stepped by more than five minutes; the step is held until it was stable for ten minutes"
                );
                false
            }
        }
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|wall| i64::try_from(wall.as_millis()).ok()).unwrap_or(0)
}

fn boot_ms() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_floor_when_the_wall_is_behind() {
        let far = Timestamp(wall_ms() as u64 + 1_000_000);
        assert!(Clock::start(far).now() >= far);
    }

    #[test]
    fn small_steps_are_followed_and_backward_ones_slewed() {
        let mut skew = Skew::new(0);
        assert_eq!(skew.decide(1_000, 250), 250);
        assert_eq!(skew.decide(2_000, -250), -100);
        assert_eq!(skew.decide(3_000, -50), -50);
    }

    #[test]
    fn a_large_step_is_held_until_it_was_stable() {
        let mut skew = Skew::new(0);
        let hour = 60 * 60 * 1000;
        assert_eq!(skew.decide(1_000, hour), 0);
        assert_eq!(skew.decide(STABLE_MS, hour + 500), 0);
        assert_eq!(skew.decide(STABLE_MS + 1_000, hour + 500), hour + 500);
    }

    #[test]
    fn a_step_of_years_is_never_believed_and_a_moving_one_starts_anew() {
        let mut skew = Skew::new(0);
        let year = 365 * BELIEVABLE_STEP_MS;
        assert_eq!(skew.decide(1_000, year), 0);
        assert_eq!(skew.decide(10 * STABLE_MS, year), 0);
        let hour = 60 * 60 * 1000;
        assert_eq!(skew.decide(10 * STABLE_MS + 1, hour), 0);
        assert_eq!(skew.decide(11 * STABLE_MS, 2 * hour), 0);
        assert_eq!(skew.decide(11 * STABLE_MS + 5_000, 2 * hour), 0);
    }
}
