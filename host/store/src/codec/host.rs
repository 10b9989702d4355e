//! Rows the store keeps for itself: where a log epoch begins, where the log ended at a boot, losses that were accepted, earlier
//! incarnations.
//!
//! Knows nothing of when they are written. Invariant: as of every codec, decoding never panics.

use bugle_core::ids::Offset;

use super::{Damaged, Reader, Row, Writer};

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

impl Row for Number {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        from.u64().map(Number)
    }
}

/// Where a log epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochRow {
    pub(crate) first: Offset,
}

impl Row for EpochRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.first.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(EpochRow { first: Offset(from.u64()?) })
    }
}

/// A loss an operator accepted: what was confirmed and what came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LossRow {
    pub(crate) confirmed_sequence: u64,
    pub(crate) recovered_sequence: u64,
    pub(crate) confirmed_next: Offset,
    pub(crate) recovered_next: Offset,
}

impl Row for LossRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.confirmed_sequence);
        out.u64(self.recovered_sequence);
        out.u64(self.confirmed_next.0);
        out.u64(self.recovered_next.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(LossRow {
            confirmed_sequence: from.u64()?,
            recovered_sequence: from.u64()?,
            confirmed_next: Offset(from.u64()?),
            recovered_next: Offset(from.u64()?),
        })
    }
}

/// An incarnation that ended with a restore: which, and where the log ended in the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EarlierRow {
    pub(crate) incarnation: [u8; 16],
    pub(crate) end: Offset,
}

impl Row for EarlierRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.bytes(&self.incarnation);
        out.u64(self.end.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let incarnation = from.bytes()?.try_into().map_err(|_| Damaged("an incarnation has 16 bytes"))?;
        Ok(EarlierRow { incarnation, end: Offset(from.u64()?) })
    }
}
