//! The index of rows that end by time, and the windows of weak claims.
//!
//! Knows nothing of whether a row has ended. Invariant: a page is in the order in which rows end.

use bugle_core::ids::Name;
use bugle_core::row::{Expiring, ExpiryEntry, WindowMark};
use bugle_core::time::Timestamp;

use super::{ReadError, damaged};
use crate::codec::{Damaged, Row, WindowValue};
use crate::family::Family;
use crate::keys;
use crate::store::Store;

impl Store {
    /// Done weak claims of all scopes, in the order of their ends: there can be hundreds of thousands, so they come one by one.
    pub fn window_marks(&self) -> impl Iterator<Item = Result<(Name, WindowMark), ReadError>> {
        self.rows_from(Family::Claim, &keys::windows(), None).map(|pair| {
            let (key, value) = pair?;
            let place = keys::window_place(&key).ok_or(Damaged("its key is not of its kind"));
            let (scope, expires, number) = place.map_err(damaged(&key))?;
            let WindowValue { key, receipt } = WindowValue::decode(&value).map_err(damaged(&key))?;
            Ok((scope, WindowMark { expires, number, key, receipt }))
        })
    }

    /// Entries whose second has come, after `after`, at most `limit`.
    pub fn expiries(
        &self,
        of: Expiring,
        after: Option<&ExpiryEntry>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExpiryEntry>, ReadError> {
        // The smallest key after `after` is `after` with a zero byte behind it.
        let from = after.map(|after| keys::expiry(of, after.second, &after.scope, &format!("{}\0", after.key)));
        let mut entries = Vec::new();
        for pair in self.rows_from(keys::expiry_family(of), &keys::expiries(of), from.as_ref().map(AsRef::as_ref)) {
            let (key, _) = pair?;
            let entry =
                keys::expiry_of(of, &key).ok_or(Damaged("its key is not of its kind")).map_err(damaged(&key))?;
            if entries.len() == limit || !entry.second.has_come(now) {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}
