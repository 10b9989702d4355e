//! The async shell.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]
mod blocking;
pub mod clock;
mod counters;
mod disk;
pub mod histogram;
mod idempotency;
pub mod ring;
#[cfg(test)]
mod testing;
mod topics;
