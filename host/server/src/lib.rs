//! The host: reads its config, plugs the crates together, serves the admin API, and is its own command line.
//!
//! Decisions about events live in the core, work on disk, network and guests in the edges; this crate owns what an operator sees
//! and the few seams (`wiring`) that let the edges know nothing of each other.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod admin;
pub mod api;
pub mod backup;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod definition;
pub mod doctor;
pub mod encode;
pub mod event_json;
pub mod hint;
pub mod host;
pub mod inbound;
pub mod logs;
pub mod moment;
pub mod name;
mod parts;
pub mod quantity;
pub mod serve;
pub mod tally;
pub mod token;
pub mod wiring;
