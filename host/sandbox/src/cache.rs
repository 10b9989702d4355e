//! Native code of compiled plugins on disk, our own output only.
//!
//! A file is named by the component's digest and the engine's compatibility hash, so another engine never reads it. Loading
//! native code means trusting it: the folder is the owner's alone, and each file carries its own digest against damage.
//!
//! Invariant: a file under its final name is complete.

use bugle_core::ids::Revision;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Length of the digest before the code.
const DIGEST_BYTES: usize = 32;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    engine: u64,
}

impl Cache {
    /// Makes the folder if needed and checks that nobody else can write to it.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> io::Result<Cache> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::metadata(folder)?;
        if found.mode() & 0o077 != 0 || found.uid() != rustix::process::geteuid().as_raw() {
            let text = format!("`{}` must belong to the host's user alone; `chmod 700` it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Cache { folder: folder.to_owned(), engine: hasher.finish() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, revision: Revision) -> PathBuf {
        let digest: String = revision.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{digest}-{:016x}.code", self.engine))
    }

    /// The component, if its code is here and whole.
    pub(crate) fn load(&self, engine: &Engine, revision: Revision) -> Option<Component> {
        let bytes = fs::read(self.path(revision)).ok()?;
        let (digest, code) = bytes.split_at_checked(DIGEST_BYTES)?;
        if Sha256::digest(code).as_slice() != digest {
            tracing::warn!(%revision, "compiled plugin on disk is damaged; it is compiled again");
            return None;
        }
        deserialize(engine, code).ok()
    }

    /// Keeps the code: whole or not at all.
    pub(crate) fn store(&self, revision: Revision, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(self.path(revision)).map_err(|error| error.error)?;
        fs::File::open(&self.folder)?.sync_all()
    }
}

/// A component from code that our own compiler made.
#[expect(
    unsafe_code,
    reason = "wasmtime trusts the code it is given; callers pass only output of our own compiler, fresh or from the \
              owner-only folder with a matching digest, and uploads of compiled code are refused"
)]
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: see the reason above.
    unsafe { Component::deserialize(engine, code) }
}
