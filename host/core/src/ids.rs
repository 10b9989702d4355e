//! Identities and places. Each is a type of its own, so that an offset can't be passed where a topic is meant.
//!
//! Knows nothing of how any of them is stored or sent.

use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A share of the key space with one owner; order, atomicity and ownership are per slot. The embedded host has slot 0 only.
    Slot(u16)
);
number!(
    /// Place of an event in its slot's log. The log of a slot holds all topics, so offsets of one topic have gaps.
    Offset(u64)
);
number!(
    /// Number of a topic, given at creation and never reused.
    TopicId(u32)
);
number!(
    /// Number of a subscription, given at creation and never reused.
    SubscriptionId(u32)
);
number!(
    /// One connection of a producer, for the life of the process.
    SessionId(u64)
);
number!(
    /// A producer's life: sequences are counted within it. Given by the host, never reused for the same producer name.
    ProducerEpoch(u64)
);
number!(
    /// The client's number for one of its publish streams; it survives a reconnect.
    StreamId(u32)
);
number!(
    /// Number of a publish batch in its stream; accepted only as last + 1. The first is 1.
    Sequence(u64)
);
number!(
    /// One lease of one delivery: valid inside the call that received it, never reused while the process lives.
    Ticket(u64)
);
number!(
    /// Which try of a delivery this is; the first is 1.
    Attempt(u32)
);
number!(
    /// How often a person edited an event before a replay; each edit makes another idempotency key.
    KeyGeneration(u32)
);
number!(
    /// An open dedup claim, valid for the call that opened it.
    ClaimId(u64)
);
number!(
    /// Grows each time the store is opened; part of what fences old tickets, epochs and receipts.
    BootId(u64)
);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// Where an event is: slot and offset. Users see it as opaque text such as `0-1234`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The slot whose log holds the event.
    pub slot: Slot,
    /// The place in that log.
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.slot, self.offset)
    }
}

/// Text that is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position looks like `0-1234`: slot, dash, offset")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (slot, offset) = text.split_once('-').ok_or(ParsePositionError)?;
        Ok(Position {
            slot: Slot(slot.parse().map_err(|_| ParsePositionError)?),
            offset: Offset(offset.parse().map_err(|_| ParsePositionError)?),
        })
    }
}

/// SHA-256 of a component: names one revision of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub [u8; 32]);

impl fmt::Display for Revision {
    /// The first 12 hexadecimal digits, enough for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A name given by a person: topic, subscription, plugin, producer, dedup channel. Cheap to clone.
pub type Name = Arc<str>;
