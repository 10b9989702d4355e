//! How much room the disk of the data directory has, and how much a folder takes.
//!
//! Knows nothing of what the files are. Invariant: what it says is free can be written by this user.

use std::io;
use std::os::unix::fs::MetadataExt;
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

/// Bytes of the regular files below a folder, and how many they are; a file that goes away meanwhile is not counted.
pub(crate) fn files(dir: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.is_file() {
                files.count += 1;
                files.bytes += about.len();
                files.shared += u64::from(about.nlink() > 1);
            }
        }
    }
    Ok(files)
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// Files that have another name elsewhere: hard links.
    pub(crate) shared: u64,
}

/// Room on the disk that a path lies on.
pub fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Room { total: stat.f_blocks.saturating_mul(stat.f_frsize), free: stat.f_bavail.saturating_mul(stat.f_frsize) })
}
