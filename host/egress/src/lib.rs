//! Everything that leaves the host for a plugin goes through here: HTTP requests and mail.
//!
//! The crate knows allow-lists, addresses, connections and protocols. It does not know plugins, deliveries or claims: it only
//! reports, exactly, whether something left the machine ([`Evidence`]), and the core decides what that means.
//!
//! Invariant: a socket is opened only to an address that was checked in the same breath, for an origin that both lists allow.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

mod address;
mod error;
mod evidence;
mod http;
mod mail;
mod origin;
mod resolve;
mod roots;

pub use address::{Network, ParseNetworkError};
pub use error::{EgressError, NewEgressError};
pub use evidence::Evidence;
pub use http::{HttpClient, Policy, REQUEST_BODY_BYTES_MAX, RESPONSE_BODY_BYTES_MAX, Request, Response};
pub use hyper::header::{HeaderName, HeaderValue};
pub use mail::{Accepted, Mail, Mailer, Relay, RelayPassword, RelayTls};
pub use origin::{Origin, OriginPattern, ParseOriginError};

use std::sync::Arc;
use std::time::Duration;

/// What the operator configures for everything that leaves.
#[derive(Debug, Default)]
pub struct Options {
    /// Certificates (PEM) trusted beside the built-in web roots.
    pub extra_roots_pem: Vec<u8>,
    /// The mail relay; without one every mail is refused.
    pub relay: Option<Relay>,
}

/// The host's ways out: one TLS configuration, one resolver, one mail relay, shared by all subscriptions.
#[derive(Clone, Debug)]
pub struct Egress {
    tls: Arc<rustls::ClientConfig>,
    resolver: resolve::Resolver,
    mailer: Option<Arc<Mailer>>,
}

impl Egress {
    /// Loads the roots and prepares the relay; opens no connection.
    pub fn new(options: Options) -> Result<Egress, NewEgressError> {
        let tls = roots::http_config(&options.extra_roots_pem)?;
        let mailer = options.relay.map(|relay| Mailer::new(relay, &options.extra_roots_pem)).transpose()?;
        Ok(Egress { tls: Arc::new(tls), resolver: resolve::Resolver::new(), mailer: mailer.map(Arc::new) })
    }

    /// A client with connections of its own, for one subscription and what it may reach.
    #[must_use]
    pub fn http(&self, policy: Policy) -> HttpClient {
        HttpClient::new(policy, Arc::clone(&self.tls), self.resolver.clone())
    }

    /// The mail relay, if the operator configured one.
    #[must_use]
    pub fn mailer(&self) -> Option<&Arc<Mailer>> {
        self.mailer.as_ref()
    }
}

/// How long connecting and the TLS handshake may take; longer only hides a dead receiver.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
