//! The broker on a real store, with a scripted plugin in place of the sandbox. One binary.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod backlog;
mod batch;
mod callbacks;
mod deliver;
mod effects;
mod expiry;
mod explain;
mod forget;
mod hand_over;
mod letters;
mod outcomes;
mod patterns;
mod private;
mod records;
mod reopen;
mod retention;
mod runs;
mod scheduled;
mod spill;
mod support;
mod sweep;
mod unknowns;
