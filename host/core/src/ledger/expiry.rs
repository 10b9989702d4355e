//! Rows whose time has come: each is looked at once more, with what is on its way to the disk, before it goes.
//!
//! Invariant: a row that was renewed stays, whatever the index says; one that has ended counts as absent all the time, so that its row
//! goes changes nothing for anybody.

use alloc::vec;
use alloc::vec::Vec;

use super::{Held, Ledger};
use crate::row::{ClaimRow, Expiring, ExpiryEntry, KvRow};
use crate::seeded::{Bug, is_planted};
use crate::step::Write;
use crate::time::Timestamp;

impl Ledger {
    /// What becomes of a kv entry that the index names. `stored` is its row, looked up under the same lock.
    #[must_use]
    pub fn expire_kv(&self, now: Timestamp, entry: ExpiryEntry, stored: Option<KvRow>) -> Vec<Write> {
        assert!(entry.of == Expiring::Kv, "the entry is of a kv row");
        let is_live = self.kv_visible(now, &entry.scope, &entry.key, stored).is_some();
        let gone = Write::Kv { store: entry.scope.clone(), key: entry.key.clone(), row: None };
        ended(is_live, gone, entry)
    }

    /// The same of a claim. Nothing, not even its entry, changes while a call holds it.
    #[must_use]
    pub fn expire_claim(&self, now: Timestamp, entry: ExpiryEntry, stored: Option<ClaimRow>) -> Vec<Write> {
        assert!(entry.of == Expiring::Claim, "the entry is of a claim");
        let row = match self.claims.get(&(entry.scope.clone(), entry.key.clone())) {
            Some(Held::Settling { row, .. }) => row.clone(),
            // Its intent may be on the way to the disk, behind the row that has ended: looked at again when the call is over.
            Some(Held::Open(_)) => return Vec::new(),
            None => stored,
        };
        let is_live = row.is_some_and(|row| row.expires > now);
        let gone = Write::Claim { scope: entry.scope.clone(), key: entry.key.clone(), row: None };
        ended(is_live, gone, entry)
    }
}

fn ended(is_live: bool, gone: Write, entry: ExpiryEntry) -> Vec<Write> {
    if is_live && !is_planted(Bug::RenewedRowExpired) {
        return vec![Write::ExpiryGone(entry)];
    }
    vec![gone, Write::ExpiryGone(entry)]
}
