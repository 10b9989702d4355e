//! The stable error codes: a string for people, guests and JSON, a number for the wire. Neither is ever reused; a retired one
//! keeps its line.
//!
//! One table for the whole product; `sdk/wire` repeats the wire part for clients, and a test compares the two.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $text:literal),+ $(,)?) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u32 {
                match self { $(Code::$variant => $number,)+ }
            }

            /// The string for people, guests and JSON.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ }
            }
        }
    };
}

codes! {
    /// The frame could not be decoded.
    MalformedFrame = 1 "malformed-frame",
    /// The frame is longer than the limit.
    FrameTooLong = 2 "frame-too-long",
    /// No common protocol version.
    VersionUnsupported = 3 "version-unsupported",
    /// A frame that is not allowed in this state, such as a publish before the hello.
    UnexpectedFrame = 4 "unexpected-frame",
    /// Identity missing or wrong.
    Unauthenticated = 5 "unauthenticated",
    /// Known principal, not allowed to do this.
    Denied = 6 "denied",
    /// The host is shutting down.
    GoingAway = 7 "going-away",
    /// A deadline passed (handshake, frame).
    Timeout = 8 "timeout",
    /// A sequence that skips ahead.
    Gap = 20 "gap",
    /// The topic does not exist.
    UnknownTopic = 21 "unknown-topic",
    /// A required attribute is missing or empty.
    MissingAttribute = 22 "missing-attribute",
    /// An attribute is over its size limit or not allowed text.
    InvalidAttribute = 23 "invalid-attribute",
    /// The event is over the topic's size limit.
    EventTooLarge = 24 "event-too-large",
    /// The same source and id were stored with other content.
    IdReused = 25 "id-reused",
    /// A retry whose id is older than the window, so nobody can know whether it was stored.
    TooOld = 26 "too-old",
    /// An earlier event of the same key was refused in this session and is neither resent nor abandoned.
    BehindRefused = 27 "behind-refused",
    /// The batch is empty or has too many events.
    InvalidBatch = 28 "invalid-batch",
    /// The event could not be decoded.
    MalformedEvent = 29 "malformed-event",
    /// Too little free disk: publishing stops, reads and acks go on.
    DiskFull = 40 "disk-full",
    /// A quota or a bound is used up; try again later.
    Quota = 41 "quota",
    /// The store failed; what was waiting is unknown.
    StorageFailed = 42 "storage-failed",
    /// A guest's ticket or claim is not live in this call: stale, foreign or invented.
    Stale = 60 "stale",
    /// The delivery was already settled.
    Settled = 61 "settled",
    /// An argument is not valid.
    Invalid = 62 "invalid",
    /// A value or the transaction is over its size limit.
    TooLarge = 63 "too-large",
    /// The host saw bytes leave without a complete answer and keeps the claim.
    Uncertain = 64 "uncertain",
    /// Two transactions touched the same key; the delivery is run again.
    Conflict = 65 "conflict",
    /// An outgoing call failed before any byte of it left.
    NotSent = 66 "not-sent",
    /// An outgoing call failed after some of it left.
    MaybeSent = 67 "maybe-sent",
    /// A name that was asked for does not exist.
    NotFound = 68 "not-found",
    /// The thing exists already with other content.
    Exists = 69 "exists",
    /// A part that is needed is not available just now.
    Unavailable = 70 "unavailable",
    /// The deadline of the delivery has passed, or the `expirytime` of an event that is published.
    Expired = 71 "expired",
    /// A provider answered with a permanent refusal.
    ProviderRefused = 72 "refused",
    /// Known to the contract, not served by this host version.
    Unsupported = 73 "unsupported",
}

impl Code {
    /// The code of a number, if it is in the table.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_texts_are_unique() {
        let numbers: BTreeSet<u32> = Code::ALL.iter().map(|code| code.number()).collect();
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
