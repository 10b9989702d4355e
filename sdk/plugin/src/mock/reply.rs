//! What the outside answers, as scripted by a test.
//!
//! It knows nothing of requests: answers are given in the order they were scripted.

use crate::host::wit;
use serde::Serialize;

/// The answer to one HTTP request.
#[derive(Debug, Clone)]
pub struct Reply(pub(super) Answer<wit::http::Response>);

/// The relay's answer to one mail.
#[derive(Debug, Clone)]
pub struct MailReply(pub(super) Answer<String>);

#[derive(Debug, Clone)]
pub(super) enum Answer<T> {
    Complete(T),
    Error(wit::types::Error),
    Crash,
}

/// The panic of a scripted crash, told from a real one by its type.
pub(super) struct Crash;

fn error(code: &str, message: &str) -> wit::types::Error {
    wit::types::Error { code: code.to_owned(), message: message.to_owned(), retry_after: None }
}

impl Reply {
    /// A complete answer without a body.
    pub fn status(status: u16) -> Self {
        Self(Answer::Complete(wit::http::Response { status, headers: Vec::new(), body: Vec::new() }))
    }

    fn set(mut self, change: impl FnOnce(&mut wit::http::Response)) -> Self {
        if let Answer::Complete(response) = &mut self.0 {
            change(response);
        }
        self
    }

    /// Add a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.set(|response| response.headers.push((name.to_ascii_lowercase(), value.to_owned())))
    }

    /// A body.
    #[must_use]
    pub fn body(self, body: &str) -> Self {
        self.set(|response| response.body = body.as_bytes().to_vec())
    }

    /// A JSON body.
    ///
    /// # Panics
    /// The value does not serialise.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("the value of a test serialises");
        self.set(|response| response.body = body)
    }

    /// Nothing was sent: connection refused and the like.
    pub fn not_sent() -> Self {
        Self(Answer::Error(error("not-sent", "connection refused")))
    }

    /// The request left and no complete answer came.
    pub fn maybe_sent() -> Self {
        Self(Answer::Error(error("maybe-sent", "connection closed before a complete answer")))
    }

    /// Any other error.
    pub fn error(code: &str, message: &str) -> Self {
        Self(Answer::Error(error(code, message)))
    }

    /// The request left, then the host or the plugin died.
    pub fn crash() -> Self {
        Self(Answer::Crash)
    }
}

impl MailReply {
    /// Taken over, with this reply.
    pub fn accepted(reply: &str) -> Self {
        Self(Answer::Complete(reply.to_owned()))
    }

    /// `not-sent`, `refused`, `maybe-sent` or any other code.
    pub fn error(code: &str, message: &str) -> Self {
        Self(Answer::Error(error(code, message)))
    }

    /// The mail left, then the host or the plugin died.
    pub fn crash() -> Self {
        Self(Answer::Crash)
    }
}
