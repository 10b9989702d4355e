//! The clock that all writers of a run share, in whatever process they are: microseconds of CLOCK_MONOTONIC.
//!
//! Not the wall clock, which may be set while a test runs. Invariant: it never steps back.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since some moment before the test.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000_000 + nanos / 1000
}
