//! The one place where the broker leaves the async threads: reads of the store that may touch the disk.
//!
//! Knows nothing of what is read. Bound: at most [`READS_MAX`] reads run at once, so that laggards cannot fill the machine
//! with threads that fight the committer for the disk and the cores.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Store reads that run at once. Two cores gain nothing from more, and each can hold a thread and a read buffer.
const READS_MAX: usize = 4;

/// Runs closures that block. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    handle: tokio::runtime::Handle,
    permits: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new(handle: tokio::runtime::Handle) -> Blocking {
        Blocking { handle, permits: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Waits until no work runs any more, also none that nobody waits for.
    pub(crate) async fn rest(&self) {
        let all = self.permits.acquire_many(READS_MAX as u32).await;
        drop(all.expect("the semaphore of blocking reads is never closed"));
    }

    /// Runs `work` on a thread that may block; waits for a free place first. If this future is dropped, work that has begun
    /// still ends.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore of blocking reads is never closed");
        let task = self.handle.spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match task.await {
            Ok(value) => value,
            // The closure panicked (then the panic goes on here) or the runtime is shutting down, which drops this task too.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}
