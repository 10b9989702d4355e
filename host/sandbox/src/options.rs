//! What the host tells the sandbox at start, and the bounds that hold for every guest.
//!
//! Invariant: a guest never gets more than these, whatever its manifest asks for.

use bugle_egress::Egress;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Handle;

use crate::compile::Compiler;

/// Settings of the sandbox.
#[derive(Debug)]
pub struct Options {
    /// The runtime that runs guests and nothing else.
    pub guest: Handle,
    /// Its number of worker threads: that many runners are kept busy per subscription.
    pub guest_threads: usize,
    /// Folder for compiled plugins; made with mode 0700 if it is missing.
    pub cache: PathBuf,
    /// How a component is compiled.
    pub compiler: Compiler,
    /// The ways out.
    pub egress: Egress,
    /// Bounds of guests.
    pub limits: Limits,
}

/// Bounds of guests: defaults of what a manifest does not say, and maxima of what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instances at once, waiting ones included. Default 1,000. Each reserves address space (4 GiB), memory only as used.
    pub slots: u32,
    /// Memory of one instance. Default and most 64 MiB.
    pub memory_bytes: u64,
    /// CPU time of one attempt. Default and most 1 s.
    pub cpu: Duration,
    /// Time of one attempt, waiting included. Default and most 30 s; the delivery's deadline always bounds it.
    pub wall: Duration,
    /// Deliveries per instance. Default and most 1,000: making a new one costs ten calls' time.
    pub reuse: u32,
    /// Largest component. Default 8 MiB; Python guests need 32 MiB.
    pub component_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            slots: 1000,
            memory_bytes: 64 << 20,
            cpu: Duration::from_secs(1),
            wall: Duration::from_secs(30),
            reuse: 1000,
            component_bytes: 8 << 20,
        }
    }
}

/// Bounds of one subscription, tighter than the host's; unset ones are the manifest's or the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tighter {
    /// Memory of one instance.
    pub memory_bytes: Option<u64>,
    /// CPU time of one attempt.
    pub cpu: Option<Duration>,
    /// Time of one attempt.
    pub wall: Option<Duration>,
}

/// Bounds that hold for one subscription: the smallest of host, manifest and subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: usize,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) reuse: u32,
}

/// One step of the epoch clock: how often CPU time is looked at, and how long a busy guest holds a thread at most.
pub(crate) const TICK: Duration = Duration::from_millis(10);

impl Bounds {
    pub(crate) fn new(host: &Limits, manifest: &crate::manifest::Limits, subscription: &Tighter) -> Bounds {
        let memory = [manifest.memory.map(|size| size.0), subscription.memory_bytes]
            .into_iter()
            .flatten()
            .fold(host.memory_bytes, u64::min);
        let least =
            |host: Duration, asked: [Option<Duration>; 2]| asked.into_iter().flatten().fold(host, Duration::min);
        let cpu = least(host.cpu, [manifest.cpu.map(|time| time.0), subscription.cpu]);
        Bounds {
            memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
            cpu,
            wall: least(host.wall, [manifest.wall.map(|time| time.0), subscription.wall]),
            reuse: manifest.reuse.unwrap_or(host.reuse).clamp(1, host.reuse.max(1)),
        }
    }
}
