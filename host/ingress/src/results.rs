//! Results on their way from the committer to one session's control stream.
//!
//! Called from the committer's thread, read by the session; neither waits for the other. Knows nothing of frames.
//!
//! The invariant: results leave in the order in which they were delivered; after the session ended they are dropped, and
//! their credit is given back all the same.

use std::sync::{Arc, Mutex, PoisonError};

use bugle_core::publish::BatchResult;
use tokio::sync::{Notify, Semaphore};

use crate::credit::Credit;

/// The results of one session.
#[derive(Debug)]
pub struct Results {
    delivered: Mutex<Delivered>,
    bell: Notify,
    pub(crate) credit: Credit,
}

#[derive(Debug, Default)]
struct Delivered {
    results: Vec<BatchResult>,
    held_bytes: usize,
    is_ended: bool,
}

impl Results {
    pub(crate) fn new(pool: Arc<Semaphore>) -> Self {
        Self { delivered: Mutex::default(), bell: Notify::new(), credit: Credit::new(pool) }
    }

    /// Hands over the results of one commit, which is durable. Does not block.
    pub fn deliver(&self, results: Vec<BatchResult>) {
        let held: u32 = results.iter().map(|result| self.credit.settle((result.stream, result.sequence))).sum();
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if delivered.is_ended {
            return;
        }
        delivered.held_bytes += held as usize;
        if delivered.results.is_empty() {
            delivered.results = results;
        } else {
            delivered.results.extend(results);
        }
        drop(delivered);
        self.bell.notify_one();
    }

    /// Waits for results, and takes all there are with the credit they hold. Cancel safe: what is not returned is still
    /// there.
    pub(crate) async fn take(&self) -> (Vec<BatchResult>, usize) {
        loop {
            if let Some(taken) = self.take_now() {
                return taken;
            }
            self.bell.notified().await;
        }
    }

    fn take_now(&self) -> Option<(Vec<BatchResult>, usize)> {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let held_bytes = std::mem::take(&mut delivered.held_bytes);
        (!delivered.results.is_empty()).then(|| (std::mem::take(&mut delivered.results), held_bytes))
    }

    /// The session ended; nobody reads any more.
    pub(crate) fn end(&self) {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        delivered.is_ended = true;
        delivered.results = Vec::new();
    }
}
