//! The broker on a real store, with a scripted plugin in place of the sandbox. One binary.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod deliver;
mod effects;
mod hand_over;
mod letters;
mod private;
mod reopen;
mod spill;
mod support;
