//! Lists for operators: dead letters, parked deliveries, send records, definitions, and the scan for the checker.
//!
//! Knows nothing of how they are shown. Pages are bounded, and read by a thread that may block.

use std::ops::ControlFlow;
use std::sync::Arc;

use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::RecordRow;
use bugle_core::step::CatalogKind;
use bugle_core::time::Timestamp;
use bugle_store::{DeadEntry, LateRecords, RecordEntry, RecordLookup, ScannedRow, UnknownEntry};

use super::Bus;
use crate::reads::ReadError;

/// Rows of one page.
const PAGE_ROWS_MAX: usize = 1000;

/// What send records are looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// What they are about.
    BusinessKey(String),
    /// Whom they went to.
    Recipient(String),
    /// The event's `id`.
    Event(String),
    /// The provider's reference.
    Reference(String),
}

impl Lookup {
    fn of_store(&self) -> RecordLookup<'_> {
        match self {
            Lookup::BusinessKey(key) => RecordLookup::BusinessKey(key),
            Lookup::Recipient(recipient) => RecordLookup::Recipient(recipient),
            Lookup::Event(id) => RecordLookup::Event(id),
            Lookup::Reference(reference) => RecordLookup::Reference(reference),
        }
    }
}

impl Bus {
    /// Dead letters of a subscription after a position, oldest first; none if there is no such subscription.
    pub async fn dead(
        &self,
        subscription: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<DeadEntry>, ReadError> {
        let Some(id) = self.number(subscription) else {
            return Ok(Vec::new());
        };
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.dead(id, after, limit.min(PAGE_ROWS_MAX));
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// Deliveries of a subscription that were parked because they may have been sent, oldest first.
    pub async fn unknown(
        &self,
        subscription: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<UnknownEntry>, ReadError> {
        let Some(id) = self.number(subscription) else {
            return Ok(Vec::new());
        };
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.unknown(id, after, limit.min(PAGE_ROWS_MAX));
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// Send records of one subscription for a business key, for one recipient or all.
    pub async fn records_of(
        &self,
        subscription: &str,
        business_key: String,
        recipient: Option<String>,
    ) -> Result<Vec<RecordRow>, ReadError> {
        match self.number(subscription) {
            None => Ok(Vec::new()),
            Some(id) => self.inside.shared.records(id, business_key, recipient).await,
        }
    }

    /// Send records that something finds, over all subscriptions.
    pub async fn find_records(&self, lookup: Lookup, limit: usize) -> Result<Vec<RecordEntry>, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.find_records(lookup.of_store(), limit.min(PAGE_ROWS_MAX));
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// Send records in a state in which something has to follow, and in which they have been since before a time; of one subscription,
    /// which may be gone, or all.
    pub async fn late_records(
        &self,
        before: Timestamp,
        subscription: Option<SubscriptionId>,
        limit: usize,
    ) -> Result<LateRecords, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.late_records(before, subscription, limit.min(PAGE_ROWS_MAX));
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// A definition.
    pub fn definition(&self, kind: CatalogKind, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.inside.shared.store.catalog(kind, key)?)
    }

    /// Definitions of a kind after a key, in key order.
    pub async fn definitions(
        &self,
        kind: CatalogKind,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.catalog_list(kind, after.as_deref(), limit.min(PAGE_ROWS_MAX));
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// Hands every row of the store to `each`, on a thread that may block, until it breaks: for the independent checker. Rows
    /// written meanwhile may be missing, so it is run on a host at rest.
    pub async fn scan(
        &self,
        mut each: impl FnMut(ScannedRow) -> ControlFlow<()> + Send + 'static,
    ) -> Result<(), ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let walk = move || {
            for row in store.scan() {
                if each(row?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        self.inside.shared.blocking.run(walk).await
    }

    fn number(&self, subscription: &str) -> Option<SubscriptionId> {
        self.inside.port(subscription).map(|port| port.subscription)
    }
}
