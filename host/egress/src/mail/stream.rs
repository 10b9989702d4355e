//! The connection to the relay, under the SMTP client: plain, or TLS from the first byte.
//!
//! Before STARTTLS it hands out one line at a time. The SMTP client reads through a buffer that outlives the change to TLS, so
//! that whatever an attacker on the path appends to the relay's last plain line would count as the relay's protected answer; here
//! it stays in the socket, where the TLS handshake trips over it. Knows nothing of SMTP but that its replies are lines.
//!
//! Invariant: as long as nothing of TLS was written, a read ends at the first line feed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// First byte of a TLS handshake; no SMTP command begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// Looked at for a line feed at once; a longer line takes several reads.
const LOOK_BYTES: usize = 512;

/// See the module.
#[derive(Debug)]
pub(super) enum RelayStream {
    Plain {
        tcp: TcpStream,
        /// TLS runs on it, by STARTTLS, so bytes go as they come.
        has_tls: bool,
    },
    Tls(Box<TlsStream<TcpStream>>),
}

impl RelayStream {
    /// Connects without protection. The SMTP client writes a mail's end apart from its content; with Nagle's algorithm each
    /// mail would wait 40 ms for that.
    pub(super) async fn plain(host: &str, port: u16) -> io::Result<RelayStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(RelayStream::Plain { tcp: stream, has_tls: false })
    }

    /// Connects with TLS from the first byte.
    pub(super) async fn tls(host: &str, port: u16, config: Arc<ClientConfig>) -> io::Result<RelayStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(RelayStream::Tls(Box::new(TlsConnector::from(config).connect(name, stream).await?)))
    }
}

impl AsyncTokioStream for RelayStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            RelayStream::Plain { tcp, .. } => tcp.peer_addr(),
            RelayStream::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for RelayStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            RelayStream::Plain { tcp, has_tls: false } => poll_line(tcp, cx, out),
            RelayStream::Plain { tcp, has_tls: true } => Pin::new(tcp).poll_read(cx, out),
            RelayStream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, out),
        }
    }
}

/// Reads up to the first line feed.
fn poll_line(stream: &mut TcpStream, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let mut look = [0; LOOK_BYTES];
    let (look, _) = look.split_at_mut(out.remaining().min(LOOK_BYTES));
    let mut seen = ReadBuf::new(look);
    ready!(stream.poll_peek(cx, &mut seen))?;
    let seen = seen.filled();
    let line_bytes = seen.iter().position(|byte| *byte == b'\n').map_or(seen.len(), |at| at + 1);
    let (line, _) = look.split_at_mut(line_bytes);
    let mut line = ReadBuf::new(line);
    // Nothing to be seen is the end of the stream, and reading nothing says so.
    ready!(Pin::new(stream).poll_read(cx, &mut line))?;
    out.put_slice(line.filled());
    Poll::Ready(Ok(()))
}

impl AsyncWrite for RelayStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            RelayStream::Plain { tcp, has_tls } => {
                *has_tls |= bytes.first() == Some(&TLS_HANDSHAKE);
                Pin::new(tcp).poll_write(cx, bytes)
            }
            RelayStream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            RelayStream::Plain { tcp, .. } => Pin::new(tcp).poll_flush(cx),
            RelayStream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            RelayStream::Plain { tcp, .. } => Pin::new(tcp).poll_shutdown(cx),
            RelayStream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
