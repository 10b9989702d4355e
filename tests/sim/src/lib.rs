//! The simulator: the whole bus in one thread, its disk, plugins, producers and clock under the control of a seed.
//!
//! It drives the same core machines by the same rules as the host's broker. A seed replays a run exactly. Knows nothing of QUIC,
//! RocksDB and WebAssembly. Invariant: what it checks, it checks against evidence from outside the machines.

mod bus;
mod call;
mod check;
mod events;
mod producer;
mod random;
mod store;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// Random actions of a run: a few hundred deliveries and several crashes.
const ACTIONS: u32 = 500;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events in the log at its end.
    pub events: u64,
    /// Attempts started.
    pub attempts: u64,
    /// Crashes.
    pub crashes: u64,
    /// Sends that reached the receiver.
    pub received: u64,
    /// Of those, sends of something it had seen before.
    pub repeats: u64,
}

/// Runs one seed, with faults (crashes, traps, lost answers) or without; what went wrong, with the latest lines of the journal.
///
/// # Errors
///
/// The first rule that was broken.
pub fn run(seed: u64, has_faults: bool) -> Result<Summary, String> {
    let mut world = World::new(seed, has_faults);
    let end = catch_unwind(AssertUnwindSafe(|| world.run(ACTIONS)))
        .unwrap_or_else(|panic| Err(format!("panicked: {:?}", panic.downcast_ref::<String>())));
    end.map_err(|wrong| format!("{}\nseed {seed}: {wrong}", world.bus.journal()))?;
    let received: u64 = world.bus.received.values().map(|count| u64::from(*count)).sum();
    Ok(Summary {
        events: world.bus.store.log.len() as u64,
        attempts: world.bus.attempts,
        crashes: world.crashes,
        received,
        repeats: received - world.bus.received.len() as u64,
    })
}
