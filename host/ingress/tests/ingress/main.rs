//! The listener over real QUIC: `door` plays along, `hostile` does not, `scripted` is the host behind it. `order` has the real
//! admission behind it, played by `admitting`.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod admitting;
mod door;
mod hostile;
mod order;
mod scripted;
