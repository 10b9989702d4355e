//! The door for producers: a QUIC listener that turns frames into batches for the core and results into receipts.
//!
//! It decides nothing about events: order, duplicates, offsets and refusals are the core's, behind [`Publish`]. What it
//! decides is who may open a session, what is a well-formed frame, and when a session is not read any further.
//!
//! The invariant: whatever a client sends harms its own session only, each session has a bounded share of memory, and a
//! receipt is written only for a result that came through [`Publish`].
//!
//! Calls in the order they must be made: [`Listener::bind`], [`Listener::local_address`] and [`Listener::fingerprint`]
//! to tell people, [`Listener::run`] until shutdown. Everything runs on the runtime that polls `run`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod certificate;
mod config;
mod control;
mod convert;
mod counters;
mod credit;
mod frame_reader;
mod handshake;
mod listener;
mod port;
mod publish_stream;
mod receipts;
mod reset;
mod results;
mod session;
mod session_error;
mod tls;
mod token;
mod transport;

pub use certificate::{CertificateError, Fingerprint};
pub use config::{CertificateSource, Config, TokenHash};
pub use convert::decode_event;
pub use counters::{Counters, CountersReading};
pub use listener::{ListenError, Listener};
pub use port::{Publish, Stopped};
pub use results::Results;
