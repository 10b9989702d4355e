//! The facts of a data directory that nobody serves.
//!
//! Takes the directory's lock meanwhile, so that no host starts under it, and changes nothing of the store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bugle_store::{Depth, OpenError, inspect};

use super::{Diagnosis, Facts, RoomFacts, diagnose};
use crate::data_dir::DataDir;
use crate::host::{hexadecimal, position};

/// Looks at the directory, which must be one.
pub fn look(data: &DataDir) -> anyhow::Result<Diagnosis> {
    anyhow::ensure!(
        data.path().is_dir(),
        "there is no data directory `{}`; name one with --data-dir or BUGLE_DATA_DIR",
        data.path().display()
    );
    let _lock = data.lock()?;
    let mut facts = Facts {
        data_dir: data.path().display().to_string(),
        is_half_restored: data.check_whole().is_err(),
        room: bugle_store::room(data.path()).ok().map(|room| RoomFacts { total: room.total, free: room.free }),
        token_mode: token_mode(data),
        set_aside: set_aside(data),
        ..Facts::default()
    };
    match inspect(&data.store(), Depth::Ends) {
        Ok(found) => {
            facts.wal_bytes = found.wal_bytes;
            facts.store = Some(format!(
                "store: format {}, incarnation {}, events {} up to {} in {} epochs, recovers to sequence {} (marked {})",
                found.format,
                hexadecimal(found.incarnation),
                position(found.floor),
                position(found.next),
                found.epochs,
                found.sequence,
                found.confirmed
            ));
        }
        // A directory that was never served is in order.
        Err(OpenError::NoStore { .. }) => facts.store = Some("store: none yet; the first start makes one".to_owned()),
        Err(error) => facts.failure = Some(chain(&error)),
    }
    Ok(diagnose(&facts))
}

/// Mode of the admin token, if there is one.
pub(crate) fn token_mode(data: &DataDir) -> Option<u32> {
    fs::metadata(data.token()).ok().map(|about| about.permissions().mode())
}

/// Names of damaged write-ahead logs beside the database.
pub(crate) fn set_aside(data: &DataDir) -> Vec<String> {
    let entries = fs::read_dir(data.store()).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("damaged-wal-"));
    names.sort();
    names
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
