//! Rows that end by time, and the index by which they are found when it has come.
//!
//! The index has one entry per row and second, so a counter that is renewed with every event does not fill it. An entry proves nothing:
//! the row may have been renewed, deleted or written anew since, so it is looked at again under the ledger's lock. Knows nothing of
//! disks. Invariant: a row that ends by time has an entry at the first whole second at which it has ended.

use alloc::string::String;

use crate::ids::Name;
use crate::time::{Millis, Timestamp};

/// What ends by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiring {
    /// Dedup claims.
    Claim,
    /// kv entries.
    Kv,
}

impl Expiring {
    /// Each of them.
    pub const ALL: [Expiring; 2] = [Expiring::Claim, Expiring::Kv];
}

/// A second of the accepted clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Second(pub u64);

impl Second {
    /// The first second that begins when this time has come.
    #[must_use]
    pub fn from(time: Timestamp) -> Second {
        Second(time.0.div_ceil(1000))
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_come(self, now: Timestamp) -> bool {
        self.0.saturating_mul(1000) <= now.0
    }
}

/// An entry of the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpiryEntry {
    /// What kind of row it names.
    pub of: Expiring,
    /// When the row is to be looked at.
    pub second: Second,
    /// The claim's scope or the kv store.
    pub scope: Name,
    /// The row's key.
    pub key: String,
}

/// Entries this much older than now were looked at, when a look found no more: whatever is left of them goes as one range. Far longer
/// than a row is on its way to the disk.
const SWEPT_AFTER: Millis = Millis::from_secs(3600);

/// Entries below this second may go unseen once a look has found no more.
#[must_use]
pub fn swept_below(now: Timestamp) -> Second {
    Second(now.0.saturating_sub(SWEPT_AFTER.0) / 1000)
}

/// A host that starts this much later than the latest time its store has seen was down for long, or its wall clock is wrong.
const DOWN_MAX: Millis = Millis::from_secs(24 * 3600);

/// Up to when ended rows may be removed now. They count as absent by the clock in any case, but a row that is removed stays so when a
/// wrong clock is set right: then what ended since the store saw its `latest` time, but for a day and the time since the start, waits.
/// A store that has seen no time has nothing to wait for.
#[must_use]
pub fn sweep_until(now: Timestamp, started: Timestamp, latest: Timestamp) -> Timestamp {
    let believed = latest.after(DOWN_MAX);
    if latest == Timestamp::default() || started <= believed {
        now
    } else {
        now.min(believed.after(now.since(started)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_starts_years_ahead_removes_nothing_that_has_not_ended() {
        let (latest, year) = (Timestamp(1_000_000), Millis::from_secs(365 * 24 * 3600));
        assert_eq!(sweep_until(latest, latest, Timestamp(0)), latest, "a new store");
        let soon = latest.after(Millis::from_secs(3600));
        assert_eq!(sweep_until(soon.after(Millis(5)), soon, latest), soon.after(Millis(5)));
        let wrong = latest.after(year);
        assert_eq!(sweep_until(wrong.after(Millis(5)), wrong, latest), latest.after(DOWN_MAX).after(Millis(5)));
    }

    #[test]
    fn an_entry_comes_with_the_end_of_its_row_and_not_before() {
        for expires in [0, 1, 999, 1000, 1001, 60_000] {
            let second = Second::from(Timestamp(expires));
            assert!(!(0..expires).any(|now| second.has_come(Timestamp(now))), "{expires}: not early");
            assert!(second.has_come(Timestamp(expires + 999)), "{expires}: within a second");
        }
    }
}
