//! How much room the disk of the data directory has.
//!
//! Knows nothing of the store's own size. Invariant: what it says is free can be written by this user.

use std::io;
use std::path::Path;

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all.
    pub total: u64,
    /// Bytes free to this user.
    pub free: u64,
}

impl Room {
    /// Whether less than this share of the disk, in percent, is free.
    #[must_use]
    pub fn is_below(self, percent: u64) -> bool {
        self.free < self.total / 100 * percent
    }
}

pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Room { total: stat.f_blocks.saturating_mul(stat.f_frsize), free: stat.f_bavail.saturating_mul(stat.f_frsize) })
}
