//! One SMTP conversation, step by step, so that it is known in which step it broke.
//!
//! Invariant: `may_have_left` is noted before the first byte of content, `answered` only on the relay's last reply.

use super::message::Ready;
use super::stream::RelayStream;
use super::{Mailer, Protection};
use crate::CONNECT_TIMEOUT;
use crate::error::EgressError;
use crate::evidence::Evidence;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;

/// Longest reply told to a guest.
const REPLY_CHARS_MAX: usize = 500;

const NO_STARTTLS: &str = "it offers no STARTTLS, so nothing was sent to it; set `security = \"tls\"` in [mail] if it wants TLS from the \
                           first byte (port 465 mostly)";
const WRONG_LOGIN: &str = "the login was refused, see `username` and `password_file` in [mail]";
const UNKNOWN_ISSUER: &str = "; for a certificate of an authority of your own, name its file as `ca_file` in [mail]";

impl Mailer {
    /// The whole conversation; returns the relay's last reply.
    pub(super) async fn hand_over(&self, message: &Ready, evidence: &Evidence) -> Result<String, EgressError> {
        let _permit = self.connections.acquire().await.map_err(|_| EgressError::not_sent("the host is stopping"))?;
        let mut connection = self.connection().await?;
        if let Err(error) = self.envelope(&mut connection, message).await {
            connection.abort().await;
            return Err(error);
        }
        evidence.may_have_left()?;
        match connection.message(&message.content).await {
            Ok(reply) => {
                evidence.answered();
                self.keep(connection);
                Ok(self.told(&text_of(&reply)))
            }
            Err(error) if error.status().is_some() => {
                evidence.answered();
                self.keep(connection);
                Err(self.replied(&error))
            }
            Err(error) => Err(EgressError::MaybeSent(format!(
                "mail relay `{}`: the content was sent and no final reply came: {}",
                self.relay.host,
                self.told(&error.to_string())
            ))),
        }
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, EgressError> {
        while let Some(mut kept) = self.take_kept() {
            if kept.test_connected().await {
                return Ok(kept);
            }
        }
        let opened = tokio::time::timeout(2 * CONNECT_TIMEOUT, self.connect()).await;
        let host = &self.relay.host;
        opened
            .map_err(|_| EgressError::not_sent(format!("mail relay `{host}`: no connection in time")))?
            .map_err(|problem| EgressError::not_sent(format!("mail relay `{host}`: {problem}")))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let hello = ClientId::default();
        let told = |error: Error| self.told(&error.to_string());
        let stream = self.open().await.map_err(|error| self.explain(&format!("Connection error: {error}")))?;
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await.map_err(told)?;
        if let Protection::StartTls(parameters) = &self.tls {
            if !connection.server_info().supports_feature(Extension::StartTls) {
                return Err(NO_STARTTLS.to_owned());
            }
            let upgraded = connection.starttls(parameters.clone(), &hello).await;
            upgraded.map_err(|error| self.explain(&error.to_string()))?;
        }
        if let Some(credentials) = &self.credentials {
            let taken = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await;
            taken.map_err(|error| format!("{WRONG_LOGIN}: {}", told(error)))?;
        }
        Ok(connection)
    }

    async fn open(&self) -> std::io::Result<RelayStream> {
        let (host, port) = (self.relay.host.as_str(), self.relay.port);
        match &self.tls {
            Protection::None | Protection::StartTls(_) => RelayStream::plain(host, port).await,
            Protection::FromTheStart(config) => RelayStream::tls(host, port, config.clone()).await,
        }
    }

    /// An error of connecting, with what to do about it where that is not plain.
    fn explain(&self, error: &str) -> String {
        let hint = if error.contains("UnknownIssuer") { UNKNOWN_ISSUER } else { "" };
        format!("{}{hint}", self.told(error))
    }

    /// A text that the relay may have had a part in: bounded, and without the password, which a relay may repeat.
    fn told(&self, text: &str) -> String {
        self.secrets.hidden_in(&bounded(text))
    }

    /// Everything before the content. Only here and at the end does a permanent refusal speak of this message.
    async fn envelope(&self, connection: &mut AsyncSmtpConnection, message: &Ready) -> Result<(), EgressError> {
        let parameters = self.parameters(connection, message)?;
        let sender = Mail::new(Some(message.sender.clone()), parameters);
        connection.command(sender).await.map_err(|error| self.replied(&error))?;
        for recipient in &message.recipients {
            let command = Rcpt::new(recipient.clone(), Vec::new());
            connection.command(command).await.map_err(|error| self.replied(&error))?;
        }
        connection.command(Data).await.map_err(|error| self.replied(&error))?;
        Ok(())
    }

    fn parameters(&self, connection: &AsyncSmtpConnection, message: &Ready) -> Result<Vec<MailParameter>, EgressError> {
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        let mut parameters = Vec::new();
        if !is_ascii(&message.sender) || !message.recipients.iter().all(is_ascii) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let problem = format!("mail relay `{}` does not take addresses beyond ASCII", self.relay.host);
                return Err(EgressError::Refused(problem));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !message.content.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }

    /// An error before the content, or the relay's last reply: permanent ones are refusals, all else may be tried again.
    fn replied(&self, error: &Error) -> EgressError {
        let text = format!("mail relay `{}`: {}", self.relay.host, self.told(&error.to_string()));
        if error.is_permanent() { EgressError::Refused(text) } else { EgressError::not_sent(text) }
    }
}

fn text_of(reply: &Response) -> String {
    let mut text = reply.code().to_string();
    for line in reply.message() {
        text.push(' ');
        text.push_str(line);
    }
    text
}

/// The relay's text may be anything.
fn bounded(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(REPLY_CHARS_MAX).collect()
}
