//! The e-mail channel: renders each event by templates and hands it to the host's relay.
//!
//! It knows no SMTP and no credentials. Invariant: every attempt of one delivery has the same Message-ID,
//! made from the idempotency key.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod letter;

use bugle_plugin::prelude::*;
use letter::{Letter, Templates};

#[channel(check = letter::check)]
fn email(cx: &Cx, event: Event<Value>) -> Outcome {
    let letter = Templates::read(&cx.config())?.render(&event)?;
    // A repeat has the same Message-ID; an operator who would rather lose a mail than repeat one says `park`.
    let claim = cx.claim(cx.idempotency_key()).resend_uncertain();
    let sent: Sent = claim.run(|| send(cx, &letter, &event))?;
    for recipient in letter.to.iter().chain(&letter.cc) {
        cx.note(recipient, "sent").provider("smtp").reference(&sent.message_id).detail(&sent.reply).save()?;
    }
    Ok(())
}

/// What is kept of a mail that was handed over.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    message_id: String,
    reply: String,
}

fn send(cx: &Cx, letter: &Letter, event: &Event<Value>) -> Result<Sent, Failure> {
    let mut mail = cx.mail().subject(&letter.subject).text(&letter.text).message_id(cx.idempotency_key());
    // For filters and for tracing a mail back: which event it is about.
    mail = mail.header("X-Event-Source", event.source()).header("X-Event-Id", event.id());
    for address in &letter.to {
        mail = mail.to(address);
    }
    for address in &letter.cc {
        mail = mail.cc(address);
    }
    if let Some(address) = &letter.from {
        mail = mail.sender(address);
    }
    if let Some(address) = &letter.reply_to {
        mail = mail.reply_to(address);
    }
    if let Some(html) = &letter.html {
        mail = mail.html(html);
    }
    let accepted = mail.send()?;
    Ok(Sent { message_id: accepted.message_id, reply: accepted.reply })
}

#[cfg(test)]
mod tests;
