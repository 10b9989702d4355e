//! The listener: binds the socket, accepts connections, and ends sessions at shutdown.
//!
//! Knows how many sessions there may be and nothing of what they do.
//!
//! The invariant: it never listens beyond loopback without configured certificate and tokens, and `run` returns only
//! when every session has ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bugle_core::ids::SessionId;
use bugle_wire::{Code, limits};
use quinn::{Endpoint, Incoming, VarInt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::certificate::{Certificate, CertificateError, Fingerprint};
use crate::config::{CertificateSource, Config};
use crate::counters::Counters;
use crate::handshake;
use crate::port::Publish;
use crate::{reset, tls, transport};

/// Handshakes under way from which on a client must prove its address first.
const RETRY_FROM: usize = 256;

/// How long the last packets may take at shutdown.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why the listener can't start. For the operator to act on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Open to others, but not secured.
    #[error("refusing to listen on `{listen}`: beyond loopback, certificate files and at least one token are required")]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// A bound that can't work.
    #[error("`{setting}` is {value} and must be at least {min}")]
    TooSmall {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: usize,
        /// Its least value.
        min: usize,
    },
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Certificate and key can't be used together.
    #[error("the certificate and its key can't be used for TLS 1.3")]
    Tls(#[source] rustls::Error),
    /// The socket could not be opened.
    #[error("could not listen on `{listen}` (UDP); is another host running there?")]
    Socket {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What all sessions share.
pub(crate) struct Door<P> {
    pub(crate) host: P,
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
    /// Bytes that may wait for a result, of all sessions.
    pub(crate) pool: Arc<Semaphore>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// What each session may have unread at present.
    window: watch::Sender<usize>,
    sessions: AtomicU64,
    handshakes: AtomicUsize,
}

impl<P> Door<P> {
    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Counts a session and shares the windows anew.
    pub(crate) fn session_opened(&self) {
        self.counters.opened();
        self.share_windows();
    }

    /// Counts a session that ended and shares the windows anew.
    pub(crate) fn session_ended(&self) {
        self.counters.closed();
        self.share_windows();
    }

    /// Follows the share of one session.
    pub(crate) fn window(&self) -> watch::Receiver<usize> {
        self.window.subscribe()
    }

    fn share_windows(&self) {
        let share = transport::window_share(self.config.window_bytes_max, self.counters.read().open);
        self.window.send_if_modified(|window| std::mem::replace(window, share) != share);
    }
}

/// A bound listener; see [`Listener::run`].
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    fingerprint: Fingerprint,
    config: Config,
    counters: Arc<Counters>,
}

impl Listener {
    /// Checks the settings, loads or makes the certificate, and binds the socket. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(config: Config) -> Result<Self, ListenError> {
        check(&config)?;
        let certificate = Certificate::load(&config.certificate)?;
        let tls = tls::server_config(&certificate).map_err(ListenError::Tls)?;
        let socket = |source| ListenError::Socket { listen: config.listen, source };
        let endpoint =
            transport::endpoint(config.listen, tls, reset::endpoint_config(&certificate.key)).map_err(socket)?;
        Ok(Self { endpoint, fingerprint: certificate.fingerprint, config, counters: Arc::default() })
    }

    /// Where it listens; the port is the one the system chose if the setting was 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// What clients pin.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The counters, for the host's metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves sessions until `shutdown` is ready; then tells every client to go, waits for them within the grace, and
    /// returns.
    pub async fn run<P: Publish>(self, host: P, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let grace = self.config.grace;
        let door = Arc::new(Door {
            host,
            pool: Arc::new(Semaphore::new(self.config.waiting_bytes_max)),
            config: self.config,
            counters: self.counters,
            stopping,
            window: watch::Sender::new(0),
            sessions: AtomicU64::new(0),
            handshakes: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                Some(incoming) = self.endpoint.accept() => admit(&door, incoming, &mut tasks),
                Some(ended) = tasks.join_next() => report(ended),
                () = &mut shutdown => break,
            }
        }
        stop.send_replace(true);
        let all_ended = tokio::time::timeout(grace + FAREWELL, async {
            loop {
                tokio::select! {
                    Some(incoming) = self.endpoint.accept() => admit(&door, incoming, &mut tasks),
                    ended = tasks.join_next() => match ended {
                        Some(ended) => report(ended),
                        None => break,
                    }
                }
            }
        });
        if all_ended.await.is_err() {
            tracing::warn!(sessions = tasks.len(), "sessions did not end within the grace; closing them");
        }
        self.endpoint.close(VarInt::from_u32(Code::GOING_AWAY.number()), b"the host is shutting down");
        tasks.shutdown().await;
        // Clients that vanished notice by themselves.
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }
}

fn check(config: &Config) -> Result<(), ListenError> {
    let is_secured = matches!(config.certificate, CertificateSource::Files { .. }) && !config.tokens.is_empty();
    if !config.listen.ip().is_loopback() && !is_secured {
        return Err(ListenError::Exposed { listen: config.listen });
    }
    for (setting, value, min) in [
        ("sessions_max", config.sessions_max, 1),
        ("waiting_bytes_max", config.waiting_bytes_max, limits::FRAME_BYTES_MAX),
        ("window_bytes_max", config.window_bytes_max, limits::FRAME_BYTES_MAX),
    ] {
        if value < min {
            return Err(ListenError::TooSmall { setting, value, min });
        }
    }
    Ok(())
}

/// Starts a task for a connection, or sends it away cheaply.
fn admit<P: Publish>(door: &Arc<Door<P>>, incoming: Incoming, tasks: &mut JoinSet<()>) {
    if tasks.len() >= door.config.sessions_max {
        door.counters.turned_away();
        tracing::warn!(remote = %incoming.remote_address(), "turned a client away: too many sessions");
        return incoming.refuse();
    }
    let is_busy = door.handshakes.load(Ordering::Relaxed) >= RETRY_FROM;
    if is_busy && !incoming.remote_address_validated() && incoming.may_retry() {
        // It fails only for what `may_retry` just excluded.
        let _ = incoming.retry();
        return;
    }
    let door = door.clone();
    tasks.spawn(async move {
        door.handshakes.fetch_add(1, Ordering::Relaxed);
        let session = handshake::take_in(&door, incoming).await;
        door.handshakes.fetch_sub(1, Ordering::Relaxed);
        match session {
            Some(session) => session.run(&door).await,
            None => door.counters.turned_away(),
        }
    });
}

/// A session's task ends by returning; anything else is our own bug and must be seen.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a session's task failed");
    }
}
