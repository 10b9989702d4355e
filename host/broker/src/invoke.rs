//! The seam to whatever runs plugins, and the function that gives follow-up events their bytes.
//!
//! The broker knows neither WebAssembly nor the encoding of events; the server plugs both in.

use std::sync::Arc;

use bugle_core::event::Event;
use bugle_core::ids::Name;
use bugle_core::import::NewEvent;
use bugle_core::time::Timestamp;

use crate::call::Call;

/// Runs plugins. Implemented by the server over the sandbox.
pub trait Invoke: Send + Sync + 'static {
    /// Takes calls of one subscription, in the order in which they became ready, and sees that each is finished, or dropped if
    /// it can't be run now. Those that follow each other with the same `batch` may share a call of the plugin. Called on the broker's thread: it must not block, and it may finish calls before it returns.
    fn invoke(&self, subscription: &Name, plugin: &Name, calls: Vec<Call>);
}

pub use bugle_core::origin::HOPS_ATTRIBUTE;

/// A follow-up event to encode.
#[derive(Clone, Copy, Debug)]
pub struct FollowUp<'a> {
    /// What the guest gave; its `id` is set when the event is stored.
    pub event: &'a NewEvent,
    /// Value of [`HOPS_ATTRIBUTE`].
    pub hops: u32,
    /// The subscription it comes from; the encoder makes the CloudEvents `source` from it.
    pub subscription: &'a Name,
    /// CloudEvents `time`.
    pub now: Timestamp,
}

/// Adds text attributes to an event's bytes and index, replacing those of the same names. Only the encoding is its business.
pub type StampEvent = Arc<dyn Fn(&Event, &[(&str, &str)]) -> Event + Send + Sync>;

/// Gives a follow-up event its bytes and index, or says for the guest what is wrong with it.
pub type EncodeEvent = Arc<dyn Fn(FollowUp<'_>) -> Result<Event, String> + Send + Sync>;
