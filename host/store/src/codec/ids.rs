//! A chunk of a sealed block of the id window: hashes in order, each with its offset counted from the block's first.
//!
//! Knows nothing of what was hashed. Invariant: what decodes is in the order it was written in.

use bugle_core::ids::Offset;
use bugle_core::row::IdEntry;

use super::{Damaged, Reader, Writer};

const VERSION: u8 = 1;
/// A hash and a place.
const ENTRY_BYTES: usize = 12;

/// Replaces the contents of `into` by the chunk.
pub(crate) fn encode_ids(first: Offset, ids: &[IdEntry], into: &mut Vec<u8>) {
    into.clear();
    into.reserve(9 + ids.len() * ENTRY_BYTES);
    into.push(VERSION);
    let mut out = Writer(into);
    out.u64(first.0);
    for id in ids {
        out.u64(id.hash);
        // A block spans fewer offsets than it has ids, and those are counted in 32 bits.
        out.u32((id.offset.0 - first.0) as u32);
    }
}

/// The ids of a chunk.
pub(crate) fn decode_ids(value: &[u8]) -> Result<Vec<IdEntry>, Damaged> {
    let mut from = Reader::new(value);
    if from.u8()? != VERSION {
        return Err(Damaged("unknown version"));
    }
    let first = from.u64()?;
    let entries = from.rest();
    if !entries.len().is_multiple_of(ENTRY_BYTES) {
        return Err(Damaged("ends too early"));
    }
    entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| {
            let mut entry = Reader::new(entry);
            Ok(IdEntry { hash: entry.u64()?, offset: Offset(first.saturating_add(u64::from(entry.u32()?))) })
        })
        .collect()
}
