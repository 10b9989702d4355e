//! Why bytes are not an event the bus accepts.
//!
//! Knows the checks of the envelope only: whether the topic exists, the id was seen or the size fits the topic's own
//! limit is decided elsewhere.
//!
//! The invariant: every error names the attribute it is about, in text safe to print, and has a stable code.

use crate::code::Code;
use crate::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, EVENT_BYTES_MAX};

/// An event that is refused at the door. Every variant is for the producer to act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not a CloudEvent in protobuf.
    #[error("the event is not a CloudEvent in protobuf format (byte {at} of {len})")]
    Malformed {
        /// Byte where the walk ended.
        at: usize,
        /// Length of the event.
        len: usize,
    },
    /// Over the size limit.
    #[error(
        "the event has {bytes} bytes and at most {EVENT_BYTES_MAX} are allowed; send a reference instead of the document"
    )]
    TooLarge {
        /// Length of the event.
        bytes: usize,
    },
    /// A required attribute is absent or empty.
    #[error("attribute `{attribute}` is required; set it to a text that is not empty")]
    Missing {
        /// Its CloudEvents name.
        attribute: &'static str,
    },
    /// An attribute over its size limit.
    #[error("attribute `{attribute}` has {bytes} bytes and at most {ATTRIBUTE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its name.
        attribute: String,
        /// Length of its value.
        bytes: usize,
    },
    /// An attribute whose value is empty, not UTF-8 or has control characters.
    #[error("attribute `{attribute}` must be UTF-8 text, not empty and without control characters")]
    Text {
        /// Its name.
        attribute: String,
    },
    /// An attribute with a meaning to the bus whose value is of another kind.
    #[error("attribute `{attribute}` must be {expected}")]
    Value {
        /// Its name.
        attribute: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// An attribute name CloudEvents does not allow.
    #[error(
        "attribute name `{name}` is not allowed; use lower-case letters and digits, and not the name of a required attribute"
    )]
    Name {
        /// The name, escaped and cut.
        name: String,
    },
    /// An attribute given twice, which readers would understand differently.
    #[error("attribute `{attribute}` is given twice")]
    Twice {
        /// Its name.
        attribute: String,
    },
    /// More attributes than allowed.
    #[error("the event has more than {ATTRIBUTES_MAX} attributes")]
    TooMany,
    /// A CloudEvents version other than 1.0.
    #[error("attribute `specversion` is `{found}`; this bus accepts `1.0`")]
    SpecVersion {
        /// The version found, escaped and cut.
        found: String,
    },
}

impl EventError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed { .. } => Code::MALFORMED_EVENT,
            Self::TooLarge { .. } => Code::EVENT_TOO_LARGE,
            Self::Missing { .. } => Code::MISSING_ATTRIBUTE,
            Self::TooLong { .. }
            | Self::Text { .. }
            | Self::Value { .. }
            | Self::Name { .. }
            | Self::Twice { .. }
            | Self::TooMany
            | Self::SpecVersion { .. } => Code::INVALID_ATTRIBUTE,
        }
    }
}

/// Text from a stranger, made safe to print: control characters escaped, at most 64 characters.
#[cold]
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..256).unwrap_or(bytes)).into_owned();
    text.chars().flat_map(char::escape_debug).take(64).collect()
}
