//! Outgoing calls in a task of their own.
//!
//! Connecting and TLS go deep. On the guest's fiber each page they touch would stay with the waiting call, on a thread's own stack
//! it does not: that is a third of the memory of a call that waits.
//!
//! Invariant: when the guest's call is dropped, the task is told to stop; its evidence tells what had left.

use bugle_core::code::Code;
use tokio::task::JoinHandle;

use crate::bindings::bugle::plugin::types::Error;
use crate::imports::error;

struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` beside the guest and waits for it. It is made in its task: made here, its size would be on the fiber's stack.
pub(crate) async fn run<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<F::Output, Error>
where
    F: Future<Output: Send + 'static> + Send,
{
    let mut task = Task(tokio::spawn(async move { Box::pin(work()).await }));
    let ended = (&mut task.0).await;
    ended.map_err(|_| error(Code::Unavailable, "the outgoing call failed inside the host; please report it"))
}
