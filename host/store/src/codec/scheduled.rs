//! Rows of scheduled events as bytes: what became of them, and their numbers. One that waits is the record of its event.
//!
//! Knows nothing of what they mean. Invariant: `decode(encode(row)) == row`.

use bugle_core::ids::{Offset, Position, Slot};
use bugle_core::row::{Fate, FateRow, ScheduledTotals};

use super::{Damaged, Reader, Row, Writer};

impl Row for FateRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.time(self.at);
        match self.fate {
            Fate::Released { to } => write_place(1, to, out),
            Fate::Cancelled => out.u8(2),
            Fate::Replaced { by } => write_place(3, by, out),
            Fate::Expired => out.u8(4),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let at = from.time()?;
        let fate = match from.u8()? {
            1 => Fate::Released { to: read_place(from)? },
            2 => Fate::Cancelled,
            3 => Fate::Replaced { by: read_place(from)? },
            4 => Fate::Expired,
            _ => return Err(Damaged("unknown end of a scheduled event")),
        };
        Ok(FateRow { fate, at })
    }
}

impl Row for ScheduledTotals {
    fn write(&self, out: &mut Writer<'_>) {
        for count in [self.waiting, self.released, self.cancelled, self.replaced] {
            out.varint(count);
        }
        // Left out while it is none, as by older hosts.
        if self.expired > 0 {
            out.varint(self.expired);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(ScheduledTotals {
            waiting: from.varint()?,
            released: from.varint()?,
            cancelled: from.varint()?,
            replaced: from.varint()?,
            expired: if from.is_at_end() { 0 } else { from.varint()? },
        })
    }
}

fn write_place(code: u8, place: Position, out: &mut Writer<'_>) {
    out.u8(code);
    out.0.extend_from_slice(&place.slot.0.to_be_bytes());
    out.u64(place.offset.0);
}

fn read_place(from: &mut Reader<'_>) -> Result<Position, Damaged> {
    let slot = Slot(u16::from_be_bytes(from.array()?));
    Ok(Position { slot, offset: Offset(from.u64()?) })
}
