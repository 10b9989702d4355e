//! Lists for operators: dead letters, parked deliveries, send records.
//!
//! Knows nothing of how they are shown. Pages are bounded, and read by a thread that may block.

use std::sync::Arc;

use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::{DeadRow, RecordRow, UnknownRow};

use super::Bus;
use crate::reads::ReadError;

/// Rows of one page.
const PAGE_ROWS_MAX: usize = 1000;

impl Bus {
    /// Dead letters of a subscription after a position, oldest first; none if there is no such subscription.
    pub async fn dead(
        &self,
        subscription: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<(Position, DeadRow)>, ReadError> {
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
    ) -> Result<Vec<(Position, UnknownRow)>, ReadError> {
        let Some(id) = self.number(subscription) else {
            return Ok(Vec::new());
        };
        let store = Arc::clone(&self.inside.shared.store);
        let read = move || store.unknown(id, after, limit.min(PAGE_ROWS_MAX));
        Ok(self.inside.shared.blocking.run(read).await?)
    }

    /// Send records of a subscription for a business key, for one recipient or all.
    pub async fn records(
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

    fn number(&self, subscription: &str) -> Option<SubscriptionId> {
        self.inside.port(subscription).map(|port| port.subscription)
    }
}
