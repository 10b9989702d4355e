//! Send records: what became of a notification.
//!
//! A note is kept with every verdict, also when the attempt fails.

use crate::cx::Cx;
use crate::error::HostError;
use crate::host::{self, wit};

pub use wit::records::SendRecord;

/// A note being built.
#[derive(Debug)]
#[must_use = "nothing is noted before `save`"]
pub struct Note<'a> {
    cx: &'a Cx,
    note: wit::records::SendNote,
}

impl<'a> Note<'a> {
    pub(crate) fn new(cx: &'a Cx, recipient: &str, status: &str) -> Self {
        let note = wit::records::SendNote {
            business_key: None,
            recipient: recipient.to_owned(),
            status: status.to_owned(),
            provider: None,
            provider_ref: None,
            detail: None,
        };
        Self { cx, note }
    }

    /// What it is about, if not the event's business key.
    pub fn business_key(mut self, key: impl Into<String>) -> Self {
        self.note.business_key = Some(key.into());
        self
    }

    /// Who was asked to send it.
    pub fn provider(mut self, provider: impl Into<String>) -> Self {
        self.note.provider = Some(provider.into());
        self
    }

    /// The provider's own id of the message.
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.note.provider_ref = Some(reference.into());
        self
    }

    /// Free text.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.note.detail = Some(detail.into());
        self
    }

    /// Write the row.
    ///
    /// # Errors
    /// `invalid`, `quota` and the like.
    pub fn save(self) -> Result<(), HostError> {
        Ok(host::records::note(self.cx.ticket(), &self.note)?)
    }
}
