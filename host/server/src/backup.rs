//! The form of a backup: a folder with the store, the certificate, and, written last, a file that says what it is.
//!
//! A folder without that file is no backup, whatever else is in it. Knows nothing of how the store is copied.
//!
//! Invariant: everything in it is readable for its owner only, and on disk before the file that names it.

mod restore;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

pub use restore::{Restore, check, restore};

/// Version of the form. A host reads its own and older ones.
const FORMAT: u32 = 1;
/// The file that says what the folder is.
const MANIFEST: &str = "backup.json";
/// The store's folder in a backup.
pub(crate) const STORE: &str = "store";
/// The development certificate's folder in a backup: producers pin it.
pub(crate) const CERTIFICATE: &str = "tls";

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the form of backups.
    pub format: u32,
    /// The host that made it.
    pub version: String,
    /// When, as text.
    pub made_at: String,
    /// Identity of the store, in hexadecimal digits.
    pub incarnation: String,
    /// Position of the next event: the backup holds all before it.
    pub next: String,
    /// Files of the store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Manifest {
    /// One of this host's form.
    pub(crate) fn new(made_at: String, incarnation: String, next: String, files: u64, bytes: u64) -> Manifest {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Manifest { format: FORMAT, version, made_at, incarnation, next, files, bytes }
    }

    /// Makes the folder a backup.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let draft = dir.join("backup.tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(MANIFEST))?;
        File::open(dir)?.sync_all()
    }

    /// What the folder says of itself.
    pub fn read(dir: &Path) -> anyhow::Result<Manifest> {
        let path = dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "`{}` is no whole backup: it has no `{MANIFEST}`, which is written last; name a folder that `bugle backup create` \
                 reported as done",
                dir.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
        };
        let manifest: Manifest =
            serde_json::from_str(&text).with_context(|| format!("could not understand `{}`", path.display()))?;
        if manifest.format > FORMAT {
            bail!(
                "the backup in `{}` has form {}, made by bugle {}; this one knows {FORMAT}: use that version or a newer one",
                dir.display(),
                manifest.format,
                manifest.version
            );
        }
        Ok(manifest)
    }
}

/// Folders within each other at most; a store has two.
const DEPTH_MAX: u32 = 8;

/// Copies a folder of files and folders, durably and for the owner only. Returns the bytes. Anything else in it is refused, so
/// that a link does not lead out of it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> io::Result<u64> {
    copy_below(from, to, DEPTH_MAX)
}

fn copy_below(from: &Path, to: &Path, depth_left: u32) -> io::Result<u64> {
    let odd = |what: &str, path: &Path| io::Error::other(format!("`{}` {what}", path.display()));
    if depth_left == 0 {
        return Err(odd("lies too deep", from));
    }
    DirBuilder::new().mode(0o700).create(to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            bytes += copy_below(&entry.path(), &name, depth_left - 1)?;
        } else if kind.is_file() {
            bytes += copy_file(&entry.path(), &name)?;
        } else {
            return Err(odd("is neither a file nor a folder", &entry.path()));
        }
    }
    File::open(to)?.sync_all()?;
    Ok(bytes)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let mut source = File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let bytes = io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    Ok(bytes)
}

/// The path with its links followed as far as it exists, to tell whether one folder lies in another.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(real) = fs::canonicalize(ancestor) {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        missing.extend(ancestor.file_name());
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::{Manifest, copy_folder, resolved};

    #[test]
    fn a_folder_without_its_last_file_is_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let told = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(told.contains("no whole backup") && told.contains("bugle backup create"), "{told}");
        let manifest = Manifest::new("now".into(), "ab".into(), "0-7".into(), 3, 4);
        manifest.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), manifest);
        Manifest { format: 2, ..manifest }.write(dir.path()).unwrap();
        let told = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(told.contains("form 2") && told.contains("newer"), "{told}");
        std::fs::write(dir.path().join("backup.json"), "{").unwrap();
        assert!(Manifest::read(dir.path()).is_err());
    }

    #[test]
    fn a_copy_is_private_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("db")).unwrap();
        std::fs::write(from.join("db/1.sst"), "abc").unwrap();
        assert_eq!(copy_folder(&from, &to).unwrap(), 3);
        let mode = |path: &str| std::fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("db"), mode("db/1.sst")), (0o700, 0o600));
        symlink("/etc/passwd", from.join("db/2.sst")).unwrap();
        assert!(copy_folder(&from, &dir.path().join("again")).is_err());
        symlink(&from, dir.path().join("link")).unwrap();
        assert!(resolved(&dir.path().join("link/not/there")).starts_with(std::fs::canonicalize(&from).unwrap()));
    }
}
