//! Dead letters as bytes, and their totals.
//!
//! Version 1 of a letter knew neither states nor revisions: its letters are open and of the first key generation. Knows nothing
//! of what a state means.
//!
//! Invariant: `decode(encode(row)) == row` for every row the core can make.

use bugle_core::ids::{KeyGeneration, Revision};
use bugle_core::row::{DeadRow, DeadState, DeadTotals};

use super::state::{read_event, write_event};
use super::waiting::{read_notes, write_notes};
use super::{Damaged, Reader, Row, Writer};

/// The version without states.
const WITHOUT_STATE: u8 = 1;

impl Row for DeadRow {
    const VERSION: u8 = 2;

    fn write(&self, out: &mut Writer<'_>) {
        out.u8(state_code(self.state));
        out.u8(u8::from(self.holds_key));
        out.optional(self.decided, Writer::time);
        out.u32(self.generation.0);
        out.optional(self.revision, |out, revision| out.0.extend_from_slice(&revision.0));
        write_event(&self.event, out);
        out.text(&self.cause);
        out.text(&self.reason);
        out.u32(self.attempts);
        write_notes(&self.notes, out);
        out.time(self.at);
        out.varint(self.channel.into());
        out.varint(self.plugin.into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let code = from.u8()?;
        let state = DeadState::ALL.into_iter().find(|state| state_code(*state) == code);
        let state = state.ok_or(Damaged("unknown state of a dead letter"))?;
        let holds_key = match from.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Damaged("a mark is neither 0 nor 1")),
        };
        let decided = from.optional(Reader::time)?;
        let generation = KeyGeneration(from.u32()?);
        let revision = from.optional(|from| from.array().map(Revision))?;
        let first = read_first(from)?;
        let (channel, plugin) = (from.varint_u32()?, from.varint_u32()?);
        Ok(DeadRow { state, holds_key, decided, generation, revision, channel, plugin, ..first })
    }

    fn read_old(version: u8, from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match version {
            WITHOUT_STATE => read_first(from),
            _ => Err(Damaged("unknown version")),
        }
    }
}

/// What every version has.
fn read_first(from: &mut Reader<'_>) -> Result<DeadRow, Damaged> {
    Ok(DeadRow {
        event: read_event(from)?,
        state: DeadState::Open,
        holds_key: false,
        decided: None,
        generation: KeyGeneration::default(),
        revision: None,
        cause: from.text()?,
        reason: from.text()?,
        attempts: from.u32()?,
        channel: 0,
        plugin: 0,
        notes: read_notes(from)?,
        at: from.time()?,
    })
}

/// The stable code of a state.
fn state_code(state: DeadState) -> u8 {
    match state {
        DeadState::Open => 1,
        DeadState::Manual => 2,
        DeadState::Replayed => 3,
        DeadState::Dismissed => 4,
    }
}

impl Row for DeadTotals {
    fn write(&self, out: &mut Writer<'_>) {
        for number in [self.letters, self.bytes, self.open, self.manual, self.removed] {
            out.u64(number);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(DeadTotals {
            letters: from.u64()?,
            bytes: from.u64()?,
            open: from.u64()?,
            manual: from.u64()?,
            removed: from.u64()?,
        })
    }
}
