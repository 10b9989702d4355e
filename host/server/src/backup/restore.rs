//! `bugle restore` and `bugle backup check`: what is done with a backup while no host serves it.
//!
//! A restore copies into a staging folder of the data directory, reads every row there, gives the copy its new identity, and
//! only then puts it in the store's place by one rename. Knows nothing of how a store is read.
//!
//! Invariant: a data directory holds either the whole restored store or none, and a host refuses one with a half-made copy.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, bail};
use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::row::PausedRow;
use bugle_core::step::{CatalogKind, Write};
use bugle_store::{Depth, Inspected, Opened, Options, Store, inspect};

use super::{CERTIFICATE, Manifest, STORE, copy_folder, resolved};
use crate::api::{BackupView, RestoreView};
use crate::catalog::{self, SubscriptionRow};
use crate::data_dir::DataDir;
use crate::host::{hexadecimal, position, restored_row};
use crate::moment;

/// What to restore, and how.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub from: &'a Path,
    /// Whether every subscription is paused, so that nothing is sent until somebody has looked.
    pub is_paused: bool,
}

/// Reads every row of a backup; changes nothing.
pub fn check(from: &Path) -> anyhow::Result<BackupView> {
    let manifest = Manifest::read(from)?;
    let found = inspect(&from.join(STORE), Depth::EveryRow).context("the backup is not sound")?;
    compare(&manifest, &found)?;
    Ok(BackupView {
        dir: from.display().to_string(),
        made_at: manifest.made_at,
        next: manifest.next,
        incarnation: manifest.incarnation,
        files: found.files,
        bytes: found.bytes,
        rows: found.rows,
        is_linked: false,
        took_ms: 0,
    })
}

/// Makes the backup the store of an empty data directory.
pub fn restore(order: Restore<'_>, data: &DataDir) -> anyhow::Result<RestoreView> {
    let from = order.from;
    let manifest = Manifest::read(from)?;
    if resolved(data.path()).starts_with(resolved(from)) {
        bail!("the data directory `{}` lies in the backup; give another one with --data-dir", data.path().display());
    }
    // A directory that is not ours gets no lock file.
    let is_ours = data.path().join("lock").exists();
    if !is_ours {
        refuse_used(data)?;
    }
    let _lock = data.lock()?;
    refuse_used(data)?;
    let staging = data.restoring();
    // The staging folder goes last: it is what says that the certificate is ours to remove.
    for folder in [&data.certificate(), &staging] {
        remove_folder(folder).with_context(|| format!("could not remove `{}`", folder.display()))?;
    }
    let copy = |from: &Path, to: &Path| {
        copy_folder(from, to).with_context(|| format!("could not copy `{}` to `{}`", from.display(), to.display()))
    };
    let mut bytes = copy(&from.join(STORE), &staging)?;
    if from.join(CERTIFICATE).exists() {
        bytes += copy(&from.join(CERTIFICATE), &data.certificate())?;
    }
    let found = inspect(&staging, Depth::EveryRow).context("the copy is not sound, so the backup may not be")?;
    compare(&manifest, &found)?;
    let (store, opened) = Store::open(&staging, Options::default()).context("could not open the copy")?;
    let (writes, paused) = writes(&store, &opened, order)?;
    let renewed = store.renew(&opened, &writes).context("could not give the copy its new identity")?;
    let moved = fs::rename(&staging, data.store()).and_then(|()| File::open(data.path())?.sync_all());
    moved.with_context(|| format!("could not put the copy in place as `{}`", data.store().display()))?;
    Ok(RestoreView {
        data_dir: data.path().display().to_string(),
        from: from.display().to_string(),
        made_at: manifest.made_at,
        next: position(renewed.next),
        rows: found.rows,
        bytes,
        incarnation: hexadecimal(renewed.incarnation),
        incarnation_before: hexadecimal(renewed.before),
        paused,
    })
}

/// Only an empty data directory is restored into, or what an interrupted restore has left.
fn refuse_used(data: &DataDir) -> anyhow::Result<()> {
    let entries = match fs::read_dir(data.path()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("could not read `{}`", data.path().display())),
    };
    let was_interrupted = data.restoring().exists();
    for entry in entries {
        let name = entry?.file_name();
        let is_of_a_restore =
            name == "lock" || was_interrupted && (name == CERTIFICATE || Some(&*name) == data.restoring().file_name());
        if !is_of_a_restore {
            bail!(
                "the data directory `{}` is not empty (it has `{}`), and nothing is restored over something; give an empty one \
                 with --data-dir",
                data.path().display(),
                name.to_string_lossy()
            );
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The store is the one the backup says.
fn compare(manifest: &Manifest, found: &Inspected) -> anyhow::Result<()> {
    let (next, incarnation) = (position(found.next), hexadecimal(found.incarnation));
    if next != manifest.next || incarnation != manifest.incarnation {
        bail!(
            "the backup is not sound: it says that it ends at {} of store {}, and it ends at {next} of store {incarnation}",
            manifest.next,
            manifest.incarnation
        );
    }
    Ok(())
}

/// The audit row and, if asked for, pauses of the subscriptions that run; and how many.
fn writes(store: &Store, opened: &Opened, order: Restore<'_>) -> anyhow::Result<(Vec<Write>, u64)> {
    let at = moment::wall();
    let mut writes = Vec::new();
    if order.is_paused {
        for id in subscriptions(store)? {
            if store.subscription(id)?.paused.is_some() {
                continue;
            }
            let reason = "restored from a backup; look, then resume".to_owned();
            let row = PausedRow { by: "operator".to_owned(), reason, at };
            writes.push(Write::Paused { subscription: id, row: Some(row) });
        }
    }
    let paused = writes.len() as u64;
    let detail = format!("up to {}, {paused} subscriptions paused", position(Offset(opened.next.0)));
    writes.push(restored_row(at, opened.boot, &order.from.display().to_string(), detail));
    Ok((writes, paused))
}

/// Definitions read at once.
const PAGE: usize = 1000;

fn subscriptions(store: &Store) -> anyhow::Result<Vec<SubscriptionId>> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.catalog_list(CatalogKind::Subscription, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(ids) };
        after = Some(last.clone());
        for (name, row) in &page {
            let row: SubscriptionRow = catalog::decode("subscription", name, row)?;
            ids.push(SubscriptionId(row.id));
        }
    }
}
