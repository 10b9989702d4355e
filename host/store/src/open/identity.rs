//! What the store says about itself: format, identity, earlier identities.
//!
//! Knows nothing of how it is opened. Invariant: a store of a newer format is refused before anything else of it is read.

use std::io;

use bugle_core::ids::{BootId, Offset};

use super::{FORMAT, IncarnationId, OpenError, Place, named};
use crate::codec::{Damaged, EarlierRow, Number, Row};
use crate::family::Family;
use crate::keys::{Fields, Key, Kind};
use crate::read::first_row;
use crate::store::Db;

/// What the store says about itself.
pub(super) struct Identity {
    pub(super) incarnation: [u8; 16],
    pub(super) id_seed: [u8; 16],
    /// As in [`Opened`](super::Opened).
    pub(super) earlier: Vec<(IncarnationId, Offset)>,
    pub(super) first_boot: BootId,
    /// There were no rows yet: they have to be written.
    pub(super) is_new: bool,
}

/// Reads it; a new store gets the given incarnation.
pub(super) fn identity(place: Place<'_>, db: &Db, incarnation: [u8; 16]) -> Result<Identity, OpenError> {
    let meta = |kind: Kind| first_row(db, Family::Meta, kind).map_err(|error| place.storage(error));
    let Some((_, format)) = meta(Kind::Format)? else {
        let id_seed = random().map_err(place.io("make an identity"))?;
        return Ok(Identity { incarnation, id_seed, earlier: Vec::new(), first_boot: BootId(0), is_new: true });
    };
    let Number(found) = Number::decode(&format).map_err(place.row("format"))?;
    if found > FORMAT {
        return Err(OpenError::FormatUnsupported { dir: named(place.0), found });
    }
    let bytes = |kind: Kind, row: &'static str| {
        let value = meta(kind)?.map(|(_, value)| value).unwrap_or_default();
        let bytes: Option<[u8; 16]> = value.get(1..).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| place.row(row)(Damaged("ends too early")))
    };
    let (earlier, first_boot) = earlier(place, db)?;
    Ok(Identity {
        earlier,
        first_boot,
        incarnation: bytes(Kind::Incarnation, "incarnation")?,
        id_seed: bytes(Kind::IdSeed, "id seed")?,
        is_new: false,
    })
}

/// Earlier identities, oldest first, and the first boot after the last of them.
fn earlier(place: Place<'_>, db: &Db) -> Result<(Vec<(IncarnationId, Offset)>, BootId), OpenError> {
    let rows = crate::read::rows(db, Family::Meta, &Key::of(Kind::Earlier)).map_err(|error| place.storage(error))?;
    let (mut earlier, mut first_boot) = (Vec::new(), BootId(0));
    for (key, value) in rows {
        let boot =
            Fields::of(&key).u64().ok_or_else(|| place.row("earlier identity")(Damaged("its key is too short")))?;
        let row = EarlierRow::decode(&value).map_err(place.row("earlier identity"))?;
        earlier.push((IncarnationId(row.incarnation), row.end));
        first_boot = BootId(boot);
    }
    Ok((earlier, first_boot))
}

/// 128 bits by chance.
pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
