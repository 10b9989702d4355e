//! The CPU budget of an attempt: what its guest used of the threads that ran it.
//!
//! A guest runs on one thread from one poll of its call to the end of that poll, and maybe on another thread in the next one; so time
//! is taken at the edges of polls, from the clock of the thread. Time in which others had the processor is not the guest's, nor is time
//! in which it waits. The epoch clock only says when to look. Most calls end before it ticks; they are not measured.
//!
//! Invariant: what is not counted is at most what the guest used until its first tick.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts what one attempt uses; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct CpuBudget(Arc<Mutex<Meter>>);

impl CpuBudget {
    pub(crate) fn new(budget: Duration) -> CpuBudget {
        CpuBudget(Arc::new(Mutex::new(Meter { budget, measured: None })))
    }

    /// What follows is another attempt.
    pub(crate) fn refill(&self) {
        self.meter().measured = None;
    }

    /// The epoch clock ticked while the guest runs: whether it may go on.
    pub(crate) fn tick(&self) -> bool {
        self.meter().tick(thread_time())
    }

    /// Runs what the guest does, and counts it.
    pub(crate) async fn count<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            self.meter().enter(thread_time);
            let polled = work.as_mut().poll(cx);
            self.meter().leave(thread_time);
            polled
        })
        .await
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Meter {
    budget: Duration,
    measured: Option<Measured>,
}

/// Since the first tick.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// In polls that ended.
    used: Duration,
    /// The thread's time when this poll began, or at the first tick.
    from: Duration,
}

impl Measured {
    fn until(self, now: Duration) -> Duration {
        self.used + now.saturating_sub(self.from)
    }
}

impl Meter {
    fn enter(&mut self, now: impl FnOnce() -> Duration) {
        if let Some(measured) = &mut self.measured {
            measured.from = now();
        }
    }

    fn leave(&mut self, now: impl FnOnce() -> Duration) {
        if let Some(measured) = &mut self.measured {
            measured.used = measured.until(now());
        }
    }

    fn tick(&mut self, now: Duration) -> bool {
        self.measured.get_or_insert(Measured { used: Duration::ZERO, from: now }).until(now) < self.budget
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_the_threads_own_time_counts_over_polls_on_several_threads() {
        let mut meter = Meter { budget: ms(50), measured: None };
        meter.enter(|| unreachable!("not measured before the first tick"));
        assert!(meter.tick(ms(1_000)), "what was before is not counted");
        assert!(meter.tick(ms(1_020)));
        meter.leave(|| ms(1_030));
        // Another thread, whose own time is far behind; it ran others meanwhile.
        meter.enter(|| ms(7));
        assert!(meter.tick(ms(26)), "30 + 19");
        assert!(!meter.tick(ms(27)), "30 + 20");
        meter.leave(|| ms(27));
        meter.enter(|| ms(900));
        assert!(!meter.tick(ms(900)), "it stays used up");
    }

    #[test]
    fn a_refilled_budget_is_whole() {
        let budget = CpuBudget::new(ms(0));
        assert!(!budget.tick());
        budget.refill();
        assert!(budget.meter().measured.is_none());
    }

    #[tokio::test]
    async fn what_a_poll_uses_is_counted_at_its_end() {
        let budget = CpuBudget::new(ms(1_000));
        assert!(budget.tick());
        let mut sum = 0_u64;
        budget
            .count(async { (0..200_000).for_each(|n: u64| sum = sum.wrapping_mul(31) ^ std::hint::black_box(n)) })
            .await;
        assert!(budget.meter().measured.is_some_and(|measured| measured.used > Duration::ZERO), "{sum}");
    }
}
