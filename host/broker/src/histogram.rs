//! A histogram of durations with logarithmic buckets, cheap enough to count every settled event.
//!
//! Four buckets per power of two, so a quantile is right within 19 %; values are milliseconds. Knows nothing of what it
//! measures.

use std::sync::atomic::{AtomicU64, Ordering};

use bugle_core::time::Millis;

/// Four per power of two up to 2^32 ms (49 days).
const BUCKETS: usize = 4 * 33;

/// Counts durations; written by one task, read by any.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn count(&self, duration: Millis) {
        if let Some(bucket) = self.buckets.get(bucket(duration.0)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub(crate) fn read(&self) -> Counted {
        Counted { counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect() }
    }
}

/// Durations counted in logarithmic buckets, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    counts: Vec<u64>,
}

impl Counted {
    /// How many durations were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that this share (0 to 1) of all stayed at or below; an upper bound of its bucket. `None` if nothing
    /// was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Millis> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count is a count; rounding by one is harmless"
        )]
        let rank = ((share.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Millis(bound(index)));
            }
        }
        None
    }

    /// Upper bound in ms and count of every bucket that is not empty.
    pub fn buckets(&self) -> impl Iterator<Item = (Millis, u64)> {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| (Millis(bound(index)), *count))
    }
}

/// Values below 4 have a bucket each; above, the two bits after the leading one choose among four.
fn bucket(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let power = 63 - value.leading_zeros() as usize;
    let quarter = (value >> (power - 2)) as usize & 3;
    (4 * (power - 1) + quarter).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn bound(index: usize) -> u64 {
    if index < 4 {
        return index as u64;
    }
    let power = index / 4 + 1;
    let quarter = (index % 4) as u64;
    ((4 + quarter + 1) << (power - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_under_the_bound_of_its_bucket_and_above_the_one_before() {
        for value in (0..5_000).chain((1..31).map(|power| (1 << power) + 1)) {
            let index = bucket(value);
            assert!(value <= bound(index), "{value} in {index}");
            assert!(index == 0 || value > bound(index - 1), "{value} in {index}");
        }
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let histogram = Histogram::default();
        for value in 1..=100 {
            histogram.count(Millis(value));
        }
        let counted = histogram.read();
        assert_eq!(counted.total(), 100);
        let p50 = counted.quantile(0.5).unwrap().0;
        let p99 = counted.quantile(0.99).unwrap().0;
        assert!((50..=60).contains(&p50), "{p50}");
        assert!((99..=119).contains(&p99), "{p99}");
        assert_eq!(Histogram::default().read().quantile(0.5), None);
    }
}
