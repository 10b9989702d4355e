//! Backups of the running host: its store at one moment, and what lies beside it.
//!
//! Commits go on meanwhile. Knows nothing of how the store is copied, nor of HTTP.
//!
//! Invariant: one backup at a time; a folder that is not reported as done has no manifest.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bugle_broker::Stopped;
use bugle_core::code::Code;
use bugle_store::{BackupError, Copied, IncarnationId};

use super::{Host, hexadecimal, position};
use crate::api::BackupView;
use crate::backup::{CERTIFICATE, Manifest, STORE, copy_folder, resolved};
use crate::moment;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackUpError {
    /// The caller: the path.
    #[error("`{0}` is not an absolute path; the host does not know the caller's folder")]
    NotAbsolute(String),
    /// The caller: the path.
    #[error(
        "`{0}` lies in the data directory, which it is to be independent of; name a folder elsewhere, best on another disk"
    )]
    InsideData(String),
    /// The caller: something is there.
    #[error("`{0}` exists and is not an empty folder; a backup is not written over anything, so name a new folder")]
    NotEmpty(String),
    /// The caller: patience.
    #[error("another backup is being made; wait for it")]
    Busy,
    /// The operator: the place.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The operator: the disks.
    #[error("could not copy the store")]
    Store(#[source] BackupError),
    /// The host stops.
    #[error("the backup was not finished")]
    Stopped(#[from] Stopped),
}

impl BackUpError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            BackUpError::NotAbsolute(_) | BackUpError::InsideData(_) => Code::Invalid,
            BackUpError::NotEmpty(_) => Code::Exists,
            BackUpError::Busy => Code::Conflict,
            BackUpError::Io { .. } | BackUpError::Store(_) => Code::StorageFailed,
            BackUpError::Stopped(_) => Code::Unavailable,
        }
    }
}

impl Host {
    /// Makes a backup in `dir`. Goes on to its end even if nobody waits for it.
    pub async fn back_up(self: Arc<Self>, dir: PathBuf) -> Result<BackupView, BackUpError> {
        let made = tokio::spawn(async move { self.back_up_now(&dir).await });
        made.await.map_err(|_| BackUpError::Stopped(Stopped))?
    }

    async fn back_up_now(&self, dir: &Path) -> Result<BackupView, BackUpError> {
        let named = dir.display().to_string();
        let _one_at_a_time = self.backups.try_lock().map_err(|_| BackUpError::Busy)?;
        self.refuse(dir)?;
        let audit = self.audit("backup.create", &named);
        self.note(audit.row("begun".to_owned())).await?;
        let (started, made_at) = (Instant::now(), moment::text(self.bus().now()));
        let job = Job {
            store: Arc::clone(self.bus().store()),
            incarnation: self.parts.incarnation,
            certificate: self.parts.data.certificate(),
            dir: dir.to_owned(),
            made_at,
        };
        let made = tokio::task::spawn_blocking(move || job.run()).await.map_err(|_| BackUpError::Stopped(Stopped))?;
        let detail = match &made {
            Ok((manifest, copied)) => format!(
                "up to {}, {} files, {} bytes, {}",
                manifest.next,
                manifest.files,
                manifest.bytes,
                if copied.is_linked { "hard links" } else { "copies" }
            ),
            Err(error) => format!("failed: {error}"),
        };
        self.note(audit.row(detail)).await?;
        let (manifest, copied) = made?;
        Ok(BackupView {
            dir: named,
            made_at: manifest.made_at,
            next: manifest.next,
            incarnation: manifest.incarnation,
            files: manifest.files,
            bytes: manifest.bytes,
            rows: 0,
            is_linked: copied.is_linked,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn refuse(&self, dir: &Path) -> Result<(), BackUpError> {
        let named = || dir.display().to_string();
        if !dir.is_absolute() {
            return Err(BackUpError::NotAbsolute(named()));
        }
        if resolved(dir).starts_with(resolved(self.parts.data.path())) {
            return Err(BackUpError::InsideData(named()));
        }
        match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(BackUpError::NotEmpty(named())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(BackUpError::NotEmpty(named())),
            Err(source) => Err(BackUpError::Io { action: "read", path: named(), source }),
        }
    }

    async fn note(&self, row: bugle_broker::Definition) -> Result<(), Stopped> {
        self.bus().define(row.kind, row.key, row.value, Vec::new()).await
    }
}

/// The part of a backup that blocks.
struct Job {
    store: Arc<bugle_store::Store>,
    incarnation: IncarnationId,
    certificate: PathBuf,
    dir: PathBuf,
    made_at: String,
}

impl Job {
    fn run(self) -> Result<(Manifest, Copied), BackUpError> {
        let is_new = !self.dir.exists();
        let made = self.make();
        if made.is_err() {
            // Without a manifest nobody takes the rest for a backup; removing it makes room.
            let _ = fs::remove_dir_all(self.dir.join(STORE));
            let _ = fs::remove_dir_all(self.dir.join(CERTIFICATE));
            if is_new {
                let _ = fs::remove_dir(&self.dir);
            }
        }
        made
    }

    fn make(&self) -> Result<(Manifest, Copied), BackUpError> {
        let io = |action: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |source| BackUpError::Io { action, path, source }
        };
        if !self.dir.exists() {
            DirBuilder::new().mode(0o700).create(&self.dir).map_err(io("make", &self.dir))?;
        }
        let copied = self.store.back_up(&self.dir.join(STORE), self.incarnation).map_err(BackUpError::Store)?;
        if self.certificate.exists() {
            let to = self.dir.join(CERTIFICATE);
            copy_folder(&self.certificate, &to).map_err(io("copy the certificate to", &to))?;
        }
        let found = copied.found;
        let manifest = Manifest::new(
            self.made_at.clone(),
            hexadecimal(found.incarnation),
            position(found.next),
            found.files,
            found.bytes,
        );
        manifest.write(&self.dir).map_err(io("write the manifest in", &self.dir))?;
        Ok((manifest, copied))
    }
}
