//! Unknown results as bytes, and their totals.
//!
//! Version 1 knew neither states nor claims: its rows are open, and no claim is told of a decision. Knows nothing of what a state
//! means.
//!
//! Invariant: `decode(encode(row)) == row` for every row the core can make.

use bugle_core::ids::{KeyGeneration, Revision};
use bugle_core::row::{UncertainClaim, UnknownRow, UnknownState, UnknownTotals};

use super::state::{read_event, write_event};
use super::waiting::{read_notes, write_notes};
use super::{Damaged, Reader, Row, Writer};

/// The version without states.
const WITHOUT_STATE: u8 = 1;

impl Row for UnknownRow {
    const VERSION: u8 = 2;

    fn write(&self, out: &mut Writer<'_>) {
        out.u8(state_code(self.state));
        out.optional(self.decided, Writer::time);
        out.text(&self.remark);
        out.u32(self.generation.0);
        out.optional(self.revision, |out, revision| out.0.extend_from_slice(&revision.0));
        out.varint(self.claims.len() as u64);
        for claim in &self.claims {
            out.text(&claim.scope);
            out.text(&claim.key);
            out.time(claim.expires);
        }
        write_notes(&self.notes, out);
        write_event(&self.event, out);
        out.text(&self.reference);
        out.u32(self.attempts);
        out.time(self.at);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let code = from.u8()?;
        let state = UnknownState::ALL.into_iter().find(|state| state_code(*state) == code);
        let state = state.ok_or(Damaged("unknown state of an unknown result"))?;
        let decided = from.optional(Reader::time)?;
        let remark = from.text()?;
        let generation = KeyGeneration(from.u32()?);
        let revision = from.optional(|from| from.array().map(Revision))?;
        let claims = read_claims(from)?;
        let notes = read_notes(from)?;
        Ok(UnknownRow { state, decided, remark, generation, revision, claims, notes, ..read_first(from)? })
    }

    fn read_old(version: u8, from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match version {
            WITHOUT_STATE => read_first(from),
            _ => Err(Damaged("unknown version")),
        }
    }
}

/// What every version has.
fn read_first(from: &mut Reader<'_>) -> Result<UnknownRow, Damaged> {
    Ok(UnknownRow {
        event: read_event(from)?,
        state: UnknownState::Open,
        decided: None,
        remark: String::new(),
        generation: KeyGeneration::default(),
        revision: None,
        claims: Vec::new(),
        reference: from.text()?,
        attempts: from.u32()?,
        notes: Vec::new(),
        at: from.time()?,
    })
}

fn read_claims(from: &mut Reader<'_>) -> Result<Vec<UncertainClaim>, Damaged> {
    let count = from.varint()?;
    // The count is not trusted with an allocation: each claim takes bytes, and those run out.
    let mut claims = Vec::new();
    for _ in 0..count {
        claims.push(UncertainClaim { scope: from.text()?.into(), key: from.text()?, expires: from.time()? });
    }
    Ok(claims)
}

/// The stable code of a state.
fn state_code(state: UnknownState) -> u8 {
    match state {
        UnknownState::Open => 1,
        UnknownState::Sent => 2,
        UnknownState::NotSent => 3,
        UnknownState::Retried => 4,
    }
}

impl Row for UnknownTotals {
    fn write(&self, out: &mut Writer<'_>) {
        for number in [self.rows, self.bytes, self.open, self.removed] {
            out.u64(number);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(UnknownTotals { rows: from.u64()?, bytes: from.u64()?, open: from.u64()?, removed: from.u64()? })
    }
}
