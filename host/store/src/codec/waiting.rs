//! The rows of waiting deliveries as bytes, and the notes on attempts that other rows carry too.
//!
//! Invariant: a row that is read without its notes is the row in everything else.

use bugle_core::event::Class;
use bugle_core::ids::{Attempt, KeyGeneration};
use bugle_core::lane_hash::{LaneHash, LaneMark};
use bugle_core::row::{AttemptNote, Parking, WaitingRow};

use super::{Damaged, Reader, Row, Writer};

/// Version 1 had one count of attempts, all of them charged to the event, and knew no parking, no class and no lane.
impl Row for WaitingRow {
    const VERSION: u8 = 2;

    fn write(&self, out: &mut Writer<'_>) {
        out.u32(self.spent);
        out.time(self.due);
        match self.parking {
            Parking::Never => out.u8(0),
            Parking::Parked => out.u8(1),
            Parking::Released { generation } => {
                out.u8(2);
                out.u32(generation.0);
            }
        }
        write_notes(&self.notes, out);
        for count in [self.channel, self.plugin, self.broke] {
            out.varint(count.into());
        }
        out.u8(self.class.code());
        match self.lane {
            LaneMark::Unknown => out.u8(0),
            LaneMark::Unkeyed => out.u8(1),
            LaneMark::Keyed(LaneHash(hash)) => {
                out.u8(2);
                out.u64(hash);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        read_with(read_notes, from)
    }

    fn read_old(version: u8, from: &mut Reader<'_>) -> Result<Self, Damaged> {
        read_old_with(read_notes, version, from)
    }
}

/// A waiting row without its notes, which take most of the time to read and of the memory.
pub(crate) fn decode_without_notes(value: &[u8]) -> Result<WaitingRow, Damaged> {
    let mut from = Reader::new(value);
    let row = match from.u8()? {
        WaitingRow::VERSION => read_with(skip_notes, &mut from)?,
        old => read_old_with(skip_notes, old, &mut from)?,
    };
    from.end()?;
    Ok(row)
}

type ReadNotes = fn(&mut Reader<'_>) -> Result<Vec<AttemptNote>, Damaged>;

fn read_with(read_notes: ReadNotes, from: &mut Reader<'_>) -> Result<WaitingRow, Damaged> {
    let (spent, due) = (from.u32()?, from.time()?);
    let parking = match from.u8()? {
        0 => Parking::Never,
        1 => Parking::Parked,
        2 => Parking::Released { generation: KeyGeneration(from.u32()?) },
        _ => return Err(Damaged("unknown parking")),
    };
    let notes = read_notes(from)?;
    let (channel, plugin, broke) = (from.varint_u32()?, from.varint_u32()?, from.varint_u32()?);
    let class = Class::from_code(from.u8()?).ok_or(Damaged("unknown class"))?;
    let lane = match from.u8()? {
        0 => LaneMark::Unknown,
        1 => LaneMark::Unkeyed,
        2 => LaneMark::Keyed(LaneHash(from.u64()?)),
        _ => return Err(Damaged("unknown lane mark")),
    };
    Ok(WaitingRow { spent, channel, plugin, broke, due, parking, class, lane, notes })
}

fn read_old_with(read_notes: ReadNotes, version: u8, from: &mut Reader<'_>) -> Result<WaitingRow, Damaged> {
    if version != 1 {
        return Err(Damaged("unknown version"));
    }
    let (spent, due, notes) = (from.u32()?, from.time()?, read_notes(from)?);
    Ok(WaitingRow { spent, due, notes, ..WaitingRow::default() })
}

pub(super) fn write_notes(notes: &[AttemptNote], out: &mut Writer<'_>) {
    out.varint(notes.len() as u64);
    for note in notes {
        out.u32(note.attempt.0);
        out.time(note.at);
        out.text(&note.reason);
    }
}

pub(super) fn read_notes(from: &mut Reader<'_>) -> Result<Vec<AttemptNote>, Damaged> {
    let count = from.varint()?;
    // The count is not trusted with an allocation: each note takes bytes, and those run out.
    let mut notes = Vec::new();
    for _ in 0..count {
        notes.push(AttemptNote { attempt: Attempt(from.u32()?), at: from.time()?, reason: from.text()? });
    }
    Ok(notes)
}

fn skip_notes(from: &mut Reader<'_>) -> Result<Vec<AttemptNote>, Damaged> {
    for _ in 0..from.varint()? {
        let (_attempt, _at, _reason) = (from.u32()?, from.time()?, from.bytes()?);
    }
    Ok(Vec::new())
}
