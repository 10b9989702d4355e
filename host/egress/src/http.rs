//! HTTP for one subscription: check, connect, send once, read the whole answer.
//!
//! It follows no redirect, keeps connections for this subscription alone, and repeats a request by itself only when nothing of
//! it was written: a kept connection that the other side had closed.
//!
//! Invariant: a request is built from the same parsed URL that was checked, and goes to an address checked for it.

mod connection;
mod prepare;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Network;
use crate::error::EgressError;
use crate::evidence::Evidence;
use crate::origin::{Origin, OriginPattern};
use crate::resolve::Resolver;
use bugle_core::import::Sent;
use connection::{Connection, Connector, Kept};
use prepare::Prepared;

/// Largest request body, as the plugin contract says.
pub const REQUEST_BODY_BYTES_MAX: usize = 1 << 20;
/// Largest response body, as the plugin contract says.
pub const RESPONSE_BODY_BYTES_MAX: usize = 1 << 20;

/// What one subscription may reach, and how a refusal names the lines to add.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The plugin's name, for texts.
    pub plugin: String,
    /// The subscription's name, for texts.
    pub subscription: String,
    /// Origins the manifest asks for.
    pub asked: Vec<OriginPattern>,
    /// Origins the operator grants.
    pub granted: Vec<OriginPattern>,
    /// Private networks the operator grants.
    pub networks: Vec<Network>,
    /// Headers that the host adds and the guest never sees.
    pub injected: Vec<(Origin, HeaderName, HeaderValue)>,
}

impl Policy {
    fn check(&self, origin: &Origin) -> Result<(), EgressError> {
        let denied = |line: String| EgressError::Denied(format!("denied: http to `{origin}` - {line}"));
        if !self.asked.iter().any(|pattern| pattern.allows(origin)) {
            let plugin = &self.plugin;
            return Err(denied(format!(
                "add `allow = [\"{origin}\"]` to [egress] in plugin.toml of plugin `{plugin}`"
            )));
        }
        if !self.granted.iter().any(|pattern| pattern.allows(origin)) {
            let subscription = &self.subscription;
            return Err(denied(format!("add `egress = [\"{origin}\"]` to [grants] of subscription `{subscription}`")));
        }
        Ok(())
    }
}

/// One request, as a guest gives it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// A method in upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// At most [`REQUEST_BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, in the order received; values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
    /// At most [`RESPONSE_BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// The HTTP client of one subscription. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Policy,
    connector: Connector,
    kept: Kept,
}

impl HttpClient {
    pub(crate) fn new(policy: Policy, tls: Arc<ClientConfig>, resolver: Resolver) -> HttpClient {
        HttpClient(Arc::new(Inner { policy, connector: Connector::new(tls, resolver), kept: Kept::default() }))
    }

    /// Sends one request and waits for its whole answer, at most `timeout`. Dropping the future breaks the connection off;
    /// `evidence` then still says what had left.
    pub async fn send(
        &self,
        request: Request,
        timeout: Duration,
        evidence: &Evidence,
    ) -> Result<Response, EgressError> {
        let prepared = prepare::prepare(request, &self.0.policy)?;
        self.0.policy.check(&prepared.origin)?;
        match tokio::time::timeout(timeout, self.0.exchange(&prepared, evidence)).await {
            Ok(result) => result,
            Err(_) => Err(ended(evidence, &prepared.origin, &format!("no complete answer within {timeout:?}"))),
        }
    }
}

/// The error that fits what has left.
fn ended(evidence: &Evidence, origin: &Origin, reason: &str) -> EgressError {
    match evidence.sent() {
        Sent::Nothing => EgressError::not_sent(format!("request to {origin} was not sent: {reason}")),
        Sent::Maybe | Sent::Answered => {
            EgressError::MaybeSent(format!("request to {origin} left without a complete answer: {reason}"))
        }
    }
}

/// The error of a connection that gave up on the request.
fn broken(evidence: &Evidence, origin: &Origin, reason: &str) -> EgressError {
    evidence.connection_failed();
    ended(evidence, origin, reason)
}

impl Inner {
    async fn exchange(&self, prepared: &Prepared, evidence: &Evidence) -> Result<Response, EgressError> {
        while let Some(connection) = self.kept.take(&prepared.origin).await {
            match self.attempt(connection, prepared, evidence).await {
                // The other side had closed a kept connection; nothing was written, so another one may carry it.
                Err(EgressError::NotSent { .. }) => {}
                other => return other,
            }
        }
        // Connecting needs more room than waiting for the answer, which takes longer.
        let connection = Box::pin(self.connector.connect(&prepared.origin, &self.policy.networks)).await?;
        self.attempt(connection, prepared, evidence).await
    }

    async fn attempt(
        &self,
        mut connection: Connection,
        prepared: &Prepared,
        evidence: &Evidence,
    ) -> Result<Response, EgressError> {
        let origin = &prepared.origin;
        evidence.on_connection(connection.written())?;
        let answer = connection.send(prepared.request(connection.is_http2())).await;
        let (head, body) = answer.map_err(|error| broken(evidence, origin, &text_of(&error)))?.into_parts();
        let body = read(body).await.map_err(|reason| broken(evidence, origin, &reason))?;
        evidence.answered();
        self.kept.keep(origin, connection);
        let headers = head
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let value = std::str::from_utf8(value.as_bytes()).ok()?;
                Some((name.as_str().to_owned(), value.to_owned()))
            })
            .collect();
        Ok(Response { status: head.status.as_u16(), headers, body })
    }
}

/// The whole body, if it is not over its bound.
async fn read(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| text_of(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > RESPONSE_BODY_BYTES_MAX {
            return Err(format!("the response body is over {RESPONSE_BODY_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// An error with its causes, which hyper leaves to the caller to print.
fn text_of(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

pub(crate) type Body = Full<Bytes>;

#[cfg(test)]
mod tests;
