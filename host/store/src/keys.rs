//! The keys of every row: a pair of bytes that names the kind, then its fields, big-endian, so that order is meaning.
//!
//! Text inside a key has its length in front, unless it is the last field. Codes are forever: a retired kind keeps its line.
//! Knows nothing of values.
//!
//! Invariant: keys of different kinds never meet, and a prefix of whole fields selects exactly the rows that have them.

use bugle_core::event::Class;
use bugle_core::ids::{BootId, Offset, Position, ProducerEpoch, Slot, StreamId, SubscriptionId};
use bugle_core::row::LET_GO_ROWS_MAX;
use bugle_core::step::CatalogKind;

use crate::family::Family;

mod expiry;
mod records;
mod scheduled;
mod window;

pub(crate) use expiry::{expiries, expiries_at, expiry, expiry_of, family as expiry_family};
pub(crate) use records::{
    RecordIndex, late, late_entry, lates, record, record_of, record_of_state, record_state, record_states, records,
    records_of, records_to,
};
pub(crate) use scheduled::{fate, fates, scheduled, scheduled_all, scheduled_name, scheduled_names, scheduled_totals};
pub(crate) use window::{window, window_mark, window_place, windows};

/// The slot whose rows these are; the embedded host has one.
pub(crate) const SLOT: Slot = Slot(0);

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal),+ $(,)?) => {
        /// What a row is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $variant,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// The first two bytes of its keys.
            #[must_use]
            pub fn code(self) -> [u8; 2] {
                match self { $(Kind::$variant => *$code,)+ }
            }
        }
    };
}

kinds! {
    /// Slot, offset: an event.
    Event = b"ev",
    /// Slot, number: where a log epoch begins.
    Epoch = b"ep",
    /// Producer, epoch, stream: last stored sequence.
    Sequence = b"sq",
    /// Subscription, slot, class: cursor floor.
    Cursor = b"cu",
    /// Subscription, slot, class, chunk: settled offsets.
    Chunk = b"ch",
    /// Subscription, slot, offset: a delivery that waits.
    Waiting = b"wa",
    /// Subscription, slot, class, ordering key: a lane kept closed.
    Hold = b"ho",
    /// Subscription: pause mark.
    Paused = b"pa",
    /// Subscription: how an operator has it run.
    Run = b"ru",
    /// Subscription, serial modulo [`LET_GO_ROWS_MAX`]: a run of the log it let go of.
    LetGo = b"lg",
    /// Subscription: breaker and degrade rules of its channel.
    Channel = b"cn",
    /// Subscription, slot, offset: dead letter.
    Dead = b"de",
    /// Subscription: its dead letters in numbers.
    DeadTotals = b"dt",
    /// Subscription, slot, offset: parked for a decision.
    Unknown = b"un",
    /// Subscription: its unknown results in numbers.
    UnknownTotals = b"ut",
    /// Scope, key: dedup claim.
    Claim = b"cl",
    /// Store, key: kv entry.
    Kv = b"kv",
    /// Scope, end, number: a done weak claim.
    Window = b"cw",
    /// Second, scope, key: a claim that ends then.
    ClaimExpiry = b"ce",
    /// Second, store, key: a kv entry that ends then.
    KvExpiry = b"ke",
    /// Business key, subscription, recipient, slot, offset: send record.
    Record = b"rc",
    /// Time, then the fields of a record's key: a state in which something had to follow.
    RecordOpen = b"ro",
    /// Time, then the fields of a record's key: a state in which nothing had to.
    RecordDone = b"rd",
    /// When it is late, then the fields of a record's key: something should have followed by then.
    RecordLate = b"rl",
    /// Recipient, then the fields of a record's key.
    RecordTo = b"rt",
    /// The event's id, then the fields of a record's key.
    RecordEvent = b"re",
    /// The provider's reference, provider, then the fields of a record's key.
    RecordReference = b"rr",
    /// Slot, due time, offset: a scheduled event that waits.
    Scheduled = b"sd",
    /// Slot, topic, hash of a name, due time, offset: where one of that name waits.
    ScheduledName = b"sn",
    /// Slot, offset: what became of a scheduled event.
    Fate = b"sf",
    /// Slot, topic: its scheduled events in numbers.
    ScheduledTotals = b"st",
    /// Kind, key: a definition of the server.
    Catalog = b"ca",
    /// Block: a sealed block of the id window.
    IdBlock = b"ib",
    /// Block, chunk: a part of its ids.
    IdChunk = b"ic",
    /// Format version of the store.
    Format = b"fv",
    /// 128 bits made at creation.
    Incarnation = b"in",
    /// Key of the id hash, made at creation.
    IdSeed = b"se",
    /// Boot: where the log ended then.
    Boot = b"bo",
    /// Boot: a loss an operator accepted.
    Loss = b"ls",
    /// Boot: an incarnation that ended with a restore.
    Earlier = b"ea",
}

impl Kind {
    /// The kind of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| key.get(..2) == Some(&kind.code()[..]))
    }
}

/// A key, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn of(kind: Kind) -> Key {
        let mut bytes = Vec::with_capacity(48);
        bytes.extend_from_slice(&kind.code());
        Key(bytes)
    }

    fn u8(mut self, value: u8) -> Key {
        self.0.push(value);
        self
    }

    fn u32(mut self, value: u32) -> Key {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Key {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn slot(mut self) -> Key {
        self.0.extend_from_slice(&SLOT.0.to_be_bytes());
        self
    }

    /// Text with its length in front.
    fn text(self, text: &str) -> Key {
        // Texts come from frames and calls of at most some MiB.
        self.u32(text.len() as u32).rest(text)
    }

    /// Text to the end of the key.
    fn rest(mut self, text: &str) -> Key {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// The fields of another key.
    fn fields_of(mut self, other: &Key) -> Key {
        self.0.extend(other.0.iter().skip(2));
        self
    }

    /// The first key after all that begin with this one; `None` if there is none.
    pub(crate) fn end(&self) -> Option<Vec<u8>> {
        let mut end = self.0.clone();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Some(end);
            }
        }
        None
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An event's key, without allocation.
pub(crate) fn event(offset: Offset) -> [u8; 12] {
    let mut key = [0; 12];
    key[..2].copy_from_slice(&Kind::Event.code());
    key[2..4].copy_from_slice(&SLOT.0.to_be_bytes());
    key[4..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// The offset in an event's key.
pub(crate) fn event_offset(key: &[u8]) -> Option<Offset> {
    let rest = key.strip_prefix(&Kind::Event.code())?.strip_prefix(&SLOT.0.to_be_bytes())?;
    Some(Offset(u64::from_be_bytes(rest.try_into().ok()?)))
}

pub(crate) fn epochs() -> Key {
    Key::of(Kind::Epoch).slot()
}

pub(crate) fn epoch(number: u32) -> Key {
    epochs().u32(number)
}

pub(crate) fn sequences(producer: &str, epoch: ProducerEpoch) -> Key {
    Key::of(Kind::Sequence).text(producer).u64(epoch.0)
}

pub(crate) fn sequence(producer: &str, epoch: ProducerEpoch, stream: StreamId) -> Key {
    sequences(producer, epoch).u32(stream.0)
}

fn of_subscription(kind: Kind, subscription: SubscriptionId) -> Key {
    Key::of(kind).u32(subscription.0)
}

pub(crate) fn cursor(subscription: SubscriptionId, class: Class) -> Key {
    of_subscription(Kind::Cursor, subscription).slot().u8(class.code())
}

pub(crate) fn chunks(subscription: SubscriptionId, class: Class) -> Key {
    of_subscription(Kind::Chunk, subscription).slot().u8(class.code())
}

pub(crate) fn chunk(subscription: SubscriptionId, class: Class, chunk: u64) -> Key {
    chunks(subscription, class).u64(chunk)
}

pub(crate) fn waitings(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::Waiting, subscription).slot()
}

pub(crate) fn waiting(subscription: SubscriptionId, offset: Offset) -> Key {
    waitings(subscription).u64(offset.0)
}

pub(crate) fn holds(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::Hold, subscription).slot()
}

pub(crate) fn hold(subscription: SubscriptionId, class: Class, key: &str) -> Key {
    holds(subscription).u8(class.code()).rest(key)
}

pub(crate) fn paused(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::Paused, subscription)
}

pub(crate) fn channel(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::Channel, subscription)
}

pub(crate) fn dead_totals(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::DeadTotals, subscription)
}

pub(crate) fn unknown_totals(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::UnknownTotals, subscription)
}

pub(crate) fn run(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::Run, subscription)
}

pub(crate) fn let_gos(subscription: SubscriptionId) -> Key {
    of_subscription(Kind::LetGo, subscription)
}

pub(crate) fn let_go(subscription: SubscriptionId, serial: u64) -> Key {
    let_gos(subscription).u64(serial % LET_GO_ROWS_MAX)
}

/// Every kind whose rows belong to one subscription and end with it, and where they are.
pub(crate) const ENDS_WITH_SUBSCRIPTION: [(Kind, Family); 12] = [
    (Kind::Cursor, Family::Cursor),
    (Kind::Chunk, Family::Cursor),
    (Kind::Waiting, Family::Lane),
    (Kind::Hold, Family::Lane),
    (Kind::Paused, Family::Lane),
    (Kind::Run, Family::Lane),
    (Kind::LetGo, Family::Lane),
    (Kind::Channel, Family::Lane),
    (Kind::Dead, Family::Dead),
    (Kind::DeadTotals, Family::Dead),
    (Kind::Unknown, Family::Dead),
    (Kind::UnknownTotals, Family::Dead),
];

/// All rows of a kind that belong to a subscription.
pub(crate) fn all_of(kind: Kind, subscription: SubscriptionId) -> Key {
    of_subscription(kind, subscription)
}

/// All claims of a scope.
pub(crate) fn claims(scope: &str) -> Key {
    Key::of(Kind::Claim).text(scope)
}

/// All entries of a kv store.
pub(crate) fn kvs(store: &str) -> Key {
    Key::of(Kind::Kv).text(store)
}

/// All dead letters or all parked deliveries of a subscription.
pub(crate) fn kept(kind: Kind, subscription: SubscriptionId) -> Key {
    of_subscription(kind, subscription)
}

pub(crate) fn kept_at(kind: Kind, subscription: SubscriptionId, position: Position) -> Key {
    let mut key = kept(kind, subscription);
    key.0.extend_from_slice(&position.slot.0.to_be_bytes());
    key.u64(position.offset.0)
}

pub(crate) fn claim(scope: &str, claim: &str) -> Key {
    Key::of(Kind::Claim).text(scope).rest(claim)
}

pub(crate) fn kv(store: &str, key: &str) -> Key {
    Key::of(Kind::Kv).text(store).rest(key)
}

/// The stable code of a catalog kind.
pub(crate) fn catalog_code(kind: CatalogKind) -> u8 {
    match kind {
        CatalogKind::Topic => 1,
        CatalogKind::Subscription => 2,
        CatalogKind::Plugin => 3,
        CatalogKind::Component => 4,
        CatalogKind::Audit => 5,
        CatalogKind::Counter => 6,
        CatalogKind::Deleted => 7,
        CatalogKind::Retention => 8,
    }
}

pub(crate) fn catalogs(kind: CatalogKind) -> Key {
    Key::of(Kind::Catalog).u8(catalog_code(kind))
}

pub(crate) fn catalog(kind: CatalogKind, key: &str) -> Key {
    catalogs(kind).rest(key)
}

pub(crate) fn id_block(block: u64) -> Key {
    Key::of(Kind::IdBlock).u64(block)
}

pub(crate) fn id_chunks(block: u64) -> Key {
    Key::of(Kind::IdChunk).u64(block)
}

pub(crate) fn id_chunk(block: u64, chunk: u32) -> Key {
    id_chunks(block).u32(chunk)
}

pub(crate) fn boot(boot: BootId) -> Key {
    Key::of(Kind::Boot).u64(boot.0)
}

pub(crate) fn loss(boot: BootId) -> Key {
    Key::of(Kind::Loss).u64(boot.0)
}

pub(crate) fn earlier(boot: BootId) -> Key {
    Key::of(Kind::Earlier).u64(boot.0)
}

/// Reads the fields of a key back, in their order.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields after the kind.
    pub(crate) fn of(key: &'a [u8]) -> Fields<'a> {
        Fields(key.get(2..).unwrap_or_default())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[value]| value)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn slot(&mut self) -> Option<Slot> {
        self.take().map(u16::from_be_bytes).map(Slot)
    }

    pub(crate) fn position(&mut self) -> Option<Position> {
        Some(Position { slot: self.slot()?, offset: Offset(self.u64()?) })
    }

    pub(crate) fn subscription(&mut self) -> Option<SubscriptionId> {
        self.u32().map(SubscriptionId)
    }

    pub(crate) fn class(&mut self) -> Option<Class> {
        Class::from_code(self.u8()?)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub(crate) fn rest(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }
}
