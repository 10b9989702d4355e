//! Waiting for the end and going down in order: doors first, then the bus, then the threads.
//!
//! Knows signals and graces, nothing of what is stopped.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::open::Running;
use super::threads::Threads;

/// Calls of plugins may take this long to end; what is left runs again after the next start.
const CALLS_GRACE: Duration = Duration::from_secs(10);

/// Sessions and admin requests may take this long to end.
const DOORS_GRACE: Duration = Duration::from_secs(10);

/// Why the host ends.
pub(super) enum End {
    /// A signal.
    Asked(&'static str),
    /// The store failed.
    Failed(String),
}

impl Running {
    /// Waits for a signal or a failed store.
    pub(super) fn wait(&self, threads: &Threads) -> End {
        let mut failed = self.host().bus().failed();
        threads.host().block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return End::Failed("signals cannot be waited for".to_owned());
            };
            tokio::select! {
                _ = terminate.recv() => End::Asked("SIGTERM"),
                _ = interrupt.recv() => End::Asked("SIGINT"),
                reason = failed.wait_for(Option::is_some) => {
                    let reason = reason.ok().and_then(|reason| reason.clone());
                    End::Failed(reason.unwrap_or_else(|| "the committer has ended".to_owned()))
                }
            }
        })
    }

    /// Goes down in order.
    pub(super) fn stop(self, threads: Threads) {
        self.host().begin_stop();
        self.close_doors();
        threads.host().block_on(async {
            for task in self.tasks() {
                if tokio::time::timeout(DOORS_GRACE, task).await.is_err() {
                    tracing::warn!("a door did not close within its grace");
                }
            }
            self.host().bus().shutdown(CALLS_GRACE).await;
            if tokio::time::timeout(CALLS_GRACE, self.host().stop_plugins()).await.is_err() {
                tracing::warn!("plugins were still running; they run again after the next start");
            }
        });
        drop(self);
        threads.end();
    }
}
