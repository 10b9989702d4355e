//! Settings of the listener.
//!
//! Plain values; the server fills them from its config file. Checks that need more than one field are made by
//! `Listener::bind`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where the host's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Made at the first start and kept in this directory; clients pin its fingerprint.
    Development {
        /// Directory of the two files.
        dir: PathBuf,
    },
    /// Files in PEM.
    Files {
        /// Certificate chain, the host's own first.
        certificate: PathBuf,
        /// Private key.
        key: PathBuf,
    },
}

/// SHA-256 of a bearer token: the config holds this, never the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// How the listener is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and UDP port. Default `127.0.0.1:4747`. Beyond loopback, certificate files and tokens are required.
    pub listen: SocketAddr,
    /// The certificate.
    pub certificate: CertificateSource,
    /// Accepted bearer tokens; empty means that none is asked for.
    pub tokens: Vec<TokenHash>,
    /// Most sessions at once. Default 1,024; each costs about 100 KiB when idle.
    pub sessions_max: usize,
    /// Bytes of frames that may wait for a result, of all sessions together. Default 32 MiB.
    pub waiting_bytes_max: usize,
    /// Bytes that may arrive unread, of all sessions together. Default 64 MiB.
    pub window_bytes_max: usize,
    /// How long a client may take from its first packet to its hello. Default 5 s.
    pub handshake: Duration,
    /// How long a session may finish at shutdown. Default 5 s.
    pub grace: Duration,
    /// Identity of the store, told to clients: another value is another history. Default empty.
    pub incarnation: Vec<u8>,
}

impl Config {
    /// The defaults, with a development certificate in `dir`.
    #[must_use]
    pub fn development(dir: PathBuf) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 4747).into(),
            certificate: CertificateSource::Development { dir },
            tokens: Vec::new(),
            sessions_max: 1024,
            waiting_bytes_max: 32 * 1024 * 1024,
            window_bytes_max: 64 * 1024 * 1024,
            handshake: Duration::from_secs(5),
            grace: Duration::from_secs(5),
            incarnation: Vec::new(),
        }
    }
}
