//! The data directory as seen from outside: its lock, its token, and the file that tells where its host listens.
//!
//! Knows nothing of the store's own files, which live in a folder below.
//!
//! Invariant: `endpoints.json` exists only while a host serves the directory, or after one was killed; the lock tells which.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Where a running host listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Process id.
    pub pid: u32,
    /// Address for producers (QUIC, UDP).
    pub quic: String,
    /// Address of the admin API (HTTP, TCP).
    pub admin: String,
    /// Address for callbacks of providers (HTTP, TCP), if they are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<String>,
    /// SHA-256 of the certificate, which clients pin.
    pub fingerprint: String,
}

/// Holds the directory for this process until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another host has it.
    #[error("the data directory `{}` is in use by process {pid}; stop that host, or give another one with --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        pid: String,
    },
    /// Nobody serves it.
    #[error("no host serves the data directory `{}`; start one with `bugle serve --data-dir {}`, or name its directory with --data-dir or BUGLE_DATA_DIR", path.display(), path.display())]
    NotServed {
        /// The directory.
        path: PathBuf,
    },
    /// Its store is not there yet.
    #[error("a restore into the data directory `{}` was interrupted; run the same `bugle restore` again, or empty the directory", path.display())]
    HalfRestored {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("could not {what} `{}`", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Names a directory; nothing is touched.
    #[must_use]
    pub fn at(path: &Path) -> DataDir {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        DataDir { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The admin token.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.path.join("admin-token")
    }

    /// The store's folder.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where a restore puts its copy together; only there while one is under way, or after one was interrupted.
    #[must_use]
    pub fn restoring(&self) -> PathBuf {
        self.path.join("store.restoring")
    }

    /// Refuses a directory that a restore left half done: a host would begin an empty store there.
    pub fn check_whole(&self) -> Result<(), DataDirError> {
        if self.restoring().exists() && !self.store().exists() {
            return Err(DataDirError::HalfRestored { path: self.path.clone() });
        }
        Ok(())
    }

    /// Compiled plugins, private to this host.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.path.join("compiled")
    }

    /// The development certificate's folder.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path.join("tls")
    }

    fn endpoints(&self) -> PathBuf {
        self.path.join("endpoints.json")
    }

    /// Makes the directory if needed, readable by its owner only, and takes it for this process.
    pub fn lock(&self) -> Result<Lock, DataDirError> {
        let fail = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { what, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(fail("create the data directory", &self.path))?;
        let name = self.path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(fail("open the lock file", &name))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = match pid.trim() {
                    "" => "of unknown number".to_owned(),
                    known => known.to_owned(),
                };
                let path = self.path.clone();
                return Err(DataDirError::InUse { path, pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(fail("lock the file", &name)(source));
            }
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(fail("write the lock file", &name))?;
        Ok(Lock { _file: file })
    }

    /// Says that this process is ready and where.
    pub fn announce(&self, endpoints: &Endpoints) -> Result<(), DataDirError> {
        let path = self.endpoints();
        let fail = |source| DataDirError::Io { what: "write", path: path.clone(), source };
        let text = serde_json::to_string_pretty(endpoints).map_err(|error| fail(error.into()))?;
        let draft = path.with_extension("tmp");
        fs::write(&draft, text + "\n").map_err(fail)?;
        fs::rename(&draft, &path).map_err(fail)
    }

    /// Takes the announcement back.
    pub fn withdraw(&self) {
        let _ = fs::remove_file(self.endpoints());
    }

    /// Where the host of this directory said that it listens.
    pub fn find(&self) -> Result<Endpoints, DataDirError> {
        let path = self.endpoints();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.path.clone();
                return Err(DataDirError::NotServed { path });
            }
            Err(source) => {
                let what = "read";
                return Err(DataDirError::Io { what, path, source });
            }
        };
        serde_json::from_str(&text).map_err(|error| DataDirError::Io { what: "understand", path, source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::{DataDir, DataDirError, Endpoints};

    #[test]
    fn a_second_host_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::at(&dir.path().join("a/b"));
        let lock = data.lock().unwrap();
        let error = data.lock().unwrap_err();
        let pid = std::process::id().to_string();
        assert!(matches!(&error, DataDirError::InUse { pid: told, .. } if *told == pid));
        assert!(error.to_string().contains("--data-dir"));
        drop(lock);
        data.lock().unwrap();
    }

    #[test]
    fn the_way_to_a_host_is_found_only_while_it_serves() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::at(dir.path());
        let missing = data.find().unwrap_err();
        assert!(missing.to_string().contains("bugle serve --data-dir"));
        let endpoints = Endpoints {
            pid: 1,
            quic: "127.0.0.1:1".into(),
            admin: "127.0.0.1:2".into(),
            inbound: None,
            fingerprint: "ab".into(),
        };
        data.announce(&endpoints).unwrap();
        assert_eq!(data.find().unwrap(), endpoints);
        data.withdraw();
        assert!(matches!(data.find(), Err(DataDirError::NotServed { .. })));
    }
}
