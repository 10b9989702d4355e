//! A guest's message turned into a checked one: addresses, one-line texts, sizes, headers.
//!
//! Invariant: no text of a guest can start a header of its own or reach an envelope unparsed.

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::{Mail, Mailer};
use crate::error::EgressError;

/// Recipients of all kinds, as the plugin contract says.
const RECIPIENTS_MAX: usize = 50;
/// Text and HTML together, as the plugin contract says.
const BODY_BYTES_MAX: usize = 256 << 10;
/// One line of a header.
const LINE_BYTES_MAX: usize = 1000;
/// Extra headers.
const HEADERS_MAX: usize = 32;
/// Left part of a Message-ID: the idempotency key has at most 64.
const MESSAGE_ID_BYTES_MAX: usize = 128;

/// Headers that the host writes itself, beside all that begin with `content-`.
const RESERVED: [&str; 14] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "return-path",
    "received",
    "dkim-signature",
    "authentication-results",
];

/// A message ready for the relay.
pub(super) struct Ready {
    pub(super) id: String,
    pub(super) sender: Address,
    pub(super) recipients: Vec<Address>,
    pub(super) content: Vec<u8>,
}

impl Mailer {
    pub(super) fn build(&self, mail: Mail) -> Result<Ready, EgressError> {
        let sender = match &mail.sender {
            Some(text) => mailbox("sender", text)?,
            None => self.default_sender.clone(),
        };
        if !self.may_send_as(&sender.email) {
            return Err(EgressError::Denied(format!(
                "denied: mail from `{0}` - add `senders = [\"{0}\"]` to [mail] in the host's config",
                sender.email
            )));
        }
        let id = message_id(&mail.message_id, &self.domain)?;
        let count = mail.to.len() + mail.cc.len() + mail.bcc.len();
        if !(1..=RECIPIENTS_MAX).contains(&count) {
            let problem = format!("a message has 1 to {RECIPIENTS_MAX} recipients, this one has {count}");
            return Err(EgressError::Invalid(problem));
        }
        let (mut builder, recipients) = addressed(&mail)?;
        builder = builder.from(sender.clone()).message_id(Some(format!("<{id}>"))).date_now();
        if let Some(text) = &mail.reply_to {
            builder = builder.reply_to(mailbox("reply-to", text)?);
        }
        builder = builder.subject(one_line("the subject", &mail.subject)?);
        for header in extra_headers(&mail.headers)? {
            builder = builder.raw_header(header);
        }
        let message = with_body(builder, mail.text, mail.html)?;
        Ok(Ready { id, sender: sender.email, recipients, content: message.formatted() })
    }
}

/// Header lines and the envelope's recipients, in the same order.
fn addressed(mail: &Mail) -> Result<(MessageBuilder, Vec<Address>), EgressError> {
    let mut builder = Message::builder();
    let mut recipients = Vec::new();
    for text in &mail.to {
        let parsed = mailbox("to", text)?;
        recipients.push(parsed.email.clone());
        builder = builder.to(parsed);
    }
    for text in &mail.cc {
        let parsed = mailbox("cc", text)?;
        recipients.push(parsed.email.clone());
        builder = builder.cc(parsed);
    }
    for text in &mail.bcc {
        let parsed = mailbox("bcc", text)?;
        recipients.push(parsed.email.clone());
        builder = builder.bcc(parsed);
    }
    Ok((builder, recipients))
}

fn mailbox(field: &str, text: &str) -> Result<Mailbox, EgressError> {
    let text = one_line(field, text)?;
    text.parse().map_err(|_| {
        let shown = text.escape_debug();
        EgressError::Invalid(format!(
            "{field}: `{shown}` is no mail address like `a@b.example` or `Name <a@b.example>`"
        ))
    })
}

fn one_line<'a>(what: &str, text: &'a str) -> Result<&'a str, EgressError> {
    if text.len() > LINE_BYTES_MAX {
        return Err(EgressError::TooLarge(format!("{what} is over {LINE_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(EgressError::Invalid(format!("{what} must be one line without control characters")));
    }
    Ok(text)
}

fn message_id(left: &str, domain: &str) -> Result<String, EgressError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.:".contains(&byte);
    if left.is_empty() || left.len() > MESSAGE_ID_BYTES_MAX || !left.bytes().all(is_allowed) {
        let problem = format!("message-id must be 1 to {MESSAGE_ID_BYTES_MAX} printable ASCII characters without `@`");
        return Err(EgressError::Invalid(problem));
    }
    Ok(format!("{left}@{domain}"))
}

fn extra_headers(given: &[(String, String)]) -> Result<Vec<HeaderValue>, EgressError> {
    if given.len() > HEADERS_MAX {
        return Err(EgressError::TooLarge(format!("a message has at most {HEADERS_MAX} extra headers")));
    }
    given
        .iter()
        .map(|(name, value)| {
            let lower = name.to_ascii_lowercase();
            if RESERVED.contains(&lower.as_str()) || lower.starts_with("content-") || lower.starts_with("resent-") {
                return Err(EgressError::Invalid(format!("header `{lower}` is written by the host; leave it out")));
            }
            let is_token = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            let bad = || EgressError::Invalid(format!("`{}` is no header name", name.escape_debug()));
            if !is_token {
                return Err(bad());
            }
            let header = HeaderName::new_from_ascii(name.clone()).map_err(|_| bad())?;
            Ok(HeaderValue::new(header, one_line(name, value)?.to_owned()))
        })
        .collect()
}

fn with_body(builder: MessageBuilder, text: Option<String>, html: Option<String>) -> Result<Message, EgressError> {
    let bytes = text.as_ref().map_or(0, String::len) + html.as_ref().map_or(0, String::len);
    if bytes > BODY_BYTES_MAX {
        return Err(EgressError::TooLarge(format!("text and html are over {BODY_BYTES_MAX} bytes together")));
    }
    let built = match (text, html) {
        (Some(text), Some(html)) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        (Some(text), None) => builder.singlepart(SinglePart::plain(text)),
        (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
        (None, None) => return Err(EgressError::Invalid("a message needs text or html".to_owned())),
    };
    built.map_err(|error| EgressError::Invalid(format!("the message cannot be built: {error}")))
}
