//! The bytes of every value: a version byte, then the fields, hand-written and compact.
//!
//! Numbers are varints where they are mostly small and big-endian where they are not; text and bytes have their length in
//! front. Knows nothing of keys and of where a row lives.
//!
//! Invariant: decoding never panics and never allocates more than the bytes it was given, whatever they are; golden tests pin
//! the bytes, and changing one needs a new version and a migration.

mod dead;
mod event;
mod host;
mod ids;
mod reader;
mod scheduled;
mod state;
mod unknown;
mod waiting;
mod window;
mod writer;

pub(crate) use event::{decode_event, encode_event, visit_id};
pub(crate) use host::{EarlierRow, EpochRow, LossRow, Number};
pub(crate) use ids::{decode_ids, encode_ids};
pub(crate) use reader::Reader;
pub(crate) use waiting::decode_without_notes;
pub(crate) use window::WindowValue;
pub(crate) use writer::Writer;

/// Bytes that are not a row of their kind: damage, or a version of the format this host does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid row: {0}")]
pub struct Damaged(pub(crate) &'static str);

/// A value that can be stored.
pub(crate) trait Row: Sized {
    /// First byte of its value.
    const VERSION: u8 = 1;
    /// Appends the fields.
    fn write(&self, out: &mut Writer<'_>);
    /// Reads them back.
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged>;

    /// Reads the fields of an older version, if there is one.
    fn read_old(_version: u8, _from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Err(Damaged("unknown version"))
    }

    /// Replaces the contents of `into` by the value.
    fn encode(&self, into: &mut Vec<u8>) {
        into.clear();
        into.push(Self::VERSION);
        self.write(&mut Writer(into));
    }

    /// The row of a value.
    fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(value);
        let version = from.u8()?;
        let row = if version == Self::VERSION { Self::read(&mut from)? } else { Self::read_old(version, &mut from)? };
        from.end()?;
        Ok(row)
    }
}
