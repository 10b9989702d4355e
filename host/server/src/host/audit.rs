//! What operators did: one row per action, in the batch of the action itself.
//!
//! Knows nothing of what an action does. Invariant: keys grow with time, so a list by key is a list by time.

use std::sync::atomic::{AtomicU64, Ordering};

use bugle_broker::{Definition, ReadError, Stopped};
use bugle_core::audit::AuditBounds;
use bugle_core::ids::BootId;
use bugle_core::step::{CatalogKind, Write};
use bugle_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Host;
use crate::api::AuditView;
use crate::{catalog, moment};

/// Who acts: one token stands for all rights today.
const ADMIN: &str = "admin";
/// Rows of one list.
const LIST_MAX: usize = 1000;

/// The stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AuditRow {
    at: u64,
    by: String,
    action: String,
    target: String,
    detail: String,
}

/// An action under way: its row may be written again as it goes on.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    key: String,
    at: Timestamp,
    action: &'static str,
    target: String,
}

impl Audit {
    /// The row of the action, to be written in its batch.
    pub(crate) fn row(&self, detail: String) -> Definition {
        let row = AuditRow {
            at: self.at.0,
            by: ADMIN.to_owned(),
            action: self.action.to_owned(),
            target: self.target.clone(),
            detail,
        };
        Definition { kind: CatalogKind::Audit, key: self.key.clone(), value: Some(catalog::encode(&row)) }
    }
}

/// The row of a restore, which happens while no host runs.
pub(crate) fn restored_row(at: Timestamp, boot: BootId, from: &str, detail: String) -> Write {
    let key = format!("{}-{:08x}-{:08x}", key_of(at), boot.0, 0);
    let Definition { kind, key, value } =
        Audit { key, at, action: "backup.restore", target: from.to_owned() }.row(detail);
    Write::Catalog { kind, key, value }
}

/// Why no rows were removed.
#[derive(Debug, thiserror::Error)]
pub enum TrimAuditError {
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The host stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The moment of a key.
fn time_of(key: &str) -> Option<Timestamp> {
    u64::from_str_radix(key.get(..12)?, 16).ok().map(Timestamp)
}

/// The first key of a moment.
fn key_of(at: Timestamp) -> String {
    format!("{:012x}", at.0)
}

impl Host {
    /// Begins the row of an action.
    pub(crate) fn audit(&self, action: &'static str, target: &str) -> Audit {
        // Actions of one millisecond get one after the other; those of an earlier boot were earlier.
        static ACTIONS: AtomicU64 = AtomicU64::new(0);
        let (at, number) = (self.bus().now(), ACTIONS.fetch_add(1, Ordering::Relaxed));
        let key = format!("{}-{:08x}-{number:08x}", key_of(at), self.parts.boot.0);
        Audit { key, at, action, target: target.to_owned() }
    }

    /// Removes the rows that are too old or too many; how many. Called now and then.
    pub async fn trim_audit(&self, bounds: AuditBounds) -> Result<u64, TrimAuditError> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.bus().definitions(CatalogKind::Audit, after, LIST_MAX).await?;
            let Some((last, _)) = page.last() else { break };
            count += page.len() as u64;
            after = Some(last.clone());
        }
        let mut gone = 0;
        loop {
            let page = self.bus().definitions(CatalogKind::Audit, None, LIST_MAX).await?;
            // A key that tells no time is not ours to judge; it goes when its turn comes by number.
            let times = page.iter().map(|(key, _)| time_of(key).unwrap_or(self.bus().now()));
            let surplus = bounds.surplus(self.bus().now(), count, times);
            let mut keys = page.into_iter().take(usize::try_from(surplus).unwrap_or(0)).map(|(key, _)| key);
            let Some(first) = keys.next() else { return Ok(gone) };
            let also = keys.map(|key| Definition { kind: CatalogKind::Audit, key, value: None }).collect();
            self.bus().define(CatalogKind::Audit, first, None, also).await?;
            gone += surplus;
            count -= surplus;
        }
    }

    /// Actions since a moment, oldest first.
    pub async fn audit_list(&self, since: Timestamp, limit: usize) -> Result<Vec<AuditView>, ReadError> {
        let found = self.bus().definitions(CatalogKind::Audit, Some(key_of(since)), limit.min(LIST_MAX)).await?;
        let view = |(key, bytes): (String, Vec<u8>)| match catalog::decode::<AuditRow>("audit", &key, &bytes) {
            Ok(row) => AuditView {
                at: moment::text(Timestamp(row.at)),
                by: row.by,
                action: row.action,
                target: row.target,
                detail: row.detail,
            },
            // A list for people goes on and says what it could not read.
            Err(error) => AuditView {
                at: String::new(),
                by: String::new(),
                action: "unreadable".to_owned(),
                target: key,
                detail: error.to_string(),
            },
        };
        Ok(found.into_iter().map(view).collect())
    }
}
