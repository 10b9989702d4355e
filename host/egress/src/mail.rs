//! Mail by the operator's relay: one message over SMTP, and exactly what became of it.
//!
//! It knows the relay and its rules (default sender, allowed senders), not plugins. Connections are kept for the next message.
//!
//! Invariant: before the relay accepted DATA nothing counts as sent; after it only the relay's last reply tells.

mod message;
mod secrets;
mod session;
mod stream;

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

use crate::error::{EgressError, NewEgressError};
use crate::evidence::Evidence;
use crate::roots;
use bugle_core::import::Sent;
use secrets::Secrets;

/// How the connection to the relay is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayTls {
    /// Not at all: for a relay on this machine.
    None,
    /// STARTTLS, required.
    StartTls,
    /// From the first byte.
    Tls,
}

/// A password that is never printed.
#[derive(Clone)]
pub struct RelayPassword(pub String);

impl fmt::Debug for RelayPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayPassword(...)")
    }
}

/// The operator's mail relay.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Its name or address.
    pub host: String,
    /// Its port: 25, 587 (STARTTLS) or 465 (TLS) mostly.
    pub port: u16,
    /// Protection.
    pub tls: RelayTls,
    /// User and password, if it wants them.
    pub login: Option<(String, RelayPassword)>,
    /// Certificates (PEM) trusted for the relay beside all others; may be empty.
    pub ca_pem: Vec<u8>,
    /// Sender of messages that name none: `a@b.example` or `Name <a@b.example>`.
    pub sender: String,
    /// Further senders: addresses, or `@b.example` for a whole domain.
    pub senders: Vec<String>,
    /// Right part of Message-IDs; by default the sender's domain.
    pub domain: Option<String>,
}

/// A message, as a guest gives it.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// `None` for the relay's default.
    pub sender: Option<String>,
    /// Recipients.
    pub to: Vec<String>,
    /// Copies.
    pub cc: Vec<String>,
    /// Hidden copies.
    pub bcc: Vec<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: Option<String>,
    /// HTML.
    pub html: Option<String>,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
    /// Left part of the Message-ID.
    pub message_id: String,
}

/// The relay has taken the message over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The whole Message-ID, without angle brackets.
    pub message_id: String,
    /// The relay's last reply.
    pub reply: String,
}

/// Connections to the relay at once; relays refuse many from one client.
const CONNECTIONS_MAX: usize = 16;
/// Kept connections are tried again only for this long; relays drop idle ones.
const KEPT_TIME_MAX: Duration = Duration::from_secs(10);

/// The way to the relay.
pub struct Mailer {
    relay: Relay,
    default_sender: Mailbox,
    senders: Vec<AllowedSender>,
    domain: String,
    tls: Protection,
    credentials: Option<Credentials>,
    secrets: Secrets,
    connections: Semaphore,
    kept: Mutex<Vec<(Instant, AsyncSmtpConnection)>>,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("relay", &self.relay).finish_non_exhaustive()
    }
}

/// As [`RelayTls`], with what each needs.
enum Protection {
    None,
    StartTls(TlsParameters),
    FromTheStart(Arc<rustls::ClientConfig>),
}

enum AllowedSender {
    Address(Address),
    Domain(String),
}

impl Mailer {
    /// Checks the relay's settings; opens no connection.
    pub(crate) fn new(relay: Relay, extra_roots_pem: &[u8]) -> Result<Mailer, NewEgressError> {
        let refuse = |reason: String| NewEgressError::Relay { host: relay.host.clone(), reason };
        let default_sender: Mailbox =
            relay.sender.parse().map_err(|_| refuse(format!("the sender `{}` is no mail address", relay.sender)))?;
        let senders =
            relay.senders.iter().map(|text| allowed_sender(text).map_err(refuse)).collect::<Result<_, _>>()?;
        if relay.login.is_some() && relay.tls == RelayTls::None && !is_this_machine(&relay.host) {
            return Err(refuse("a password would travel unprotected; set tls to starttls or tls".to_owned()));
        }
        let roots_pem = [extra_roots_pem, b"\n", &relay.ca_pem].concat();
        let tls = match relay.tls {
            RelayTls::None => Protection::None,
            RelayTls::StartTls => Protection::StartTls(tls_parameters(&relay.host, &roots_pem)?),
            RelayTls::Tls => Protection::FromTheStart(Arc::new(roots::client_config(&roots_pem)?)),
        };
        let login = relay.login.as_ref();
        let credentials = login.map(|(user, password)| Credentials::new(user.clone(), password.0.clone()));
        let secrets = login.map(|(user, password)| Secrets::new(user, &password.0)).unwrap_or_default();
        let domain = relay.domain.clone().unwrap_or_else(|| default_sender.email.domain().to_owned());
        Ok(Mailer {
            default_sender,
            senders,
            domain,
            tls,
            credentials,
            secrets,
            connections: Semaphore::new(CONNECTIONS_MAX),
            kept: Mutex::default(),
            relay,
        })
    }

    /// Hands one message to the relay, at most for `timeout`. Dropping the future breaks off; `evidence` then still says what
    /// had left.
    pub async fn send(&self, mail: Mail, timeout: Duration, evidence: &Evidence) -> Result<Accepted, EgressError> {
        let message = self.build(mail)?;
        match tokio::time::timeout(timeout, self.hand_over(&message, evidence)).await {
            Ok(result) => result.map(|reply| Accepted { message_id: message.id, reply }),
            Err(_) => {
                let reason = format!("mail relay `{}`: no answer within {timeout:?}", self.relay.host);
                Err(match evidence.sent() {
                    Sent::Nothing => EgressError::not_sent(reason),
                    Sent::Maybe | Sent::Answered => EgressError::MaybeSent(reason),
                })
            }
        }
    }

    fn may_send_as(&self, sender: &Address) -> bool {
        *sender == self.default_sender.email
            || self.senders.iter().any(|allowed| match allowed {
                AllowedSender::Address(address) => address == sender,
                AllowedSender::Domain(domain) => sender.domain().eq_ignore_ascii_case(domain),
            })
    }

    fn take_kept(&self) -> Option<AsyncSmtpConnection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(since, _)| since.elapsed() < KEPT_TIME_MAX);
        kept.pop().map(|(_, connection)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), connection));
    }
}

fn allowed_sender(text: &str) -> Result<AllowedSender, String> {
    match text.strip_prefix('@') {
        Some(domain) if !domain.is_empty() => Ok(AllowedSender::Domain(domain.to_owned())),
        _ => text
            .parse()
            .map(AllowedSender::Address)
            .map_err(|_| format!("`{text}` in senders is neither an address nor `@domain`")),
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls_parameters(host: &str, roots_pem: &[u8]) -> Result<TlsParameters, NewEgressError> {
    let refuse = |reason: String| NewEgressError::Relay { host: host.to_owned(), reason };
    let mut builder = TlsParameters::builder(host.to_owned());
    for certificate in roots::certificates(roots_pem)? {
        let certificate = Certificate::from_der(certificate.to_vec()).map_err(|error| refuse(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests;
