//! The releaser: asks the committer for releases when scheduled events are due, one at a time.
//!
//! When to ask is the core's ([`Releases`]); what is released is the committer's business. Knows no event.
//!
//! Invariant: while anything is scheduled it looks at the clock at least every [`LOOK_MAX`], so that a step of the accepted clock
//! makes nothing late.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering};
use std::time::Duration;

use bugle_core::admission::Released;
use bugle_core::ids::Offset;
use bugle_core::schedule::Releases;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::queue::{Item, Stopped, Writes};
use crate::shared::Shared;

/// Half of what guarantees G8 allows: an event is released at most this late when the host has nothing else to do.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How often it looks when nothing is scheduled: what became of events that left the log is forgotten then.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// When to release, shared with the committer, which tells of newly scheduled events.
pub(crate) struct ReleaseAlarm {
    releases: Mutex<Releases>,
    changed: Notify,
}

impl ReleaseAlarm {
    pub(crate) fn recover() -> ReleaseAlarm {
        ReleaseAlarm { releases: Mutex::new(Releases::recover()), changed: Notify::new() }
    }

    /// Events were scheduled durably, the first of them for then.
    pub(crate) fn added(&self, at: Timestamp) {
        self.lock().added(at);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Releases> {
        self.releases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task. Stops when it is told to, when it is dropped, or when the committer has stopped.
pub(crate) struct Releaser {
    task: JoinHandle<()>,
}

impl Releaser {
    pub(crate) fn start(shared: Arc<Shared>, runtime: &tokio::runtime::Handle) -> Releaser {
        let run = async move {
            let mut trimmed = Offset(0);
            // A stopped committer ends the host.
            while let Ok(()) = turn(&shared, &mut trimmed).await {}
        };
        Releaser { task: runtime.spawn(run) }
    }

    /// Ends it, and returns when it holds nothing of the bus any more. A release under way is finished by the committer.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // It was aborted, or ended by itself.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Releaser {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One release, if one is due, else one rest.
async fn turn(shared: &Shared, trimmed: &mut Offset) -> Result<(), Stopped> {
    forget_fates(shared, trimmed)?;
    // What was accepted waits for room like everything else: it is late then, and not lost.
    let may_release = !shared.is_disk_full.load(Ordering::Relaxed);
    if may_release && shared.releases.lock().ask(shared.clock.now()) {
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Item::Release(reply))?;
        let Released { next, .. } = answer.await.map_err(|_| Stopped)?;
        shared.releases.lock().done(next);
        return Ok(());
    }
    let rest = match shared.releases.lock().next_wakeup() {
        None => IDLE_MAX,
        Some(_) if !may_release => LOOK_MAX,
        Some(at) => Duration::from_millis(at.since(shared.clock.now()).0.max(1)).min(LOOK_MAX),
    };
    // Woken or not, the next turn looks.
    let _ = tokio::time::timeout(rest, shared.releases.changed.notified()).await;
    Ok(())
}

/// Forgets what became of scheduled events whose places left the log.
fn forget_fates(shared: &Shared, trimmed: &mut Offset) -> Result<(), Stopped> {
    let floor = shared.store.floor();
    if floor > *trimmed {
        *trimmed = floor;
        let writes = vec![Write::FatesBelow { floor }];
        shared.queue.push(Item::Writes(Writes { writes, ..Writes::default() }))?;
    }
    Ok(())
}
