//! Byte credit of one session: what was read and has no receipt yet, bounded per session and over all sessions.
//!
//! Knows sizes only. When the credit is used up, the session is not read, QUIC's windows fill, and the client waits.
//!
//! The invariant: every byte taken is given back once: to the common pool when the result comes or the session's results
//! are dropped, to the session when its receipt is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bugle_core::ids::{Sequence, StreamId};
use bugle_wire::limits;
use tokio::sync::{AcquireError, Semaphore};

/// A batch, as long as it waits for its result.
pub(crate) type BatchId = (StreamId, Sequence);

/// The batch is already waiting, so one of the two would get the other's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyWaiting;

#[derive(Debug)]
pub(crate) struct Credit {
    session: Semaphore,
    pool: Arc<Semaphore>,
    waiting: Mutex<HashMap<BatchId, u32>>,
}

impl Credit {
    pub(crate) fn new(pool: Arc<Semaphore>) -> Self {
        Self { session: Semaphore::new(limits::CREDIT_BYTES), pool, waiting: Mutex::default() }
    }

    /// Waits until there is room for a frame of `bytes`, and notes what its batch holds. Dropped while it waits, it holds
    /// nothing.
    pub(crate) async fn take(&self, batch: BatchId, bytes: usize) -> Result<Result<(), AlreadyWaiting>, AcquireError> {
        let bytes = u32::try_from(bytes.min(limits::FRAME_BYTES_MAX)).unwrap_or(u32::MAX);
        let session = self.session.acquire_many(bytes).await?;
        let pool = self.pool.acquire_many(bytes).await?;
        let mut waiting = self.waiting();
        if waiting.contains_key(&batch) {
            return Ok(Err(AlreadyWaiting));
        }
        waiting.insert(batch, bytes);
        session.forget();
        pool.forget();
        Ok(Ok(()))
    }

    /// A result came: gives the pool its share back and says what the session holds until the receipt is written.
    pub(crate) fn settle(&self, batch: BatchId) -> u32 {
        let bytes = self.waiting().remove(&batch).unwrap_or(0);
        self.pool.add_permits(bytes as usize);
        bytes
    }

    /// Receipts were written.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.session.add_permits(bytes);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<BatchId, u32>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        let held: u32 = self.waiting().values().sum();
        self.pool.add_permits(held as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const BATCH: fn(u64) -> BatchId = |sequence| (StreamId(1), Sequence(sequence));

    fn try_take(credit: &Credit, batch: BatchId, bytes: usize) -> Option<Result<(), AlreadyWaiting>> {
        match pin!(credit.take(batch, bytes)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_session_waits_until_its_receipts_are_written() {
        let pool = Arc::new(Semaphore::new(100 << 20));
        let credit = Credit::new(pool.clone());
        for sequence in 0..4 {
            assert_eq!(try_take(&credit, BATCH(sequence), 1 << 20), Some(Ok(())));
        }
        assert_eq!(try_take(&credit, BATCH(4), 1), None, "the session's credit is used up");
        assert_eq!(credit.settle(BATCH(0)), 1 << 20);
        assert_eq!(try_take(&credit, BATCH(4), 1), None, "the receipt is not written yet");
        credit.give_back(1 << 20);
        assert_eq!(try_take(&credit, BATCH(4), 1), Some(Ok(())));
        assert_eq!(try_take(&credit, BATCH(4), 1), Some(Err(AlreadyWaiting)));
        drop(credit);
        assert_eq!(pool.available_permits(), 100 << 20, "the pool has everything back");
    }

    #[test]
    fn sessions_share_the_pool() {
        let pool = Arc::new(Semaphore::new(10));
        let (left, right) = (Credit::new(pool.clone()), Credit::new(pool));
        assert_eq!(try_take(&left, BATCH(1), 10), Some(Ok(())));
        assert_eq!(try_take(&right, BATCH(1), 1), None);
        left.settle(BATCH(1));
        assert_eq!(try_take(&right, BATCH(1), 1), Some(Ok(())));
    }
}
