//! Acks every event without a look at it, several per call: the floor of what an event costs in a batch.
//!
//! It calls nothing of the host, so whatever a measurement shows is the host's own.

#![forbid(unsafe_code)]

use bugle_plugin::prelude::*;

#[batch_channel]
fn noop(batch: &[Delivery<()>]) -> Vec<Outcome> {
    batch.iter().map(|_| Ok(())).collect()
}
