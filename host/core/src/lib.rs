//! Every decision of the event bus, and nothing else: admission, publish dedup, ordering lanes, cursors, attempts, claims.
//!
//! The crate is sans-IO: machines take `now`, looked-up facts and a seed as arguments and return writes and actions. It is
//! `no_std` as a fence: no clock, file, thread or randomly seeded map can be named here, so every rule is tested a million
//! times without a disk, a clock or a guest.
//!
//! Invariant: a driver first commits the writes of a step, durably, and only then runs its actions.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod admission;
pub mod attempt;
pub mod audit;
mod backoff;
pub mod callback;
pub mod clock;
pub mod code;
mod cursor;
pub mod delivery;
pub mod event;
pub mod flow;
pub mod ids;
pub mod import;
mod lane;
pub mod lane_hash;
pub mod ledger;
pub mod matcher;
pub mod origin;
pub mod pattern;
pub mod publish;
pub mod retention;
pub mod row;
pub mod schedule;
pub mod seeded;
pub mod spec;
pub mod step;
pub mod subscription;
pub mod time;
pub mod timer;
