//! The host: reads its config, plugs the crates together, serves the admin API, and is its own command line.
//!
//! Decisions about events live in the core, work on disk, network and guests in the edges; this crate owns what an operator sees
//! and the few seams (`wiring`) that let the edges know nothing of each other.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod config;
pub mod definition;
pub mod hint;
pub mod name;
pub mod quantity;
pub mod token;
