//! Why an outgoing call did not come to an answer, and why the crate could not start.
//!
//! The codes are those of the plugin contract; texts say what to do. No text holds a payload, a header value or a secret.

use bugle_core::time::Millis;

/// Why an outgoing call failed. Whether something left is said by [`crate::Evidence`], not by the variant alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not granted; the text names the line to add.
    #[error("{0}")]
    Denied(String),
    /// The plugin asked for something malformed.
    #[error("{0}")]
    Invalid(String),
    /// Over a size limit; the text names it.
    #[error("{0}")]
    TooLarge(String),
    /// Surely nothing was handed over.
    #[error("{message}")]
    NotSent {
        /// What failed.
        message: String,
        /// When the other side asked to be tried again.
        retry_after: Option<Millis>,
    },
    /// Something left and there is no complete answer.
    #[error("{0}")]
    MaybeSent(String),
    /// The other side refused for good.
    #[error("{0}")]
    Refused(String),
}

impl EgressError {
    /// The stable code of the plugin contract.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            EgressError::Denied(_) => "denied",
            EgressError::Invalid(_) => "invalid",
            EgressError::TooLarge(_) => "too-large",
            EgressError::NotSent { .. } => "not-sent",
            EgressError::MaybeSent(_) => "maybe-sent",
            EgressError::Refused(_) => "refused",
        }
    }

    pub(crate) fn not_sent(message: impl Into<String>) -> EgressError {
        EgressError::NotSent { message: message.into(), retry_after: None }
    }
}

/// Why the ways out could not be prepared. All are the operator's to fix.
#[derive(Debug, thiserror::Error)]
pub enum NewEgressError {
    /// The extra roots are not certificates.
    #[error("the extra trusted certificates do not parse as PEM: {reason}")]
    Roots {
        /// What is wrong.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
    /// The relay's settings do not make sense.
    #[error("mail relay `{host}`: {reason}")]
    Relay {
        /// The relay.
        host: String,
        /// What is wrong.
        reason: String,
    },
}
