//! Ending in order: no new attempts, a grace for those under way, a last commit, then the thread.
//!
//! Nothing depends on it: a host that is killed instead finds the same state, but for attempts that run again.

use std::sync::{PoisonError, atomic::Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Bus;
use crate::worker::Message;

impl Bus {
    /// Ends the bus. Calls still running after `grace` are dropped; their deliveries run again after the next start. The caller
    /// has closed its doors (ingress, admin) before.
    pub async fn shutdown(&self, grace: Duration) {
        let ports = self.inside.ports();
        let idle: Vec<_> = ports
            .iter()
            .map(|port| {
                let (reply, idle) = oneshot::channel();
                port.inbox.push(Message::Drain(reply));
                idle
            })
            .collect();
        let all_idle = async {
            for idle in idle {
                // A worker that ended by itself is idle too.
                let _ = idle.await;
            }
        };
        if tokio::time::timeout(grace, all_idle).await.is_err() {
            tracing::warn!("calls were still running after the grace; they run again after the next start");
        }
        let names: Vec<_> = ports.iter().map(|port| port.name.clone()).collect();
        for name in names {
            self.inside.stop(&name).await;
        }
        let releaser = self.inside.releaser.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(releaser) = releaser {
            releaser.stop().await;
        }
        self.inside.shared.queue.close();
        let threads = self.inside.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((committer, upkeep)) = threads else {
            return;
        };
        let join = move || {
            if committer.join().is_err() {
                tracing::error!("the committer ended by a panic");
            }
            upkeep.stop();
        };
        self.inside.shared.blocking.run(join).await;
        // A read that a worker no longer waited for has the store open, which somebody may be about to open again.
        self.inside.shared.blocking.rest().await;
        assert!(self.inside.shared.has_ended.load(Ordering::Acquire), "a joined committer has ended");
    }
}
