//! The host's certificate: read from files, or made once for development.
//!
//! Knows files and PEM, not TLS settings. A development certificate is for `localhost` and the loopback addresses;
//! clients pin its fingerprint, so it must stay the same over restarts.
//!
//! The invariant: a private key is written with mode 0600 before any byte of it is in the file, and a half-written pair
//! is never used: the certificate, written last and renamed into place, says that the key is whole.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::config::CertificateSource;

const CERTIFICATE_FILE: &str = "quic-cert.pem";
const KEY_FILE: &str = "quic-key.pem";
const DEVELOPMENT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// SHA-256 of the host's certificate, what clients pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why there is no certificate. For the operator to act on.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("could not use the file `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("the file `{}` is not {expected} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// The development certificate could not be made.
    #[error("could not make a development certificate")]
    Make(#[source] rcgen::Error),
}

/// A certificate chain with its key.
pub(crate) struct Certificate {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) fingerprint: Fingerprint,
}

impl Certificate {
    pub(crate) fn load(source: &CertificateSource) -> Result<Self, CertificateError> {
        match source {
            CertificateSource::Files { certificate, key } => read(certificate, key),
            CertificateSource::Development { dir } => {
                let (certificate, key) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
                if !certificate.exists() {
                    make(dir, &certificate, &key)?;
                }
                read(&certificate, &key)
            }
        }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
    let not_certificate = || CertificateError::Pem { path: certificate.to_owned(), expected: "a certificate chain" };
    let pem = read_file(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|_| not_certificate())?;
    let own = chain.first().ok_or_else(not_certificate)?;
    let fingerprint = Fingerprint(Sha256::digest(own).into());
    let not_key = |_| CertificateError::Pem { path: key.to_owned(), expected: "a private key" };
    let key = PrivateKeyDer::from_pem_slice(&read_file(key)?).map_err(not_key)?;
    Ok(Certificate { chain, key, fingerprint })
}

fn make(dir: &Path, certificate: &Path, key: &Path) -> Result<(), CertificateError> {
    let names = DEVELOPMENT_NAMES.map(str::to_owned).to_vec();
    let pair = rcgen::generate_simple_self_signed(names).map_err(CertificateError::Make)?;
    fs::create_dir_all(dir).map_err(|source| CertificateError::File { path: dir.to_owned(), source })?;
    write_file(key, pair.signing_key.serialize_pem().as_bytes())?;
    write_file(certificate, pair.cert.pem().as_bytes())?;
    tracing::info!(certificate = %certificate.display(), "made a development certificate");
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

/// Writes a private file whole or not at all.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    let failed = |source| CertificateError::File { path: path.to_owned(), source };
    let partial = path.with_extension("partial");
    // A left-over of a crash may have another mode.
    if partial.exists() {
        fs::remove_file(&partial).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&partial, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_development_certificate_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let source = CertificateSource::Development { dir: dir.path().join("new") };
        let first = Certificate::load(&source).unwrap();
        let second = Certificate::load(&source).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.fingerprint.to_string().len(), 64);
        let mode = fs::metadata(dir.path().join("new").join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_are_not_pem_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let load = || {
            let source = CertificateSource::Files { certificate: certificate.clone(), key: key.clone() };
            Certificate::load(&source).map(|certificate| certificate.fingerprint)
        };
        assert!(matches!(load(), Err(CertificateError::File { path, .. }) if path == certificate));
        let pair = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
        fs::write(&certificate, "nothing").unwrap();
        assert!(matches!(load(), Err(CertificateError::Pem { path, .. }) if path == certificate));
        fs::write(&certificate, pair.cert.pem()).unwrap();
        fs::write(&key, "nothing").unwrap();
        assert!(matches!(load(), Err(CertificateError::Pem { path, .. }) if path == key));
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        assert_eq!(load().unwrap(), Fingerprint(Sha256::digest(pair.cert.der()).into()));
    }
}
