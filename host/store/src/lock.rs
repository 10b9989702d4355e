//! One host per data directory: a lock file that names its holder.
//!
//! The kernel frees the lock when the holder dies, however it dies. Knows nothing of the store.
//!
//! Invariant: while a [`DirLock`] lives, no other process, and no other store of this process, has one of the same directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

/// Why the lock could not be had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody has it: the text of the file, normally a process id.
    Held(String),
    Io(io::Error),
}

impl DirLock {
    pub(crate) fn take(path: &Path) -> Result<DirLock, LockError> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(LockError::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The name is a help for people; without it the refusal stands.
                let _ = file.read_to_string(&mut holder);
                return Err(LockError::Held(holder.trim().to_owned()));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        write_holder(&mut file).map_err(LockError::Io)?;
        Ok(DirLock { _file: file })
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
