//! A token bucket: how many deliveries may start, and when the next one may.
//!
//! Exact in whole numbers: a token is cut into as many parts as its span has milliseconds, and each millisecond brings as many
//! parts as events are allowed in the span. Knows nothing of what a token is spent on.
//!
//! Invariant: in any span of `t` at most `rate * t + burst` tokens are taken.

use crate::spec::Rate;
use crate::time::{Millis, Timestamp};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// Parts of tokens in it.
    level: u64,
    at: Timestamp,
}

impl Bucket {
    /// A bucket with one token in it: a host that is restarted again and again must not send a burst each time.
    pub(crate) fn new(now: Timestamp, rate: Rate) -> Bucket {
        let rate = Rate { events: rate.events.max(1), per: Millis(rate.per.0.max(1)), burst: rate.burst.max(1) };
        Bucket { rate, level: rate.per.0, at: now }
    }

    /// The bucket under another rate; tokens in it stay, as far as they fit.
    pub(crate) fn with(mut self, now: Timestamp, rate: Rate) -> Bucket {
        self.fill(now);
        let tokens = self.level / self.rate.per.0;
        let mut changed = Bucket::new(now, rate);
        changed.level = tokens.saturating_mul(changed.rate.per.0).min(changed.capacity());
        changed
    }

    fn capacity(&self) -> u64 {
        u64::from(self.rate.burst).saturating_mul(self.rate.per.0)
    }

    fn fill(&mut self, now: Timestamp) {
        let gained = now.since(self.at).0.saturating_mul(u64::from(self.rate.events));
        self.level = self.level.saturating_add(gained).min(self.capacity());
        self.at = self.at.max(now);
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        let has_one = self.level >= self.rate.per.0;
        if has_one {
            self.level -= self.rate.per.0;
        }
        has_one
    }

    /// When there will be a token, if none is taken before.
    pub(crate) fn next(&self) -> Timestamp {
        let missing = self.rate.per.0.saturating_sub(self.level);
        self.at.after(Millis(missing.div_ceil(u64::from(self.rate.events))))
    }

    /// Whole tokens that can be taken now.
    pub(crate) fn tokens(&self, now: Timestamp) -> u32 {
        let mut filled = *self;
        filled.fill(now);
        u32::try_from(filled.level / filled.rate.per.0).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::Bucket;
    use crate::spec::Rate;
    use crate::time::{Millis, Timestamp};

    fn next(random: &mut u64) -> u64 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *random >> 33
    }

    #[test]
    fn never_gives_more_than_rate_times_time_plus_burst_in_any_span() {
        for seed in 0..200 {
            let random = &mut (seed + 1);
            let rate = Rate {
                events: 1 + (next(random) % 50) as u32,
                per: Millis(1 + next(random) % 2_000),
                burst: 1 + (next(random) % 20) as u32,
            };
            let mut bucket = Bucket::new(Timestamp(0), rate);
            let mut now = 0;
            let mut taken: Vec<u64> = Vec::new();
            for _ in 0..400 {
                now += next(random) % 40;
                while !next(random).is_multiple_of(4) && bucket.take(Timestamp(now)) {
                    taken.push(now);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let (count, span) = ((last - first + 1) as u64, to - from);
                    let allowed = u64::from(rate.events) * span / rate.per.0 + u64::from(rate.burst);
                    assert!(count <= allowed, "seed {seed}: {count} in {span} ms at {rate:?}");
                }
            }
        }
    }

    #[test]
    fn gives_the_whole_rate_to_who_asks_in_time() {
        let mut bucket = Bucket::new(Timestamp(0), Rate { events: 7, per: Millis(1_000), burst: 3 });
        let mut taken = 0;
        let mut now = Timestamp(0);
        while now.0 < 100_000 {
            if bucket.take(now) {
                taken += 1;
            } else {
                let next = bucket.next();
                assert!(next > now, "no hot loop");
                now = next;
            }
        }
        assert_eq!(taken, 700, "seven a second; the one it began with is still in it at the end");
    }

    #[test]
    fn starts_with_one_token_and_keeps_its_tokens_through_a_change() {
        let slow = Rate { events: 1, per: Millis(60_000), burst: 10 };
        let mut bucket = Bucket::new(Timestamp(5), slow);
        assert!(bucket.take(Timestamp(5)) && !bucket.take(Timestamp(5)));
        let mut bucket = bucket.with(Timestamp(240_005), Rate { events: 100, per: Millis(1_000), burst: 3 });
        assert_eq!(bucket.tokens(Timestamp(240_005)), 3, "four had gathered, three fit");
        assert!(bucket.take(Timestamp(240_005)));
        assert_eq!(bucket.tokens(Timestamp(240_005)), 2);
    }

    #[test]
    fn a_clock_that_stands_still_or_runs_far_ahead_breaks_nothing() {
        let mut bucket = Bucket::new(Timestamp(9), Rate { events: u32::MAX, per: Millis(86_400_000), burst: u32::MAX });
        assert!(bucket.take(Timestamp(9)));
        assert!(bucket.take(Timestamp(u64::MAX)) && bucket.take(Timestamp(3)));
        assert!(bucket.next() >= Timestamp(9));
    }
}
