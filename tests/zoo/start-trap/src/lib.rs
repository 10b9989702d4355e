//! A channel whose module traps while it is instantiated, before any export can be called.
//!
//! Everything else about it is right, so nothing but a trial instantiation finds it.

use bugle_plugin::prelude::*;

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "a constructor is the only code that runs at instantiation")]
#[unsafe(link_section = ".init_array")]
#[used]
static AT_START: extern "C" fn() = trap;

#[cfg(target_arch = "wasm32")]
extern "C" fn trap() {
    std::process::abort();
}

#[channel]
fn start_trap(_: &Cx, _: Event<()>) -> Outcome {
    Ok(())
}
