//! Mail by the host's relay.
//!
//! Which relay, sender and credentials is the operator's matter. Addresses are checked by the host.

use crate::cx::Cx;
use crate::error::HostError;
use crate::host::{self, wit};

pub use wit::mail::Accepted;

/// A mail being built.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Mail<'a> {
    cx: &'a Cx,
    message: wit::mail::Message,
}

impl<'a> Mail<'a> {
    pub(crate) fn new(cx: &'a Cx) -> Self {
        let message = wit::mail::Message {
            sender: None,
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            reply_to: None,
            subject: String::new(),
            text: None,
            html: None,
            headers: Vec::new(),
            message_id: None,
        };
        Self { cx, message }
    }

    fn set(mut self, change: impl FnOnce(&mut wit::mail::Message)) -> Self {
        change(&mut self.message);
        self
    }

    /// Sender; by default the relay's.
    pub fn sender(self, address: impl Into<String>) -> Self {
        self.set(|message| message.sender = Some(address.into()))
    }

    /// One more recipient.
    pub fn to(self, address: impl Into<String>) -> Self {
        self.set(|message| message.to.push(address.into()))
    }

    /// One more copy.
    pub fn cc(self, address: impl Into<String>) -> Self {
        self.set(|message| message.cc.push(address.into()))
    }

    /// One more hidden copy.
    pub fn bcc(self, address: impl Into<String>) -> Self {
        self.set(|message| message.bcc.push(address.into()))
    }

    /// Where answers go.
    pub fn reply_to(self, address: impl Into<String>) -> Self {
        self.set(|message| message.reply_to = Some(address.into()))
    }

    /// Subject; line breaks become spaces, since it is one line.
    pub fn subject(self, subject: &str) -> Self {
        self.set(|message| message.subject = subject.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Plain text.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.set(|message| message.text = Some(text.into()))
    }

    /// HTML, alone or beside the plain text.
    pub fn html(self, html: impl Into<String>) -> Self {
        self.set(|message| message.html = Some(html.into()))
    }

    /// An extra header.
    pub fn header(self, name: &str, value: impl Into<String>) -> Self {
        self.set(|message| message.headers.push((name.to_owned(), value.into())))
    }

    /// Left part of the Message-ID; by default the idempotency key, so the same on every attempt.
    pub fn message_id(self, left: impl Into<String>) -> Self {
        self.set(|message| message.message_id = Some(left.into()))
    }

    /// Hand it to the relay.
    ///
    /// # Errors
    /// `not-sent`, `refused`, `maybe-sent`, `denied` and the like.
    pub fn send(self) -> Result<Accepted, HostError> {
        Ok(host::mail::send(self.cx.ticket(), &self.message)?)
    }
}
