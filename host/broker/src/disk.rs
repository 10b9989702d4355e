//! The free-disk watch: says when publishing must stop so that reads, acks and the end of a crash still find room.
//!
//! Knows nothing of what is stored. Checked about once a second; between two checks at most a second of publishes can land,
//! which the headroom covers.

use std::path::{Path, PathBuf};

/// Publishing stops below this share of the disk (guarantees G11).
const FREE_PERCENT_MIN: u64 = 5;
/// ... and goes on only above this, so that it does not flap.
const FREE_PERCENT_AGAIN: u64 = 6;
/// ... and in any case below this: one second of full publishing plus RocksDB's own files for one flush.
pub const HEADROOM_BYTES: u64 = 256 << 20;

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all.
    pub total: u64,
    /// Bytes free to us.
    pub free: u64,
}

/// Watches the disk of one directory.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    path: PathBuf,
    is_full: bool,
}

impl DiskWatch {
    pub(crate) fn new(path: &Path) -> DiskWatch {
        DiskWatch { path: path.to_owned(), is_full: false }
    }

    /// Looks; true while publishing must be refused. A disk that cannot be asked counts as it did before.
    pub(crate) fn check(&mut self) -> bool {
        match rustix::fs::statvfs(&self.path) {
            Ok(stat) => self.judge(Room {
                total: stat.f_blocks.saturating_mul(stat.f_frsize),
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
            }),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "could not ask for the free disk space");
                self.is_full
            }
        }
    }

    fn judge(&mut self, room: Room) -> bool {
        let percent = if self.is_full { FREE_PERCENT_AGAIN } else { FREE_PERCENT_MIN };
        // A small disk (a test's, a container's) is judged by its share alone.
        let headroom = HEADROOM_BYTES.min(room.total / 4);
        let floor = (room.total / 100).saturating_mul(percent).max(headroom);
        let full = room.free < floor;
        if full != self.is_full {
            tracing::error!(
                path = %self.path.display(), free = room.free, total = room.total, full,
                "publishing {} for lack of disk space", if full { "stops" } else { "goes on after a stop" }
            );
        }
        self.is_full = full;
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_five_percent_and_goes_on_at_six() {
        let mut watch = DiskWatch::new(Path::new("/"));
        let total = 100 << 30;
        let free = |percent: u64| Room { total, free: total / 100 * percent + 1 };
        assert!(!watch.judge(free(6)));
        assert!(!watch.judge(free(5)));
        assert!(watch.judge(free(4)));
        assert!(watch.judge(free(5)));
        assert!(!watch.judge(free(6)));
    }

    #[test]
    fn keeps_a_headroom_on_a_disk_of_a_few_gigabytes() {
        let mut watch = DiskWatch::new(Path::new("/"));
        assert!(watch.judge(Room { total: 2 << 30, free: HEADROOM_BYTES - 1 }));
    }
}
