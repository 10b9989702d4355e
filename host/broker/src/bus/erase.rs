//! Content that is erased: what is left of events takes their places, and nothing in memory keeps the rest.
//!
//! Knows nothing of whose content it is, of letters and records, and of the files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bugle_core::event::StoredEvent;
use bugle_core::step::Write;
use bugle_store::RecordEntry;

use super::Bus;
use crate::queue::Stopped;
use crate::reads::ReadError;

/// States of send records that are looked at before the thread is given back.
const STATES_AT_ONCE: usize = 10_000;

/// Why it is not known what was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The operator: the disk.
    #[error("could not look for what is to be erased")]
    Read(#[from] ReadError),
    /// The host stops.
    #[error("could not erase all that was asked for")]
    Stopped(#[from] Stopped),
}

impl Bus {
    /// Puts what is left of events ([`bugle_core::event::Event::is_erased`]) in their places. When it returns that is durable, and
    /// deliveries that start from then on find it; one that is under way goes on with what it has.
    pub async fn erase(&self, left: Vec<StoredEvent>) -> Result<(), Stopped> {
        self.inside.commit(left.into_iter().map(Write::Erased).collect()).await?;
        let shared = &self.inside.shared;
        shared.ring.forget();
        shared.erasures.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Finds the send records that are meant among some of all states of records, and unless they are only counted deletes every
    /// state of them; how many records, and where to go on.
    pub async fn erase_records(
        &self,
        from: Option<Vec<u8>>,
        is_only_counted: bool,
        is_meant: impl Fn(&RecordEntry) -> bool + Send + 'static,
    ) -> Result<(u64, Option<Vec<u8>>), EraseError> {
        let store = Arc::clone(&self.inside.shared.store);
        let look = move || store.records_to_erase(from, STATES_AT_ONCE, is_meant);
        let page = self.inside.shared.blocking.run(look).await.map_err(ReadError::from)?;
        if !page.writes.is_empty() && !is_only_counted {
            self.inside.commit(page.writes).await?;
        }
        Ok((page.records, page.next))
    }
}
