//! Why the host ends a session: always with a stable code, and with a text for whoever writes the client.
//!
//! Knows codes and texts; how they reach the client is the session's business.

use bugle_wire::{Code, FrameError};
use quinn::{ConnectionError, ReadError, WriteError};

use crate::port::Stopped;

/// The end of a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The client sent what it may not.
    #[error("{detail}")]
    Client { code: Code, detail: String, stream: u32, sequence: u64 },
    /// The client left or its path broke; there is nobody to tell.
    #[error("the connection ended")]
    Gone(#[source] ConnectionError),
    /// The host stops.
    #[error("{detail}")]
    Host { code: Code, detail: &'static str },
}

impl SessionError {
    pub(crate) fn client(code: Code, detail: impl Into<String>) -> Self {
        Self::Client { code, detail: detail.into(), stream: 0, sequence: 0 }
    }

    /// The same error, said to be about one publish stream.
    pub(crate) fn on(self, on_stream: u32, on_sequence: u64) -> Self {
        match self {
            Self::Client { code, detail, stream: 0, .. } => {
                Self::Client { code, detail, stream: on_stream, sequence: on_sequence }
            }
            other => other,
        }
    }
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::client(error.code(), error.to_string())
    }
}

impl From<Stopped> for SessionError {
    fn from(_: Stopped) -> Self {
        let detail = "the host stopped; what was not confirmed is unknown, ask again after its restart";
        Self::Host { code: Code::STORAGE_FAILED, detail }
    }
}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        Self::Gone(error)
    }
}

impl From<ReadError> for SessionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Gone(error),
            ReadError::Reset(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => {
                Self::client(Code::UNEXPECTED_FRAME, "a stream was reset; finish it or close the connection instead")
            }
        }
    }
}

impl From<WriteError> for SessionError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Gone(error),
            WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                Self::client(Code::UNEXPECTED_FRAME, "the control stream was stopped; without it there are no receipts")
            }
        }
    }
}
