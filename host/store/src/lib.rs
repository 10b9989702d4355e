//! The disk of the bus: RocksDB behind typed rows, one atomic synced batch per commit, and a recovery that tells what it lost.
//!
//! It carries out decisions and takes none: what to write comes from the core as [`bugle_core::step::Write`], and each choice
//! that matters (durability, accepting a loss) is made by the caller at the call. It reads no clock.
//!
//! Invariant: after the first failed write or sync nothing is committed any more (guarantees G11), and what was committed as
//! synced is there after a power cut or its absence is noticed at open (G1, G2).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

mod backup;
mod batch;
mod codec;
mod disk;
mod erase;
mod family;
mod figures;
mod keys;
mod lock;
mod log;
mod mark;
mod open;
mod read;
mod scan;
mod store;
#[cfg(test)]
mod tests;

pub use backup::{BackupError, Copied};
pub use batch::Batch;
pub use codec::Damaged;
pub use disk::{Room, room};
pub use erase::RecordsToErase;
pub use figures::{EpochFigures, Figures};
pub use keys::Kind;
pub use open::{Depth, IncarnationId, Inspected, Loss, OnLoss, OpenError, Opened, Options, Renewed, Repair, inspect};
pub use read::{
    DeadEntry, EventBounds, EventPage, KvPage, LateRecords, ReadError, RecordEntry, RecordLookup, SubscriptionRows,
    UnknownEntry,
};
pub use scan::{Scan, ScannedRow};
pub use store::{CommitError, Durability, Store, UpkeepError};
