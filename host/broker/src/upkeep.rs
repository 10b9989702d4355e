//! What must be looked after about once a second, off the committer's thread: free disk, the clock, the store's mark and epochs,
//! send records and events that are too old, records that nothing followed, claims and kv entries that have ended.
//!
//! Some of it takes tens of milliseconds (creating a column family), which the committer must not spend.

use std::sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bugle_core::ids::Offset;
use bugle_core::time::{Millis, Timestamp};

use crate::disk::DiskWatch;
use crate::late::LateLook;
use crate::queue::{Item, Writes};
use crate::retention::{RetainError, retain};
use crate::shared::Shared;
use crate::sweep::Sweep;

/// Older loss than this is detected by the host after a crash; newer loss by the producers' receipts (guarantees G2).
const PERIOD: Duration = Duration::from_secs(1);

/// States of send records of each kind that are removed in one look: more than the host can write for long in the same time would only
/// make one look slow.
const RECORDS_FORGOTTEN_MAX: usize = 1_000;

/// Old events are looked for once in so many looks: dropping them is not urgent, and the look reads two rows per subscription.
const LOOKS_PER_RETENTION: u64 = 2;

/// The thread. Stops when told to, or when the store has failed.
pub(crate) struct Upkeep {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    is_told: Mutex<bool>,
    told: Condvar,
}

impl Upkeep {
    pub(crate) fn start(shared: Arc<Shared>, records_kept: Millis, latest: Timestamp) -> std::io::Result<Upkeep> {
        let stop = Arc::new(Stop::default());
        let mut disk = DiskWatch::default();
        look(&shared, &mut disk);
        let started = shared.clock.now();
        let (mut end, mut sweep, mut late) = (None, Sweep::new(started, latest), LateLook::new(started));
        let told = Arc::clone(&stop);
        let run = move || {
            for count in 1_u64.. {
                if told.wait() || !look(&shared, &mut disk) {
                    break;
                }
                end = Some(look_at_backlogs(&shared, end));
                forget_records(&shared, records_kept);
                let over = sweep.run(&shared);
                late.run(&shared, over);
                if count % LOOKS_PER_RETENTION == 0 && !look_at_retention(&shared) {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("upkeep".to_owned()).spawn(run)?;
        Ok(Upkeep { stop, thread: Some(thread) })
    }

    /// Ends the thread after a last look. Blocks for as long as that takes.
    pub(crate) fn stop(mut self) {
        *self.stop.is_told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.told.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the upkeep ended by a panic");
        }
    }
}

impl Stop {
    /// Waits for the next look; true if there shall be none.
    fn wait(&self) -> bool {
        let is_told = self.is_told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(is_told, PERIOD, |is_told| !*is_told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// False once the store has failed.
fn look(shared: &Shared, disk: &mut DiskWatch) -> bool {
    shared.clock.adjust();
    match shared.store.room() {
        Ok(room) => shared.is_disk_full.store(disk.judge(room), Ordering::Relaxed),
        // It counts as it did before.
        Err(error) => tracing::warn!(%error, "could not ask for the free disk space"),
    }
    match shared.store.upkeep() {
        Ok(()) => true,
        Err(error) => {
            shared.fail(&error.to_string());
            false
        }
    }
}

/// Removes some of the states of send records that are too old. What is removed but not durable yet may be removed once more, which
/// changes nothing.
fn forget_records(shared: &Shared, kept: Millis) {
    match shared.store.old_records(shared.clock.now(), kept, RECORDS_FORGOTTEN_MAX) {
        Ok(writes) if writes.is_empty() => {}
        Ok(writes) => {
            // A committer that has stopped takes nothing more.
            let _ = shared.queue.push(Item::Writes(Writes { writes, ..Writes::default() }));
        }
        Err(error) => tracing::error!(%error, "could not look for send records that are too old"),
    }
}

/// Has every worker compare its backlog with its cap, unless nothing can have changed. Returns where the log ends now.
fn look_at_backlogs(shared: &Shared, before: Option<Offset>) -> Offset {
    let end = shared.ring.end();
    if before != Some(end) || shared.backlogs.is_any() {
        for (_, reader) in shared.readers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            reader.look();
        }
    }
    end
}

/// Lets go of old events. False once the store has failed.
fn look_at_retention(shared: &Shared) -> bool {
    match retain(shared) {
        Ok(()) => true,
        Err(RetainError::Drop(error)) => {
            shared.fail(&error.to_string());
            false
        }
        // Nothing was dropped; reading it again may work, and publishing does not need it.
        Err(error @ RetainError::Read(_)) => {
            tracing::warn!(%error, "old events are kept for now");
            true
        }
    }
}
