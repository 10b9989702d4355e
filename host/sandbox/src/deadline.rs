//! The wall limit of a call: a time that `ack.extend` can move while the call runs.
//!
//! Invariant: a future bounded by it ends at most one poll after the deadline that held last.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use tokio::time::Instant;

/// When the attempt is cut off; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(Arc<Mutex<Instant>>);

impl Default for Deadline {
    fn default() -> Deadline {
        Deadline(Arc::new(Mutex::new(Instant::now())))
    }
}

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed;

impl Deadline {
    pub(crate) fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Runs `work` until it is done or the deadline has passed; `work` is dropped then. `on_wait` is called once, when `work`
    /// waits for the first time.
    pub(crate) async fn bound<T>(&self, work: impl Future<Output = T>, mut on_wait: impl FnMut()) -> Result<T, Passed> {
        let mut work = pin!(work);
        // Most calls never wait: they need no timer.
        let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        if let Poll::Ready(value) = first {
            return Ok(value);
        }
        on_wait();
        let mut timer = pin!(tokio::time::sleep_until(self.at()));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            while timer.as_mut().poll(cx).is_ready() {
                let at = self.at();
                if at <= timer.deadline() {
                    return Poll::Ready(Err(Passed));
                }
                timer.as_mut().reset(at);
            }
            Poll::Pending
        })
        .await
    }
}
