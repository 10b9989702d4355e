//! The QUIC endpoint of a client: socket and transport settings, each with its reason.
//!
//! Knows quinn and nothing of frames or sessions.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

/// Default kernel buffers hold about 150 packets, a tenth of one commit's worth; the kernel may give less than this.
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Only receipts come this way, so small windows do.
const RECEIVE_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// What may be unacknowledged towards the host; more than its windows, so that they are what limits.
const SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// A host that vanished is noticed after this, unless it is back sooner and says so by a stateless reset.
const IDLE_TIMEOUT_MS: u32 = 10_000;

/// Keeps an idle session alive, and asks a host that may be another process by now.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Assumed before anything is measured: a first packet lost while the host starts is sent again after three times this.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);

/// The host acknowledges every so many packets instead of every second one.
const ACK_PACKETS: u32 = 10;

/// An endpoint on a free port, of the address family of `host`.
pub(crate) fn endpoint(host: SocketAddr) -> io::Result<Endpoint> {
    let any: SocketAddr = match host {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP))?;
    // Larger buffers are a gain, not a need: the kernel's own limit stands.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&any.into())?;
    Endpoint::new(EndpointConfig::default(), None, socket.into(), Arc::new(TokioRuntime))
}

/// Transport settings of every connection.
pub(crate) fn transport() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_PACKETS)).max_ack_delay(Some(Duration::from_millis(5)));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .ack_frequency_config(Some(acks))
        .initial_rtt(FIRST_ROUND_TRIP);
    transport
}
