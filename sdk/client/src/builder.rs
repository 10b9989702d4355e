//! Settings of a client, with their defaults and bounds.
//!
//! Checks everything before the first packet leaves. It does not know what happens after the first session is open.

use std::sync::Arc;
use std::time::Duration;

use bugle_wire::schema::Hello;
use bugle_wire::{VERSION, limits};
use quinn::{ClientConfig, Endpoint};

use crate::client::Client;
use crate::connect::{ConnectError, FIRST_TIMEOUT, Target, resolve};
use crate::session::Session;
use crate::shared::Shared;
use crate::tls::{Trust, client_config};
use crate::transport::{endpoint, transport};

/// How a client is made; see [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "call `connect`"]
pub struct ClientBuilder {
    address: String,
    server_name: Option<String>,
    producer: String,
    group: String,
    token: String,
    trust: Option<Trust>,
    publish_timeout: Duration,
    in_flight_bytes: usize,
    in_flight_events: usize,
    streams: u32,
}

impl ClientBuilder {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            server_name: None,
            producer: String::new(),
            group: String::new(),
            token: String::new(),
            trust: None,
            publish_timeout: Duration::from_secs(30),
            in_flight_bytes: 8 * 1024 * 1024,
            in_flight_events: 8 * 1024,
            streams: 1,
        }
    }

    /// Sets the producer's name: stable over restarts, one per instance that publishes. Required.
    pub fn producer(mut self, name: &str) -> Self {
        name.clone_into(&mut self.producer);
        self
    }

    /// Sets the producer group.
    pub fn group(mut self, name: &str) -> Self {
        name.clone_into(&mut self.group);
        self
    }

    /// Trusts exactly the certificate with this SHA-256 fingerprint, as printed by the host: 64 hexadecimal digits.
    pub fn server_fingerprint(mut self, fingerprint: &str) -> Self {
        self.trust = Some(Trust::Fingerprint(fingerprint.to_owned()));
        self
    }

    /// Trusts hosts whose certificate one of these authorities (PEM) signed for the host's name.
    pub fn ca(mut self, pem: &[u8]) -> Self {
        self.trust = Some(Trust::Authorities(pem.to_vec()));
        self
    }

    /// Sets the name the host's certificate must have; without it, the host part of the address.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Sets the bearer token.
    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// Sets how long a publish is tried before its outcome is `Unknown`, or `Refused` if it never left. Default 30 s.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// Bounds what may be queued or unconfirmed: bytes and events. Publishing waits beyond it. Default 8 MiB, 8192.
    pub fn in_flight(mut self, bytes: usize, events: usize) -> Self {
        self.in_flight_bytes = bytes;
        self.in_flight_events = events;
        self
    }

    /// Sets the number of publish streams, 1 to 8. More than one only keeps keys apart when the path loses packets.
    /// Default 1.
    pub fn streams(mut self, count: u32) -> Self {
        self.streams = count;
        self
    }

    /// Connects, and returns once the host has welcomed this producer.
    ///
    /// # Errors
    /// See [`ConnectError`]. Nothing is tried twice here; once connected, the client reconnects by itself.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        self.check()?;
        let target = self.target()?;
        let (endpoint, session) = open(&target).await?;
        let shared = Arc::new(Shared::new(self.streams, self.in_flight_bytes, self.in_flight_events));
        Ok(Client::start(shared, endpoint, target, session, self.publish_timeout))
    }

    fn check(&self) -> Result<(), ConnectError> {
        let wrong = |detail: &str| Err(ConnectError::Settings { detail: detail.to_owned() });
        if !(1..=limits::NAME_BYTES_MAX).contains(&self.producer.len()) {
            return wrong("the producer's name is needed, 1 to 255 bytes; set it with `producer`");
        }
        if self.group.len() > limits::NAME_BYTES_MAX {
            return wrong("the group's name is over 255 bytes");
        }
        if self.token.len() > limits::TOKEN_BYTES_MAX {
            return wrong("the token is over 4096 bytes");
        }
        if !(1..=limits::STREAMS_MAX).contains(&self.streams) {
            return wrong("the number of publish streams must be 1 to 8");
        }
        if self.in_flight_bytes == 0 || self.in_flight_events == 0 {
            return wrong("the bounds of what is in flight must not be 0");
        }
        Ok(())
    }

    fn target(&self) -> Result<Target, ConnectError> {
        let trust = self.trust.as_ref().ok_or_else(|| ConnectError::Settings {
            detail: "nothing says which host to trust; set `server_fingerprint` or `ca`".to_owned(),
        })?;
        let tls = client_config(trust).map_err(|error| ConnectError::Settings { detail: error.to_string() })?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport()));
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let server_name = self.server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let hello = Hello {
            versions: vec![VERSION],
            client: concat!("bugle-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            producer: self.producer.clone(),
            group: self.group.clone(),
            epoch: None,
            token: self.token.clone(),
        };
        Ok(Target { address: self.address.clone(), server_name, config, hello, stream_count: self.streams })
    }
}

/// Opens the first session, trying one address family after the other; the one that worked is kept.
async fn open(target: &Target) -> Result<(Endpoint, Session), ConnectError> {
    let hosts = resolve(&target.address).await?;
    let first = hosts.first().copied();
    let other = hosts.iter().copied().find(|host| first.is_some_and(|first| first.is_ipv4() != host.is_ipv4()));
    let mut last = ConnectError::Resolve { address: target.address.clone(), source: None };
    for host in first.into_iter().chain(other) {
        let endpoint = endpoint(host).map_err(ConnectError::Socket)?;
        match target.open(&endpoint, None, FIRST_TIMEOUT).await {
            Ok(session) => return Ok((endpoint, session)),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}
