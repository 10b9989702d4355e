//! The listener over real QUIC: `door` plays along, `hostile` does not, `scripted` is the host behind it.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod door;
mod hostile;
mod scripted;
