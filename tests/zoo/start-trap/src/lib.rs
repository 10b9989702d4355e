//! A channel whose module traps while it is instantiated, before any export can be called.
//!
//! Everything else about it is right, so nothing but a trial instantiation finds it.

use bugle_plugin::prelude::*;

/// What a component runs at instantiation, if a module exports it under this name.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the name must be exactly this one")]
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    std::process::abort();
}

#[channel]
fn start_trap(_: &Cx, _: Event<()>) -> Outcome {
    Ok(())
}
