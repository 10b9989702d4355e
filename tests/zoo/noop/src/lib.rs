//! Acks every event without a look at it: the floor of what a call costs.
//!
//! It calls nothing of the host, so whatever a measurement shows is the host's own.

#![forbid(unsafe_code)]

use bugle_plugin::prelude::*;

#[channel]
fn noop(_: &Cx, _: Event<()>) -> Outcome {
    Ok(())
}
