//! `records`: what became of a notification.
//!
//! Rows and their order are the core's and the store's.

use bugle_core::code::Code;
use bugle_core::import::{Import, Note, Reply};
use bugle_core::row::{RecordRow, RecordStatus};

use super::{cut, done, error, unexpected};
use crate::bindings::bugle::plugin::{records, types};
use crate::calls::HostCalls;
use crate::hand_over;
use crate::state::State;

/// Free text of a row.
const DETAIL_BYTES_MAX: usize = 1 << 10;
/// Rows of one answer, as the plugin contract says.
const FOUND_MAX: usize = 100;

impl<C: HostCalls> records::Host for State<C> {
    async fn note(&mut self, t: types::Ticket, n: records::SendNote) -> Result<(), types::Error> {
        let attribute = self.rights.business_key.clone();
        let event = &self.live(t)?.delivery().event.event;
        let business_key = n.business_key.unwrap_or_else(|| hand_over::business_key(event, attribute.as_deref()));
        let status = RecordStatus::from_word(&n.status).ok_or_else(|| {
            let words: Vec<&str> = RecordStatus::ALL.iter().map(|status| status.word()).collect();
            error(Code::Invalid, format!("the status is one of {}", words.join(", ")))
        })?;
        let note = Note {
            business_key,
            recipient: n.recipient,
            status,
            provider: cut(n.provider.unwrap_or_default(), DETAIL_BYTES_MAX),
            provider_reference: cut(n.provider_ref.unwrap_or_default(), DETAIL_BYTES_MAX),
            detail: cut(n.detail.unwrap_or_default(), DETAIL_BYTES_MAX),
        };
        self.ask(t, Import::Note(note)).await.and_then(done)
    }

    async fn find(
        &mut self,
        business_key: String,
        recipient: Option<String>,
    ) -> Result<Vec<records::SendRecord>, types::Error> {
        match self.ask_any(Import::FindRecords { business_key, recipient }).await? {
            Reply::Records(rows) => Ok(rows.into_iter().take(FOUND_MAX).map(record).collect()),
            other => Err(unexpected(&other)),
        }
    }
}

fn record(row: RecordRow) -> records::SendRecord {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    records::SendRecord {
        business_key: row.business_key,
        recipient: row.recipient,
        event_id: row.event_id,
        status: row.status.word().to_owned(),
        provider: text(row.provider),
        provider_ref: text(row.provider_reference),
        detail: text(row.detail),
        updated: row.at.0,
    }
}
