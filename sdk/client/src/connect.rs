//! Opens one session: resolve, connect, hello, welcome.
//!
//! Tries once; whether and when to try again is the driver's. It does not know the queue.
//!
//! The invariant: a [`Session`] was welcomed by a host whose certificate was checked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bugle_wire::schema::{Hello, Welcome};
use bugle_wire::{Code, Frame, FrameBuffer, FrameError, VERSION, limits};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};

use crate::session::Session;

/// The first session must be open within this; the host allows the same.
pub(crate) const FIRST_TIMEOUT: Duration = Duration::from_secs(5);

/// A later attempt is given up sooner: the host may have come up just after its last packet was lost.
pub(crate) const AGAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why no session could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting is missing or wrong.
    #[error("the client's settings are not usable: {detail}")]
    Settings {
        /// Which and why.
        detail: String,
    },
    /// The address gives no socket address.
    #[error("could not resolve `{address}`; expected `host:port`")]
    Resolve {
        /// The address given.
        address: String,
        /// Why.
        source: Option<io::Error>,
    },
    /// No UDP socket could be opened.
    #[error("could not open a UDP socket")]
    Socket(#[source] io::Error),
    /// No connection: nobody there, no common protocol, or another certificate than expected.
    #[error(
        "could not connect to `{address}`; check that the host runs there and that the fingerprint or authority is its own"
    )]
    Unreachable {
        /// The address given.
        address: String,
        /// What went wrong underneath.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host answered, and refused the session.
    #[error("the host refused the session: {code}: {detail}")]
    Refused {
        /// Why.
        code: Code,
        /// For people.
        detail: String,
        /// Set when trying again can help.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("no answer from `{address}` in time")]
    Timeout {
        /// The address given.
        address: String,
    },
    /// The host's answer was not understood.
    #[error("the answer of `{address}` is not protocol bugle/1")]
    Protocol {
        /// The address given.
        address: String,
        /// What could not be decoded, if that was it.
        source: Option<FrameError>,
    },
}

impl ConnectError {
    /// Whether trying again with the same settings can't help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Settings { .. } => true,
            Self::Refused { retry_after, .. } => retry_after.is_none(),
            Self::Resolve { .. }
            | Self::Socket(_)
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Protocol { .. } => false,
        }
    }
}

/// Whom to connect to and how.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) server_name: String,
    pub(crate) config: ClientConfig,
    pub(crate) hello: Hello,
    pub(crate) stream_count: u32,
}

/// The socket addresses behind `host:port`.
pub(crate) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve { address: address.to_owned(), source };
    let found: Vec<_> = tokio::net::lookup_host(address).await.map_err(|error| failed(Some(error)))?.collect();
    if found.is_empty() { Err(failed(None)) } else { Ok(found) }
}

impl Target {
    /// Opens a session, in `epoch` if there is one to resume. Each address is given `timeout`.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        epoch: Option<u64>,
        timeout: Duration,
    ) -> Result<Session, ConnectError> {
        let is_ipv4 = endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
        let mut last = ConnectError::Resolve { address: self.address.clone(), source: None };
        for host in resolve(&self.address).await? {
            if host.is_ipv4() != is_ipv4 {
                continue;
            }
            let opened = tokio::time::timeout(timeout, self.open_at(endpoint, host, epoch)).await;
            match opened {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) if error.is_final() => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::Timeout { address: self.address.clone() },
            }
        }
        Err(last)
    }

    async fn open_at(
        &self,
        endpoint: &Endpoint,
        host: SocketAddr,
        epoch: Option<u64>,
    ) -> Result<Session, ConnectError> {
        let connecting = endpoint
            .connect_with(self.config.clone(), host, &self.server_name)
            .map_err(|error| ConnectError::Settings { detail: error.to_string() })?;
        let connection = connecting.await.map_err(|error| self.unreachable(error))?;
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| self.lost(&connection, error))?;
        let hello = Frame::Hello(Hello { epoch, ..self.hello.clone() });
        send.write_chunk(hello.to_bytes()).await.map_err(|error| self.lost(&connection, error))?;
        let mut buffer = FrameBuffer::new(limits::FRAME_BYTES_MAX);
        let welcome = self.await_welcome(&connection, &mut recv, &mut buffer).await?;
        self.accept(connection, send, recv, buffer, welcome)
    }

    async fn await_welcome(
        &self,
        connection: &Connection,
        recv: &mut RecvStream,
        buffer: &mut FrameBuffer,
    ) -> Result<Welcome, ConnectError> {
        let protocol = |source| ConnectError::Protocol { address: self.address.clone(), source };
        let frame = loop {
            if let Some(frame) = buffer.next_frame().map_err(|error| protocol(Some(error)))? {
                break frame;
            }
            let chunk =
                recv.read_chunk(limits::FRAME_BYTES_MAX, true).await.map_err(|error| self.lost(connection, error))?;
            buffer.extend(&chunk.ok_or_else(|| protocol(None))?.bytes);
        };
        match Frame::decode_from_host(&frame) {
            Ok(Frame::Welcome(welcome)) => Ok(welcome),
            Ok(Frame::Refused(refused)) => Err(ConnectError::Refused {
                code: Code::from_number(refused.code),
                detail: refused.detail,
                retry_after: refused.retry_after_ms.map(Duration::from_millis),
            }),
            Ok(_) => Err(protocol(None)),
            Err(error) => Err(protocol(Some(error))),
        }
    }

    fn accept(
        &self,
        connection: Connection,
        send: SendStream,
        recv: RecvStream,
        buffer: FrameBuffer,
        welcome: Welcome,
    ) -> Result<Session, ConnectError> {
        let bounds = welcome.limits.unwrap_or_default();
        if welcome.version != VERSION {
            return Err(ConnectError::Protocol { address: self.address.clone(), source: None });
        }
        if bounds.streams < self.stream_count {
            let detail = format!(
                "the host allows {} publish streams and the client wants {}",
                bounds.streams, self.stream_count
            );
            return Err(ConnectError::Settings { detail });
        }
        Ok(Session { connection, send, recv, buffer, welcome, stream_count: self.stream_count })
    }

    /// An error on a connection: its close reason says more than the error of one stream.
    fn lost(&self, connection: &Connection, error: impl std::error::Error + Send + Sync + 'static) -> ConnectError {
        match connection.close_reason() {
            Some(reason) => self.unreachable(reason),
            None => ConnectError::Unreachable { address: self.address.clone(), source: Box::new(error) },
        }
    }

    fn unreachable(&self, error: ConnectionError) -> ConnectError {
        match error {
            ConnectionError::ApplicationClosed(close) => ConnectError::Refused {
                code: Code::from_number(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
                detail: String::from_utf8_lossy(&close.reason).into_owned(),
                // A close without `Refused` is an accident of this session, not a verdict on the client.
                retry_after: Some(Duration::ZERO),
            },
            other => ConnectError::Unreachable { address: self.address.clone(), source: Box::new(other) },
        }
    }
}
