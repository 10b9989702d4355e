//! The verdict of an attempt, and short ways to say it.
//!
//! `Ok(())` is an ack. It does not know how often the host will try; that is the subscription's policy.

use crate::host::{millis, wit};
use std::time::Duration;

/// What a channel function returns: `Ok(())` = sent, or why not.
pub type Outcome = Result<(), Failure>;

/// How a delivery did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Try again after a back-off.
    Retry {
        /// At least this long; `None` = the subscription's back-off.
        after: Option<Duration>,
        /// Shown to the operator.
        reason: String,
        /// A hint on what is to blame.
        fault: Fault,
    },
    /// Trying again is of no use: dead letter with this reason.
    Reject(String),
    /// Not now, and nobody's fault.
    Defer(Duration),
    /// The effect may have happened; the text is the provider's reference, if one is known.
    Unknown(String),
}

/// What is to blame, as far as the plugin can tell. The host decides by evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This event: others would pass.
    Event,
    /// The receiver or the way to it: others would fail too.
    Channel,
}

impl From<Fault> for wit::types::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Event => Self::Event,
            Fault::Channel => Self::Channel,
        }
    }
}

impl From<wit::types::Fault> for Fault {
    fn from(fault: wit::types::Fault) -> Self {
        match fault {
            wit::types::Fault::Event => Self::Event,
            wit::types::Fault::Channel => Self::Channel,
        }
    }
}

impl From<Failure> for wit::types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry { after, reason, fault } => {
                Self::Retry(wit::types::Retry { after: after.map(millis), reason, fault: fault.into() })
            }
            Failure::Reject(reason) => Self::Reject(reason),
            Failure::Defer(time) => Self::Defer(millis(time)),
            Failure::Unknown(reference) => Self::Unknown(reference),
        }
    }
}

/// Try again, at the earliest after `after`; the channel is to blame.
///
/// # Errors
/// Always: that is the verdict.
pub fn retry<T>(after: impl Into<Option<Duration>>, reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Retry { after: after.into(), reason: reason.into(), fault: Fault::Channel })
}

/// Give up: dead letter.
///
/// # Errors
/// Always: that is the verdict.
pub fn reject<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Reject(reason.into()))
}

/// Not now: the same attempt again after this time, at no cost to its budget.
///
/// # Errors
/// Always: that is the verdict.
pub fn defer<T>(time: Duration) -> Result<T, Failure> {
    Err(Failure::Defer(time))
}

/// The effect may have happened; the subscription's policy decides what now.
///
/// # Errors
/// Always: that is the verdict.
pub fn unknown<T>(reference: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Unknown(reference.into()))
}
