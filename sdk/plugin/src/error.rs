//! Errors of host calls, with their stable codes.
//!
//! `?` turns one into the right verdict: what surely was not sent is retried, what may have been sent is
//! `unknown`, what can never work is rejected. It does not know who called.

use crate::host::wit;
use crate::verdict::{Failure, Fault};
use std::fmt;
use std::time::Duration;

/// Why a host call failed. The set is that of `wit/types.wit`; a host may know more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// No grant for this.
    Denied,
    /// An argument is malformed.
    Invalid,
    /// A size limit.
    TooLarge,
    /// A limit of number or rate.
    Quota,
    /// The ticket or claim is not live.
    Stale,
    /// The delivery has its verdict already.
    Settled,
    /// The deadline has passed.
    Expired,
    /// Another delivery changed what this one had read; it runs again by itself.
    Conflict,
    /// Surely nothing was handed over.
    NotSent,
    /// Something left and no complete answer came.
    MaybeSent,
    /// The mail relay refused for good.
    Refused,
    /// The claim is kept, since something may have been sent.
    Uncertain,
    /// No such secret or timer.
    NotFound,
    /// This host does not serve it.
    Unsupported,
    /// Not now.
    Unavailable,
    /// A code that this SDK does not know.
    Other(String),
}

impl Code {
    /// The code as in the contract.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::TooLarge => "too-large",
            Self::Quota => "quota",
            Self::Stale => "stale",
            Self::Settled => "settled",
            Self::Expired => "expired",
            Self::Conflict => "conflict",
            Self::NotSent => "not-sent",
            Self::MaybeSent => "maybe-sent",
            Self::Refused => "refused",
            Self::Uncertain => "uncertain",
            Self::NotFound => "not-found",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Other(code) => code,
        }
    }
}

impl From<String> for Code {
    fn from(code: String) -> Self {
        const KNOWN: [Code; 15] = [
            Code::Denied,
            Code::Invalid,
            Code::TooLarge,
            Code::Quota,
            Code::Stale,
            Code::Settled,
            Code::Expired,
            Code::Conflict,
            Code::NotSent,
            Code::MaybeSent,
            Code::Refused,
            Code::Uncertain,
            Code::NotFound,
            Code::Unsupported,
            Code::Unavailable,
        ];
        KNOWN.into_iter().find(|known| known.as_str() == code).unwrap_or(Self::Other(code))
    }
}

/// A host call that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    /// What kind of error, for code.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
}

impl HostError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: Code::Invalid, message: message.into(), retry_after: None }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for HostError {}

impl From<wit::types::Error> for HostError {
    fn from(error: wit::types::Error) -> Self {
        Self {
            code: error.code.into(),
            message: error.message,
            retry_after: error.retry_after.map(Duration::from_millis),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let again = |fault| Self::Retry { after: error.retry_after, reason: error.to_string(), fault };
        match &error.code {
            Code::Invalid | Code::TooLarge | Code::Refused => Self::Reject(error.to_string()),
            Code::MaybeSent | Code::Uncertain => {
                crate::warn!("{error}");
                Self::Unknown(String::new())
            }
            Code::Quota | Code::Stale | Code::Settled | Code::Expired | Code::Conflict => again(Fault::Event),
            Code::Denied | Code::NotSent | Code::NotFound | Code::Unsupported | Code::Unavailable | Code::Other(_) => {
                again(Fault::Channel)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(code: &str) -> Failure {
        HostError { code: Code::from(code.to_owned()), message: "m".into(), retry_after: None }.into()
    }

    #[test]
    fn what_may_have_been_sent_is_unknown_and_never_a_retry() {
        let host = crate::mock::Host::new();
        host.within(|| {
            assert_eq!(verdict("maybe-sent"), Failure::Unknown(String::new()));
            assert_eq!(verdict("uncertain"), Failure::Unknown(String::new()));
        });
    }

    #[test]
    fn what_was_not_sent_is_retried_and_what_can_never_work_is_rejected() {
        for code in ["not-sent", "denied", "unavailable", "a-code-of-later"] {
            assert!(matches!(verdict(code), Failure::Retry { fault: Fault::Channel, .. }), "{code}");
        }
        for code in ["invalid", "too-large", "refused"] {
            assert!(matches!(verdict(code), Failure::Reject(_)), "{code}");
        }
    }

    #[test]
    fn codes_survive_the_round_trip() {
        for code in ["too-large", "not-sent", "settled", "something-new"] {
            assert_eq!(Code::from(code.to_owned()).as_str(), code);
        }
    }
}
