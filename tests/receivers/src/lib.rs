//! The world around a host under test: receivers that fail on purpose, a producer that keeps a diary, one clock for all.
//!
//! Everything that happens outside the host is written down as the checker wants it ([`Journal`]). Nothing here knows the host;
//! what a receiver answers is decided by a seed, so a run can be repeated.
//!
//! Invariant: a receiver that answered has written the call down before it reads the next request of that connection.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod http;
pub mod limits;
pub mod producer;
pub mod smtp;

mod clock;
mod identity;
mod journal;
mod request;
mod script;

pub use clock::now_us;
pub use http::HttpReceiver;
pub use journal::Journal;
pub use producer::Producer;
pub use script::{Behaviour, Dice, Script};
pub use smtp::SmtpReceiver;
