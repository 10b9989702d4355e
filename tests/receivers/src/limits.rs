//! The bound on open files, which thousands of connections meet before anything else.
//!
//! Does not know how many are needed. Invariant: only the soft limit is raised, to what the system grants anyway.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one; gives what it is now, `None` for no bound.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current)
}
