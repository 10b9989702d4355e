//! Host imports, one file per WIT interface: guest values in, core vocabulary on, answers back.
//!
//! Nothing is decided here but what needs no state: grants, tickets, sizes and words. A guest's mistake is an error value;
//! these functions never trap.
//!
//! Invariant: every guest value is bounded before it leaves this module.

mod ack;
mod config;
mod dedup;
mod http;
mod kv;
pub(crate) mod log;
mod mail;
mod ordering;
mod publish;
mod records;
mod secrets;
mod timers;

use bugle_core::code::Code;
use bugle_core::import::{ImportError, Reply};
use bugle_core::time::Millis;

use crate::bindings::bugle::plugin::types::{self, Error};
use crate::calls::HostCalls;
use crate::state::State;

pub(crate) use ack::retry;

impl<C: HostCalls> types::Host for State<C> {}

/// A reason or reference, cut at the bound of the plugin contract.
pub(crate) fn bounded_reason(text: String) -> String {
    cut(text, ack::REASON_BYTES_MAX)
}

/// An error with a code of the contract.
pub(crate) fn error(code: Code, message: impl Into<String>) -> Error {
    Error { code: code.text().to_owned(), message: message.into(), retry_after: None }
}

/// The core's refusal in the guest's words.
pub(crate) fn from_core(refusal: ImportError) -> Error {
    Error {
        code: refusal.code.text().to_owned(),
        message: refusal.message,
        retry_after: refusal.retry_after.map(|Millis(millis)| millis),
    }
}

/// `denied`, with the text that names the line to add.
fn denied(text: String) -> Error {
    error(Code::Denied, text)
}

/// The core answered with something that does not belong to the question: a bug of ours, told but not fatal.
fn unexpected(reply: &Reply) -> Error {
    tracing::error!(?reply, "an import got an answer of another import");
    error(Code::Unavailable, "the host could not make sense of its own answer; please report this")
}

/// For imports that answer nothing.
fn done(reply: Reply) -> Result<(), Error> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// Cuts a text at a bound, on a character.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

#[cfg(test)]
mod tests;
