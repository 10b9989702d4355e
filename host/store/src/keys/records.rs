//! Keys of send records, and of the entries that find them.
//!
//! Knows nothing of what a status means. Invariant: an entry ends with the fields of its record's key.

use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::{LateEntry, RecordRow};
use bugle_core::time::Timestamp;

use super::{Fields, Key, Kind};

pub(crate) fn records(business_key: &str) -> Key {
    Key::of(Kind::Record).text(business_key)
}

pub(crate) fn records_of(business_key: &str, subscription: SubscriptionId) -> Key {
    records(business_key).u32(subscription.0)
}

pub(crate) fn records_to(business_key: &str, subscription: SubscriptionId, recipient: &str) -> Key {
    records_of(business_key, subscription).text(recipient)
}

pub(crate) fn record(business_key: &str, subscription: SubscriptionId, recipient: &str, position: Position) -> Key {
    let mut key = records_to(business_key, subscription, recipient);
    key.0.extend_from_slice(&position.slot.0.to_be_bytes());
    key.u64(position.offset.0)
}

/// What finds a record, but for its business key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordIndex {
    /// [`Kind::RecordTo`].
    Recipient,
    /// [`Kind::RecordEvent`].
    Event,
    /// [`Kind::RecordReference`].
    Reference,
}

impl RecordIndex {
    pub(crate) const ALL: [RecordIndex; 3] = [RecordIndex::Recipient, RecordIndex::Event, RecordIndex::Reference];

    /// Where a lookup begins.
    pub(crate) fn prefix(self, text: &str) -> Key {
        let kind = match self {
            RecordIndex::Recipient => Kind::RecordTo,
            RecordIndex::Event => Kind::RecordEvent,
            RecordIndex::Reference => Kind::RecordReference,
        };
        Key::of(kind).text(text)
    }

    /// The entry of a record; none if it has nothing to be found by.
    pub(crate) fn entry(self, row: &RecordRow, record: &Key) -> Option<Key> {
        let (text, more) = match self {
            RecordIndex::Recipient => (&row.recipient, None),
            RecordIndex::Event => (&row.event_id, None),
            RecordIndex::Reference => (&row.provider_reference, Some(&row.provider)),
        };
        let prefix = self.prefix(text);
        let prefix = more.map_or(prefix.clone(), |more| prefix.text(more));
        (!text.is_empty()).then(|| prefix.fields_of(record))
    }
}

/// States in which something has to follow, or those in which nothing has, oldest first.
pub(crate) fn record_states(is_open: bool) -> Key {
    Key::of(if is_open { Kind::RecordOpen } else { Kind::RecordDone })
}

pub(crate) fn record_state(row: &RecordRow, record: &Key) -> Key {
    record_states(row.is_waiting()).u64(row.at.0).fields_of(record)
}

/// The key of the record that an entry with so many texts in front is of.
pub(crate) fn record_of(entry: &[u8], texts: usize) -> Option<Vec<u8>> {
    let mut fields = Fields::of(entry);
    for _ in 0..texts {
        fields.text()?;
    }
    Some([&Kind::Record.code(), fields.0].concat())
}

/// The same of a state.
pub(crate) fn record_of_state(entry: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Fields::of(entry);
    fields.u64()?;
    Some([&Kind::Record.code(), fields.0].concat())
}

/// Records by when they are late.
pub(crate) fn lates() -> Key {
    Key::of(Kind::RecordLate)
}

pub(crate) fn late(at: Timestamp, record: &Key) -> Key {
    lates().u64(at.0).fields_of(record)
}

pub(crate) fn late_entry(key: &[u8]) -> Option<LateEntry> {
    let mut fields = Fields::of(key);
    let at = Timestamp(fields.u64()?);
    let business_key = fields.text()?.to_owned();
    let subscription = fields.subscription()?;
    let recipient = fields.text()?.to_owned();
    Some(LateEntry { at, subscription, position: fields.position()?, business_key, recipient })
}
