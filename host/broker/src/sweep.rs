//! Removes the rows of claims and kv entries whose time has come: about once a second, found by the index of ends.
//!
//! Whether a row goes is the ledger's decision, taken under its lock from the row as it is then. Knows nothing of what rows are for.
//! Invariant: a row is looked at and its delete queued under one lock, so that no later write of it comes before.

use bugle_core::ledger::Ledger;
use bugle_core::row::{Expiring, ExpiryEntry, Second, sweep_until, swept_below};
use bugle_core::step::Write;
use bugle_core::time::Timestamp;

use crate::queue::Stopped;
use crate::reads::ReadError;
use crate::shared::Shared;

/// Entries that are looked at under one hold of the ledger's lock: about two milliseconds of point reads.
const PAGE: usize = 256;
/// Pages of each kind in one sweep: 8,192 rows a second, more than the host can claim for long.
const PAGES_MAX: usize = 32;

/// What was swept so far.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// When the host started, and the latest time its store had seen then.
    started: Timestamp,
    latest: Timestamp,
    /// Claims and kv entries that end before this second went as a range.
    below: [Second; 2],
}

/// Why a sweep ended early.
enum Ended {
    Read(ReadError),
    /// The committer has stopped.
    Stopped,
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Ended {
        Ended::Read(error)
    }
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Ended {
        Ended::Stopped
    }
}

impl Sweep {
    pub(crate) fn new(started: Timestamp, latest: Timestamp) -> Sweep {
        Sweep { started, latest, below: [Second::default(); 2] }
    }

    /// Looks at what has ended, as far as the bound of one sweep goes. Returns the time up to which that was.
    pub(crate) fn run(&mut self, shared: &Shared) -> Timestamp {
        let now = sweep_until(shared.clock.now(), self.started, self.latest);
        // A committer that has stopped takes nothing more.
        let _ = shared.ledger_rows(|ledger| ledger.end_marks(now));
        for (of, below) in Expiring::ALL.into_iter().zip(&mut self.below) {
            if let Err(Ended::Read(error)) = sweep(shared, now, of, below) {
                tracing::error!(%error, "could not look for claims and kv entries that have ended");
            }
        }
        now
    }
}

fn sweep(shared: &Shared, now: Timestamp, of: Expiring, below: &mut Second) -> Result<(), Ended> {
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = shared.store.expiries(of, after.as_ref(), now, PAGE).map_err(ReadError::from)?;
        let is_last = page.len() < PAGE;
        after = page.last().cloned();
        shared.ledger_rows(|ledger| look(shared, ledger, now, page))?;
        if is_last {
            return forget_below(shared, of, swept_below(now), below);
        }
    }
    Ok(())
}

/// What becomes of these rows. A row that can't be read is left to whoever reads it next.
fn look(shared: &Shared, ledger: &Ledger, now: Timestamp, page: Vec<ExpiryEntry>) -> Vec<Write> {
    let mut writes = Vec::new();
    for entry in page {
        let (scope, key) = (entry.scope.clone(), entry.key.clone());
        match entry.of {
            Expiring::Kv => match shared.store.kv(&scope, &key) {
                Ok(stored) => writes.extend(ledger.expire_kv(now, entry, stored)),
                Err(error) => tracing::error!(%error, "could not read a kv entry that may have ended"),
            },
            Expiring::Claim => match shared.store.claim(&scope, &key) {
                Ok(stored) => writes.extend(ledger.expire_claim(now, entry, stored)),
                Err(error) => tracing::error!(%error, "could not read a claim that may have ended"),
            },
        }
    }
    let is_delete = |write: &&Write| matches!(write, Write::Kv { .. } | Write::Claim { .. });
    shared.counters.swept.add(writes.iter().filter(is_delete).count() as u64);
    writes
}

/// One range for all that was deleted one by one long ago, so that a look does not pass over it again and again.
fn forget_below(shared: &Shared, of: Expiring, new: Second, below: &mut Second) -> Result<(), Ended> {
    // Once in a while is enough.
    const SECONDS: u64 = 600;
    if new.0 >= below.0 + SECONDS {
        *below = new;
        shared.ledger_rows(|_| vec![Write::ExpiriesBelow { of, below: new }])?;
    }
    Ok(())
}
