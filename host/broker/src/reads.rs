//! Reads of the store on behalf of calls and operators, and the error they share.
//!
//! Point reads (one claim, one kv row) run in place: they are answered from memory or one block and often happen under the
//! ledger's lock. Anything that walks (scans, lists, the log) goes through [`crate::blocking`].

use bugle_core::attempt::SCAN_BYTES_MAX;
use bugle_core::code::Code;
use bugle_core::ids::{Name, SubscriptionId};
use bugle_core::import::ImportError;
use bugle_core::row::{ClaimRow, KvRow, RecordRow};
use bugle_store::KvPage;
use std::sync::{Arc, PoisonError};

use crate::shared::Shared;

/// Send records handed out at once; one per event and recipient of a business key, so a page is plenty.
const RECORDS_MAX: usize = 1000;

/// The store could not be read: an operator must look at the disk.
#[derive(Debug, thiserror::Error)]
#[error("could not read the store")]
pub struct ReadError(#[from] bugle_store::ReadError);

impl ReadError {
    pub(crate) fn into_import(self) -> ImportError {
        tracing::error!(error = %self.0, "could not read the store for a plugin");
        ImportError {
            code: Code::Unavailable,
            message: "the host could not read its store; return `retry`".to_owned(),
            retry_after: None,
        }
    }
}

impl Shared {
    /// The kv entry as of now, with what is on the way to the disk.
    pub(crate) fn kv_visible(&self, store: &Name, key: &str) -> Result<Option<KvRow>, ReadError> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.store.kv(store, key)?;
        Ok(ledger.kv_visible(self.clock.now(), store, key, stored))
    }

    /// The kv row on disk, for the ledger's checks. A row that can't be read stops the host: a check against nothing would
    /// let a lost update through.
    pub(crate) fn stored_kv(&self, store: &Name, key: &str) -> Option<KvRow> {
        match self.store.kv(store, key) {
            Ok(row) => row,
            Err(error) => {
                self.fail(&format!("could not read kv row `{key}` of `{store}`: {error}"));
                None
            }
        }
    }

    /// The claim on disk, for the ledger. A row that can't be read stops the host, as with kv.
    pub(crate) fn stored_claim(&self, scope: &str, key: &str) -> Option<ClaimRow> {
        match self.store.claim(scope, key) {
            Ok(row) => row,
            Err(error) => {
                self.fail(&format!("could not read claim `{key}` of `{scope}`: {error}"));
                None
            }
        }
    }

    /// Committed kv entries in key order; what is on the way to the disk is not among them.
    pub(crate) async fn kv_scan(
        &self,
        store: Name,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<KvPage, ReadError> {
        let disk = Arc::clone(&self.store);
        let scan = move || disk.kv_scan(&store, &prefix, after.as_deref(), limit as usize, SCAN_BYTES_MAX);
        Ok(self.blocking.run(scan).await?)
    }

    /// Send records of a business key.
    pub(crate) async fn records(
        &self,
        subscription: SubscriptionId,
        business_key: String,
        recipient: Option<String>,
    ) -> Result<Vec<RecordRow>, ReadError> {
        let disk = Arc::clone(&self.store);
        let find = move || disk.records_of(subscription, &business_key, recipient.as_deref(), RECORDS_MAX);
        let found = self.blocking.run(find).await?;
        Ok(found.into_iter().map(|entry| entry.row).collect())
    }
}
