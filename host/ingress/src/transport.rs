//! QUIC settings of the listener, each with its reason.
//!
//! Before a session is welcomed, a connection has one stream and a small window; then it gets its share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bugle_wire::limits;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    AckFrequencyConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

/// Default kernel buffers hold about 150 packets, less than one commit's worth; the kernel may give less than this.
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// What a connection may send before it is welcomed: one hello of the largest size.
const FIRST_WINDOW_BYTES: u32 = 32 * 1024;

/// Most that one session may have unread.
const WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Least that one session may have unread: one frame of the size clients aim at.
const WINDOW_BYTES_MIN: usize = 64 * 1024;

/// Receipts that may be on their way; they are small.
const SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// A client that says nothing for this long is gone; clients send keep-alives every 2 s.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// Clients acknowledge every so many packets instead of every second one.
const ACK_PACKETS: u32 = 10;

/// Handshakes under way at once; more are dropped.
const INCOMING_MAX: usize = 1024;

/// Bytes kept for handshakes under way.
const INCOMING_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// An endpoint that listens on `listen`; see `reset.rs` for `identity`.
pub(crate) fn endpoint(listen: SocketAddr, tls: QuicServerConfig, identity: EndpointConfig) -> io::Result<Endpoint> {
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport()))
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(u64::from(FIRST_WINDOW_BYTES))
        .incoming_buffer_size_total(INCOMING_BYTES_MAX);
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    // Larger buffers are a gain, not a need: the kernel's own limit stands.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&listen.into())?;
    Endpoint::new(identity, Some(config), socket.into(), Arc::new(TokioRuntime))
}

fn transport() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_PACKETS)).max_ack_delay(Some(Duration::from_millis(5)));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(FIRST_WINDOW_BYTES))
        .stream_receive_window(VarInt::try_from(WINDOW_BYTES_MAX as u64).unwrap_or(VarInt::MAX))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .ack_frequency_config(Some(acks));
    transport
}

/// What one of so many sessions may have unread, so that all together stay within the bound. Counted in powers of two, so
/// that few arrivals change it.
pub(crate) fn window_share(window_bytes_max: usize, sessions: u64) -> usize {
    let sessions = usize::try_from(sessions).unwrap_or(usize::MAX).clamp(1, usize::MAX / 4);
    (window_bytes_max / sessions.next_power_of_two()).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
}

/// Lets a welcomed session open its publish streams.
pub(crate) fn open_up(connection: &Connection) {
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(limits::STREAMS_MAX));
}

/// Sets what a session may have unread. A smaller value holds from when what was allowed before is used up.
pub(crate) fn set_window(connection: &Connection, bytes: usize) {
    connection.set_receive_window(VarInt::try_from(bytes as u64).unwrap_or(VarInt::MAX));
}

#[cfg(test)]
mod tests {
    use super::{WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, window_share};

    #[test]
    fn sessions_together_stay_within_the_bound() {
        let bound = 64 * 1024 * 1024;
        for sessions in 1..=1024_u64 {
            let share = window_share(bound, sessions);
            assert!((WINDOW_BYTES_MIN..=WINDOW_BYTES_MAX).contains(&share));
            assert!(share as u64 * sessions <= bound as u64, "{sessions} sessions of {share}");
        }
    }
}
