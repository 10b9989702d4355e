//! The error codes of the protocol: a stable number on the wire, a stable text for people and JSON.
//!
//! One table. It does not know who gives a code or what is done about it. A host newer than this crate may send
//! numbers that are not listed; they stay usable and print as `code-<number>`.
//!
//! The invariant: numbers and texts are unique and never reused; a retired one keeps its line.

use core::fmt;

/// A code of the protocol. Compare with the constants; print for its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal),+ $(,)?) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($number);)+

            /// Every code of the table, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            fn known_text(self) -> Option<&'static str> {
                match self.0 { $($number => Some($text),)+ _ => None }
            }
        }
    };
}

codes! {
    /// The frame could not be decoded.
    MALFORMED_FRAME = 1 "malformed-frame",
    /// The frame is longer than the limit.
    FRAME_TOO_LONG = 2 "frame-too-long",
    /// No protocol version in common.
    VERSION_UNSUPPORTED = 3 "version-unsupported",
    /// A frame that is unknown, or not allowed on this stream or at this time.
    UNEXPECTED_FRAME = 4 "unexpected-frame",
    /// Identity missing or wrong.
    UNAUTHENTICATED = 5 "unauthenticated",
    /// Known principal, not allowed to do this.
    DENIED = 6 "denied",
    /// The host is shutting down.
    GOING_AWAY = 7 "going-away",
    /// A deadline passed (handshake, frame).
    TIMEOUT = 8 "timeout",
    /// A sequence that is not the last one of its stream plus one.
    GAP = 20 "gap",
    /// The topic does not exist.
    UNKNOWN_TOPIC = 21 "unknown-topic",
    /// A required attribute is missing or empty.
    MISSING_ATTRIBUTE = 22 "missing-attribute",
    /// An attribute is over its size limit or not allowed text.
    INVALID_ATTRIBUTE = 23 "invalid-attribute",
    /// The event is over the size limit.
    EVENT_TOO_LARGE = 24 "event-too-large",
    /// The same source and id were stored with other content.
    ID_REUSED = 25 "id-reused",
    /// A retry whose id is older than the window, so nobody can know whether it was stored.
    TOO_OLD = 26 "too-old",
    /// An earlier event of the same key was refused in this session and is neither resent nor abandoned.
    BEHIND_REFUSED = 27 "behind-refused",
    /// The batch is empty or has too many events.
    INVALID_BATCH = 28 "invalid-batch",
    /// The event could not be decoded.
    MALFORMED_EVENT = 29 "malformed-event",
    /// Too little free disk: publishing stops, reads and acks go on.
    DISK_FULL = 40 "disk-full",
    /// A quota or a bound is used up; try again later.
    QUOTA = 41 "quota",
    /// The store failed; what was waiting is unknown.
    STORAGE_FAILED = 42 "storage-failed",
    /// An argument is not valid.
    INVALID = 62 "invalid",
    /// A name that was asked for does not exist.
    NOT_FOUND = 68 "not-found",
    /// A part that is needed, such as the host itself, is not available just now.
    UNAVAILABLE = 70 "unavailable",
    /// The event's `expirytime` has passed.
    EXPIRED = 71 "expired",
}

impl Code {
    /// The code with this number, listed here or not.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The code with this text, if it is listed.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.known_text() == Some(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_text() {
            Some(text) => f.pad(text),
            None => write!(f, "code-{}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_texts_are_unique_and_findable() {
        let numbers: BTreeSet<u32> = Code::ALL.iter().map(|code| code.number()).collect();
        let texts: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::from_text(&code.to_string()), Some(*code));
        }
    }

    #[test]
    fn a_number_from_a_newer_host_prints() {
        assert_eq!(Code::from_number(999).to_string(), "code-999");
        assert_eq!(Code::from_text("code-999"), None);
    }
}
