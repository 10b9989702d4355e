//! The bound on open files, which thousands of waiting calls and connections meet before anything else.
//!
//! Systems start programs with a soft limit of 1,024 for the sake of old ones that use `select`; the host has no such code. Does
//! not know how many files will be needed. Invariant: only the soft limit is raised, to what the system grants anyway.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Fewer than this are said to be few: the store keeps up to a thousand open, and thousands of calls of plugins may wait for
/// answers at once, each with a connection.
const FEW: u64 = 16_384;

/// Raises the soft limit to the hard one; gives what it is now, `None` for no bound.
fn raise() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

/// Raises the limit and says what it is.
pub(super) fn prepare() {
    match raise() {
        Ok(None) => tracing::info!(open_files = "unlimited", "raised the limit of open files"),
        Ok(Some(open_files)) if open_files < FEW => tracing::warn!(
            open_files,
            "few open files are allowed: every connection and every waiting call of a plugin takes one, and those beyond fail; \
             allow {FEW} or more, with `LimitNOFILE=` in the systemd unit or `ulimit -Hn` before the start"
        ),
        Ok(Some(open_files)) => tracing::info!(open_files, "raised the limit of open files"),
        Err(error) => tracing::warn!(
            %error,
            "could not raise the limit of open files; raise it before the start, with `ulimit -n`"
        ),
    }
}
