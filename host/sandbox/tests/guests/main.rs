//! The real guests in the real sandbox, with a scripted broker: how calls end, what plugins may do, what deploys are refused.
//!
//! One file per topic; `harness` holds the scripted calls.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod asked;
mod batch;
mod deploy;
mod ends;
mod harness;
mod imports;
mod inbound;
mod many;
mod outside;
mod timers;
