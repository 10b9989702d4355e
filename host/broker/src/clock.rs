//! The host's accepted clock: time since boot on top of a wall time that is taken over only when it can be believed.
//!
//! Leases, waits and windows count milliseconds of this clock, so a wall clock that jumps by years neither ends every lease
//! nor stops every timer. How far the wall is followed is the core's rule ([`bugle_core::clock`]).
//!
//! Invariant: `now` never steps back (guarantees G8).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bugle_core::clock::{Correction, Skew};
use bugle_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

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
        if correction == Correction::HoldNew {
            tracing::warn!(
                step_ms = skew_ms,
                "the wall clock stepped by more than five minutes; the step is held until it was stable for ten minutes"
            );
        }
        self.offset_ms.fetch_add(correction.by_ms(), Ordering::Relaxed);
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
}
