//! How long to wait before the next attempt to connect: doubling, with full jitter, bounded.
//!
//! Reads no clock and sleeps nowhere.

use std::time::Duration;

/// First wait. A host that restarts is back in well under a second.
const FIRST_MS: u64 = 20;
/// Longest wait, so that a client notices a returned host soon; an attempt is two packets.
const LONGEST_MS: u64 = 500;

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `random` spreads clients that lost the same host.
    pub(crate) fn next_wait(&mut self, random: u64) -> Duration {
        let ceiling_ms = FIRST_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_MS);
        self.failures += 1;
        Duration::from_millis(ceiling_ms / 2 + random % (ceiling_ms / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.next_wait(u64::MAX).as_millis()).collect();
        assert!(waits[0] <= 20 && waits[9] <= 500 && waits[9] >= 250);
        assert!((0..100).all(|random| backoff.next_wait(random).as_millis() <= 500));
    }
}
