//! Where host calls go: to the imports on `wasm32`, to the mock elsewhere.
//!
//! Both sides have the same modules and signatures (those of the generated bindings), so no other
//! file of the SDK needs to know on which target it runs.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::mock::imports::{
    ack, config, dedup, http, kv, log, mail, ordering, publish, records, secrets, timers,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use crate::raw::bugle::plugin::{
    ack, config, dedup, http, kv, log, mail, ordering, publish, records, secrets, timers,
};

pub(crate) use crate::raw::bugle::plugin as wit;
use std::time::Duration;

/// Wall time in milliseconds since 1970; virtual in the mock.
#[cfg(target_arch = "wasm32")]
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, millis)
}

/// Wall time in milliseconds since 1970; virtual in the mock.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn now() -> u64 {
    crate::mock::imports::now()
}

/// A duration in the contract's unit. Longer than 584 million years saturates.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
