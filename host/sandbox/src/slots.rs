//! The instances that may exist at once, over all subscriptions.
//!
//! The pooling allocator has a fixed number of places; whoever wants one asks here first and waits in line.
//!
//! Invariant: permits handed out never exceed the allocator's places.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places.
#[derive(Debug)]
pub(crate) struct Slots {
    permits: Arc<Semaphore>,
    total: u32,
    waiters: AtomicUsize,
    /// Told when somebody has to wait, so that idle instances are given up.
    short: Notify,
}

impl Slots {
    pub(crate) fn new(total: u32) -> Slots {
        Slots {
            permits: Arc::new(Semaphore::new(total as usize)),
            total,
            waiters: AtomicUsize::new(0),
            short: Notify::new(),
        }
    }

    /// So many places, within a time.
    pub(crate) async fn acquire(&self, count: u32, within: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_many_owned(count) {
            return Some(permit);
        }
        let _waiter = Waiter::new(&self.waiters);
        self.short.notify_one();
        let permit = tokio::time::timeout(within, Arc::clone(&self.permits).acquire_many_owned(count)).await;
        permit.ok()?.ok()
    }

    /// Waits until somebody had to wait.
    pub(crate) async fn are_short(&self) {
        self.short.notified().await;
    }

    /// Whether somebody waits now: then an idle instance is worth less than its slot.
    pub(crate) fn have_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    pub(crate) fn free(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }
}

/// Counts itself while it lives, also if the one who waits is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl Waiter<'_> {
    fn new(waiters: &AtomicUsize) -> Waiter<'_> {
        waiters.fetch_add(1, Ordering::Relaxed);
        Waiter(waiters)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
