//! A real host as a child process: start it on its own data directory and ports, talk to it, kill it, start it again.
//!
//! For end-to-end tests and benchmarks. It knows the host only as its users do: binary, config file, admin API, QUIC client.
//!
//! Invariant: the child never outlives the [`Host`]; ports stay the same over restarts, so that clients can reconnect.

mod admin;
mod process;
mod wait;

pub use admin::{Admin, AdminError};
pub use process::{Host, Settings, Usage};
pub use wait::{eventually, free_port};
