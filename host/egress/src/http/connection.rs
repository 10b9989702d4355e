//! Connections: opening one to a checked address, counting what is written on it, keeping it for the next request.
//!
//! It knows nothing of who may go where. Invariant: every byte of a request that a socket took is counted in the same poll, so
//! whoever sees a count unchanged knows that nothing left.

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Body;
use crate::CONNECT_TIMEOUT;
use crate::address::Network;
use crate::error::EgressError;
use crate::evidence::Written;
use crate::origin::Origin;
use crate::resolve::Resolver;

/// Kept connections per origin: enough for a burst, few enough not to hold a receiver's sockets.
const KEPT_PER_ORIGIN_MAX: usize = 64;
/// Receivers close idle connections after about a minute; ours go first.
const KEPT_TIME_MAX: Duration = Duration::from_secs(30);
/// Largest response head.
const HEAD_BYTES_MAX: usize = 64 << 10;

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An open connection.
pub(super) struct Connection {
    sender: Sender,
    written: Written,
    kept_since: Instant,
}

impl Connection {
    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(super) async fn send(
        &mut self,
        request: hyper::Request<Body>,
    ) -> hyper::Result<hyper::Response<hyper::body::Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }

    /// Waits until the connection can take a request; false when it is closed.
    async fn is_usable(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

/// Idle connections by origin.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<Origin, Vec<Connection>>>);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Kept {
    /// A connection that is open as far as this side knows.
    pub(super) async fn take(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut connection = self.pop(origin)?;
            if connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    fn pop(&self, origin: &Origin) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = kept.get_mut(origin)?;
        connections.retain(|connection| !connection.is_closed() && connection.kept_since.elapsed() < KEPT_TIME_MAX);
        // One HTTP/2 connection carries many requests: leave it for the others.
        if let Some(Connection { sender: Sender::Http2(sender), written, kept_since }) = connections.last() {
            let (sender, written) = (Sender::Http2(sender.clone()), written.clone());
            return Some(Connection { sender, written, kept_since: *kept_since });
        }
        let connection = connections.pop();
        if connections.is_empty() {
            kept.remove(origin);
        }
        connection
    }

    /// Whether no kept connection is usable any more.
    #[cfg(test)]
    pub(super) fn are_all_closed(&self, origin: &Origin) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(origin).is_none_or(|connections| connections.iter().all(Connection::is_closed))
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(&self, origin: &Origin, mut connection: Connection) {
        if connection.is_closed() {
            return;
        }
        connection.kept_since = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = kept.entry(origin.clone()).or_default();
        if connection.is_http2() {
            connections.clear();
        }
        if connections.len() < KEPT_PER_ORIGIN_MAX {
            connections.push(connection);
        }
    }
}

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    resolver: Resolver,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(super) fn new(tls: Arc<ClientConfig>, resolver: Resolver) -> Connector {
        Connector { tls: TlsConnector::from(tls), resolver }
    }

    /// Resolves, checks and connects; nothing of a request is sent.
    pub(super) async fn connect(&self, origin: &Origin, networks: &[Network]) -> Result<Connection, EgressError> {
        let addresses = self.resolver.resolve(origin, networks).await?;
        let failed = |reason: String| EgressError::not_sent(format!("could not connect to {origin}: {reason}"));
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open(origin, &addresses)).await;
        let (stream, is_http2) = opened
            .map_err(|_| failed(format!("no connection within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        let written = Written::default();
        let io = TokioIo::new(Counted { stream, written: written.clone() });
        let sender = handshake(io, is_http2).await.map_err(|error| failed(error.to_string()))?;
        // TLS and HTTP/2 talk before the first request; that is no part of it.
        Ok(Connection { sender, written, kept_since: Instant::now() })
    }

    async fn open(&self, origin: &Origin, addresses: &[std::net::SocketAddr]) -> io::Result<(Stream, bool)> {
        let tcp = TcpStream::connect(addresses).await?;
        tcp.set_nodelay(true)?;
        if !origin.tls {
            return Ok((Stream::Plain(tcp), false));
        }
        let host = origin.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let tls = self.tls.connect(name, tcp).await?;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Tls(Box::new(tls)), is_http2))
    }
}

async fn handshake(io: TokioIo<Counted>, is_http2: bool) -> hyper::Result<Sender> {
    if is_http2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .handshake(io)
            .await?;
        // Ends with the last sender; its error is told to the request that met it.
        tokio::spawn(async move { drop(connection.await) });
        return Ok(Sender::Http2(sender));
    }
    let (sender, connection) = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(io).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(Sender::Http1(sender))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Counts what HTTP hands down, before TLS, so that a handshake is not mistaken for a request.
struct Counted {
    stream: Stream,
    written: Written,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(count)) = &written {
            self.written.add(*count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
