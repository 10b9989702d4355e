//! A copy of a backup becomes a store of its own: a new identity, so that nobody takes it for the history that went on without
//! it.
//!
//! What was handed out before (epochs of producers, marks) is void under the new identity, and keys of external calls for
//! events stored from here on are other ones, since the old history may have used the same offsets. Deliveries that were under
//! way in the backup keep their keys. Knows nothing of where the copy came from.
//!
//! Invariant: a store has its new identity in rows and mark, or the copy is thrown away.

use std::path::Path;

use bugle_core::ids::{BootId, Offset};
use bugle_core::step::Write;

use super::identity::random;
use super::{IncarnationId, OpenError, Opened, Place};
use crate::codec::{EarlierRow, Number};
use crate::family::Family;
use crate::keys::{self, Key, Kind};
use crate::mark::MarkFile;
use crate::store::{Durability, Store};

/// Boots go on this far behind those of the backup: more than the old history can have had since, so that no epoch or ticket
/// of it looks like one of ours ...
const BOOTS_LEFT_OUT: u64 = 1 << 16;

/// What a restored store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Its new identity.
    pub incarnation: IncarnationId,
    /// The one of the backup.
    pub before: IncarnationId,
    /// Offset of the next event.
    pub next: Offset,
}

impl Store {
    /// Gives the opened copy a new identity and closes it; `writes` go into the same commit. The directory belongs to nobody yet:
    /// if this fails, it is of no use.
    pub fn renew(self, opened: &Opened, writes: &[Write]) -> Result<Renewed, OpenError> {
        let dir = self.dir().to_owned();
        let place = Place(&dir);
        let incarnation = random().map_err(place.io("make an identity"))?;
        // ... and a number of 16 bits by chance further, for another restore of the same backup.
        let chance = u64::from(incarnation[0]) << 8 | u64::from(incarnation[1]);
        let boot = BootId(opened.boot.0 + BOOTS_LEFT_OUT + chance);
        let mut batch = self.batch(1024);
        let earlier = EarlierRow { incarnation: opened.incarnation.0, end: self.next() };
        batch.put(Family::Meta, keys::earlier(boot).as_ref(), &earlier);
        batch.put(Family::Meta, keys::boot(boot).as_ref(), &Number(self.next().0));
        batch.put_raw(Family::Meta, Key::of(Kind::Incarnation).as_ref(), &incarnation);
        for write in writes {
            batch.push(write);
        }
        self.commit(batch, Durability::Synced).map_err(|error| place.storage(error))?;
        let mark = new_mark(&dir, incarnation).map_err(place.io("write the commit mark"))?;
        self.replace_mark(mark);
        let next = self.next();
        self.close().map_err(|error| place.storage(error))?;
        Ok(Renewed { incarnation: IncarnationId(incarnation), before: opened.incarnation, next })
    }
}

fn new_mark(dir: &Path, incarnation: [u8; 16]) -> std::io::Result<MarkFile> {
    MarkFile::create(&dir.join("mark"), incarnation)
}
