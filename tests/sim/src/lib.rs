//! The simulator: the whole bus in one thread, its disk, plugins, producers and clocks under the control of a seed.
//!
//! It drives the same core machines by the same rules as the host's broker. A seed gives a history, a history replays a run exactly,
//! and one that breaks a rule is made short and kept in `regressions`. Knows nothing of QUIC, RocksDB and WebAssembly.
//!
//! Invariant: what it checks, it checks against evidence from outside the machines.

mod action;
mod batch;
mod bits;
mod bus;
mod call;
mod callback;
mod check;
mod clock;
mod committer;
mod definition;
mod disk;
mod events;
mod evidence;
mod expiry;
mod history;
mod import;
mod late;
mod letters;
mod operate;
mod outage;
mod outcomes;
mod producer;
mod recovery;
mod retain;
mod rows;
mod rule;
mod run;
mod schedule;
mod settle;
mod store;
mod timer;
mod unknowns;
mod wishes;
mod worker;
mod world;

pub use action::{Action, Kind};
pub use history::{ACTIONS, History};
pub use outage::{Outage, Report, outage};
pub use rule::{Broken, RULES};
pub use run::{Failure, Plan, Summary, replay, replay_noting, run_many, shrink};
