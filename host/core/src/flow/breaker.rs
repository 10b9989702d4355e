//! The circuit breaker of a subscription: closed, open for a time that doubles, half-open with one probe at a time.
//!
//! Open and half-open are one stored state: the time tells them apart, so that nothing is written when the time has come. Knows
//! nothing of who is to blame and of which delivery is a probe.
//!
//! Invariant: between opening and closing no call starts but one probe at a time, and none before its time.

use alloc::string::String;

use crate::backoff::Jitter;
use crate::row::{Culprit, OpenRow};
use crate::spec::BreakerPolicy;
use crate::time::{Millis, Timestamp};

/// What may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One probe at a time.
    HalfOpen,
}

/// See the module. What must survive a restart is in [`Breaker::open`] and [`Breaker::times`].
#[derive(Debug)]
pub(crate) struct Breaker {
    open: Option<OpenRow>,
    /// Openings in a row.
    times: u32,
    /// When it opened or closed last.
    since: Timestamp,
    /// Probes in flight.
    probing: u32,
    /// Probes in a row that succeeded.
    succeeded: u32,
}

impl Breaker {
    pub(crate) fn recover(open: Option<OpenRow>, times: u32, since: Timestamp) -> Breaker {
        Breaker { open, times, since, probing: 0, succeeded: 0 }
    }

    pub(crate) fn open(&self) -> Option<&OpenRow> {
        self.open.as_ref()
    }

    pub(crate) fn times(&self) -> u32 {
        self.times
    }

    /// Since when the channel is healthy or sick.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    pub(crate) fn phase(&self, now: Timestamp) -> Phase {
        match &self.open {
            None => Phase::Closed,
            Some(open) if now < open.until => Phase::Open,
            Some(_) => Phase::HalfOpen,
        }
    }

    /// Whether a call may start now.
    pub(crate) fn may_start(&self, now: Timestamp) -> bool {
        match self.phase(now) {
            Phase::Closed => true,
            Phase::Open => false,
            Phase::HalfOpen => self.probing == 0,
        }
    }

    /// A probe starts.
    pub(crate) fn probe(&mut self) {
        self.probing += 1;
    }

    /// A probe came to no answer: it says nothing.
    pub(crate) fn probe_ended(&mut self) {
        self.probing = self.probing.saturating_sub(1);
    }

    /// Opens. A breaker that opens again soon after it closed goes on with the longer times of before.
    pub(crate) fn trip(&mut self, now: Timestamp, policy: &BreakerPolicy, jitter: Jitter, cause: Cause) {
        if self.open.is_none() && now.since(self.since) > policy.open_max {
            self.times = 0;
        }
        self.times = self.times.saturating_add(1);
        let (first, bound) = (policy.open_first, policy.open_max.max(policy.open_first));
        let wait = jitter.while_open(first, bound, self.times).max(cause.retry_after);
        let since = self.open.as_ref().map_or(now, |open| open.since);
        if self.open.is_none() {
            self.since = now;
        }
        self.succeeded = 0;
        self.open = Some(OpenRow { culprit: cause.culprit, until: now.after(wait), since, reason: cause.reason });
    }

    /// A probe failed: open again, for longer.
    pub(crate) fn probe_failed(&mut self, now: Timestamp, policy: &BreakerPolicy, jitter: Jitter, cause: Cause) {
        self.probe_ended();
        // Another probe may have closed it meanwhile; then the evidence decides.
        if self.open.is_some() {
            self.trip(now, policy, jitter, cause);
        }
    }

    /// A probe succeeded; closes after enough of them. True if it closed.
    pub(crate) fn probe_succeeded(&mut self, now: Timestamp, policy: &BreakerPolicy) -> bool {
        self.probe_ended();
        if self.phase(now) != Phase::HalfOpen {
            return false;
        }
        self.succeeded += 1;
        let is_enough = self.succeeded >= policy.probes.max(1);
        if is_enough {
            self.close(now);
        }
        is_enough
    }

    /// Closes, whatever it was. True if it was open.
    pub(crate) fn close(&mut self, now: Timestamp) -> bool {
        let was_open = self.open.take().is_some();
        if was_open {
            self.since = now;
        }
        self.succeeded = 0;
        was_open
    }

    /// The cause may be gone: probe at once instead of at the end of the time. True if that changed anything.
    pub(crate) fn probe_now(&mut self, now: Timestamp) -> bool {
        match &mut self.open {
            Some(open) if open.until > now => {
                open.until = now;
                true
            }
            Some(_) | None => false,
        }
    }

    /// When a probe may start, if it is open and none is under way.
    pub(crate) fn next_probe(&self) -> Option<Timestamp> {
        self.open.as_ref().filter(|_| self.probing == 0).map(|open| open.until)
    }
}

/// Why a breaker opens.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) culprit: Culprit,
    /// At least so long, if the provider said so.
    pub(crate) retry_after: Millis,
    /// For people.
    pub(crate) reason: String,
}

#[cfg(test)]
mod tests {
    use super::{Breaker, Cause, Phase};
    use crate::backoff::Jitter;
    use crate::ids::SubscriptionId;
    use crate::row::Culprit;
    use crate::spec::BreakerPolicy;
    use crate::time::{Millis, Timestamp};

    const POLICY: BreakerPolicy = BreakerPolicy { open_first: Millis(1_000), open_max: Millis(60_000), probes: 2 };

    fn jitter(seed: u64) -> Jitter {
        Jitter::new(seed, SubscriptionId(1))
    }

    fn cause(retry_after: u64) -> Cause {
        Cause { culprit: Culprit::Channel, retry_after: Millis(retry_after), reason: "503".into() }
    }

    fn closed() -> Breaker {
        Breaker::recover(None, 0, Timestamp(0))
    }

    #[test]
    fn stays_open_for_a_time_that_doubles_with_jitter_up_to_the_bound() {
        for seed in 0..50 {
            let mut breaker = closed();
            let mut now = Timestamp(1_000_000);
            breaker.trip(now, &POLICY, jitter(seed), cause(0));
            for times in 1..40_u32 {
                let bound = (1_000_u64 << (times - 1).min(20)).min(60_000);
                let until = breaker.open().unwrap().until;
                let wait = until.since(now).0;
                assert!((bound / 2..=bound).contains(&wait), "opening {times} waits {wait} of {bound}");
                assert!(!breaker.may_start(Timestamp(until.0 - 1)) && breaker.may_start(until));
                now = until;
                breaker.probe();
                assert!(!breaker.may_start(now), "one probe at a time");
                breaker.probe_failed(now, &POLICY, jitter(seed), cause(0));
            }
        }
    }

    #[test]
    fn a_provider_that_says_how_long_is_left_alone_that_long() {
        let mut breaker = closed();
        breaker.trip(Timestamp(0), &POLICY, jitter(1), cause(600_000));
        assert_eq!(breaker.open().unwrap().until, Timestamp(600_000), "longer than the bound");
    }

    #[test]
    fn enough_probes_in_a_row_close_it_and_a_failure_starts_over() {
        let mut breaker = closed();
        breaker.trip(Timestamp(0), &POLICY, jitter(1), cause(0));
        let mut now = Timestamp(10_000);
        breaker.probe();
        assert!(!breaker.probe_succeeded(now, &POLICY) && breaker.may_start(now));
        breaker.probe();
        breaker.probe_failed(now, &POLICY, jitter(1), cause(0));
        assert_eq!(breaker.phase(now), Phase::Open);
        now = Timestamp(100_000);
        breaker.probe();
        assert!(!breaker.probe_succeeded(now, &POLICY));
        breaker.probe();
        assert!(breaker.probe_succeeded(now, &POLICY) && breaker.phase(now) == Phase::Closed);
    }

    #[test]
    fn opening_again_soon_goes_on_with_the_longer_times_and_later_it_does_not() {
        let mut breaker = closed();
        for _ in 0..3 {
            breaker.trip(Timestamp(100_000), &POLICY, jitter(1), cause(0));
        }
        breaker.close(Timestamp(110_000));
        breaker.trip(Timestamp(120_000), &POLICY, jitter(1), cause(0));
        assert_eq!(breaker.times(), 4);
        breaker.close(Timestamp(130_000));
        breaker.trip(Timestamp(500_000), &POLICY, jitter(1), cause(0));
        assert_eq!(breaker.times(), 1);
    }

    #[test]
    fn a_restart_finds_it_open_until_the_same_time() {
        let mut breaker = closed();
        breaker.trip(Timestamp(5), &POLICY, jitter(1), cause(90_000));
        let mut again = Breaker::recover(breaker.open().cloned(), breaker.times(), breaker.since());
        assert_eq!(again.phase(Timestamp(90_004)), Phase::Open);
        assert_eq!(again.phase(Timestamp(90_005)), Phase::HalfOpen);
        assert!(again.probe_now(Timestamp(7)) && again.may_start(Timestamp(7)) && !again.probe_now(Timestamp(8)));
    }
}
