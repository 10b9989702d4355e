//! Paths of the guests that tests deploy, built by this crate's build script.
//!
//! Knows nothing of hosts. Invariant: each path is a file that was built from the sources of this tree.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

use std::path::{Path, PathBuf};

fn guest(file: &str) -> PathBuf {
    Path::new(env!("BUGLE_GUESTS")).join(file)
}

macro_rules! guests {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name() -> PathBuf { guest($file) })*

        /// Every guest with its name, for tests over all of them.
        #[must_use]
        pub fn all() -> Vec<(&'static str, PathBuf)> {
            vec![$((stringify!($name), $name())),*]
        }
    };
}

guests! {
    /// The webhook channel.
    webhook = "webhook.wasm";
    /// The e-mail channel.
    email = "email.wasm";
    /// The inbox channel.
    inbox = "inbox.wasm";
    /// Does what the event's type says; see tests/zoo/README.md.
    probe = "probe.wasm";
    /// Takes several deliveries per call; see tests/zoo/README.md.
    batch = "batch.wasm";
    /// Acks every event without a look at it: the floor of what a call costs.
    noop = "noop.wasm";
    /// The same for a batch channel.
    noop_batch = "noop_batch.wasm";
    /// A right channel whose module traps while it is instantiated.
    start_trap = "start_trap.wasm";
    /// A right channel that also imports `evil:thing/door@1.0.0`.
    unknown_import = "unknown_import.wasm";
    /// A core module instead of a component.
    core_module = "bytes-core-module.wasm";
    /// A component that exports nothing.
    no_exports = "bytes-no-exports.wasm";
    /// A component whose `handle` has another type.
    wrong_handler = "bytes-wrong-handler.wasm";
    /// The smallest component that traps while it is instantiated; exports nothing.
    small_start_trap = "bytes-start-trap.wasm";
    /// The smallest component with an unknown import; exports nothing.
    small_unknown_import = "bytes-unknown-import.wasm";
    /// A component with nine memories of 1 MiB.
    many_memories = "bytes-many-memories.wasm";
    /// The first half of a component.
    truncated = "bytes-truncated.wasm";
    /// Text that is no WebAssembly in any form.
    not_wasm = "not-wasm.txt";
}

#[cfg(test)]
mod tests;
