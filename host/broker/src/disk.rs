//! The free-disk rule: says when publishing must stop so that reads, acks and the end of a crash still find room.
//!
//! Knows nothing of what is stored. Checked about once a second; between two checks at most a second of publishes can land,
//! which the headroom covers.

use bugle_store::Room;

/// Publishing stops below this share of the disk (guarantees G11).
const FREE_PERCENT_MIN: u64 = 5;
/// ... and goes on only above this, so that it does not flap.
const FREE_PERCENT_AGAIN: u64 = 6;
/// ... and in any case below this: one second of full publishing plus RocksDB's own files for one flush.
pub(crate) const HEADROOM_BYTES: u64 = 256 << 20;

/// Judges the room on one disk, look by look.
#[derive(Debug, Default)]
pub(crate) struct DiskWatch {
    is_full: bool,
}

impl DiskWatch {
    /// True while publishing must be refused.
    pub(crate) fn judge(&mut self, room: Room) -> bool {
        let percent = if self.is_full { FREE_PERCENT_AGAIN } else { FREE_PERCENT_MIN };
        // A small disk (a test's, a container's) is judged by its share alone.
        let headroom = HEADROOM_BYTES.min(room.total / 4);
        let floor = (room.total / 100).saturating_mul(percent).max(headroom);
        let full = room.free < floor;
        if full != self.is_full {
            tracing::error!(
                free = room.free,
                total = room.total,
                full,
                "publishing {} for lack of disk space",
                if full { "stops" } else { "goes on after a stop" }
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
        let mut watch = DiskWatch::default();
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
        let mut watch = DiskWatch::default();
        assert!(watch.judge(Room { total: 2 << 30, free: HEADROOM_BYTES - 1 }));
    }
}
