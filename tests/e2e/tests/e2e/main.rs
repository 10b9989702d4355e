//! Everything that only the whole product can show: real processes, real guests, real receivers, real kills.
//!
//! One binary, so that the host is linked once. Each test has its own host, data directory and ports, and waits for conditions
//! with a deadline, never for a guess.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod asked;
mod audit;
mod backup;
mod backup_load;
mod batch;
mod channels;
mod chaos;
mod crash;
mod deploy;
mod doctor;
mod door;
mod erase;
mod expiry;
mod fan_out;
mod gmv;
mod hostile;
mod inbound;
mod independent;
mod judge;
mod late;
mod letters;
mod operator;
mod outcomes;
mod protect;
mod restart;
mod retention;
mod retry;
mod runs;
mod scene;
mod scheduled;
mod shared_claims;
mod strong;
mod timers;
mod topics;
mod unknowns;
mod waiting;
