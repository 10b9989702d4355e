//! How much is kept of what operators did: bounded by age and by number, so that a script that changes something every second cannot
//! fill the disk with rows about it.
//!
//! Knows nothing of what a row says. Invariant: the latest rows stay, and what goes is the oldest.

use crate::time::{Millis, Timestamp};

/// Fewest rows that can be kept: a busy day of a person.
pub const AUDIT_ROWS_MIN: u64 = 1_000;
/// Shortest time that can be kept: whoever looks for the cause of an incident must find it the day after.
pub const AUDIT_AGE_MIN: Millis = Millis::from_secs(24 * 3_600);

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditBounds {
    /// Rows older than this go.
    pub age: Millis,
    /// The oldest beyond this number go.
    pub rows: u64,
}

impl Default for AuditBounds {
    /// The documented defaults: 400 days or 100,000 rows, about 30 MB.
    fn default() -> Self {
        AuditBounds { age: Millis::from_secs(400 * 24 * 3_600), rows: 100_000 }
    }
}

impl AuditBounds {
    /// How many of the oldest rows go. `count` is the number of all rows, `oldest` when the first of them were written, in order;
    /// it may end early, and then no more than it names go.
    pub fn surplus(&self, now: Timestamp, count: u64, oldest: impl Iterator<Item = Timestamp>) -> u64 {
        let beyond = count.saturating_sub(self.rows);
        let goes = |(index, at): (u64, Timestamp)| index < beyond || now.since(at) > self.age;
        (0..).zip(oldest).take_while(|row| goes(*row)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_by_number_or_age_the_oldest_first() {
        let bounds = AuditBounds { age: Millis(100), rows: 3 };
        let check = |now: u64, times: &[u64], gone: u64| {
            let times = times.iter().copied().map(Timestamp);
            assert_eq!(bounds.surplus(Timestamp(now), times.len() as u64, times), gone, "{now}");
        };
        check(50, &[], 0);
        check(50, &[1, 2, 3], 0);
        check(50, &[1, 2, 3, 4, 5], 2);
        check(102, &[1, 2, 3], 1);
        check(103, &[1, 2, 3, 4, 5], 2);
        check(104, &[1, 2, 3, 4, 5], 3);
        check(1_000, &[1, 2, 3], 3);
        assert_eq!(bounds.surplus(Timestamp(50), 10, [Timestamp(1)].into_iter()), 1, "no more than is named");
    }
}
