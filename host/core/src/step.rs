//! What a machine wants done: rows to write and, after they are durable, actions to run.
//!
//! Invariant: a driver commits the writes first and runs the actions only after the commit was synced. `immediate` holds the
//! actions that no write of the step explains (the first attempt on a fresh event); they need not wait for the disk.

mod catalog;
mod write;

use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::{Attempt, KeyGeneration, Offset, Position, Ticket};
use crate::time::{Millis, Timestamp};
pub use catalog::CatalogKind;

pub use write::Write;

/// What the driver of a subscription does for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read events of the log from here on and hand them in as `Input::Events`, with this `from`, as soon as there is at least one
    /// offset to tell of. It replaces an earlier read that was not answered yet.
    Read {
        /// First wanted offset.
        from: Offset,
        /// At most this many events.
        events_max: u32,
    },
    /// Call the plugin for this delivery. If its event cannot be had, say so with `Input::Fetched` and no event.
    Invoke(Invocation),
    /// Read the row of this waiting delivery and its event, and hand both in as `Input::Loaded`.
    Load(Load),
    /// Get the event of this delivery and hand it in as `Input::Fetched`; call no plugin. The machine then disposes of the
    /// delivery with the event in hand.
    Fetch(Invocation),
    /// The lease ran out: stop the call if it still runs; its end will be ignored.
    Cancel {
        /// The lapsed lease.
        ticket: Ticket,
    },
    /// Say to operators that a key waits, and until when.
    Stuck {
        /// Its event.
        position: Position,
        /// How it is stuck.
        how: Stuck,
    },
    /// Show these rows to the machine, oldest place first, until it says that it is enough.
    Trim(Kept),
    /// Say to operators that the subscription paused.
    Paused {
        /// Why.
        reason: String,
    },
    /// The backlog is over its cap, or no more: publishing to the subscription's topics is refused meanwhile.
    BacklogFull {
        /// Over it.
        is_full: bool,
    },
    /// Say to operators that the oldest of the backlog expired.
    Expired {
        /// How many offsets.
        events: u64,
        /// All of them below this one.
        below: Offset,
    },
}

/// Rows that are kept for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Dead letters.
    Dead,
    /// Unknown results.
    Unknown,
}

/// How a key is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Its head used up its attempts and goes on being tried.
    Blocked,
    /// Its head waits for a person.
    Parked,
}

/// One attempt to start, or one delivery whose event is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The lease.
    pub ticket: Ticket,
    /// Which event; the driver has it from the read that brought it, or reads it again.
    pub position: Position,
    /// Which try.
    pub attempt: Attempt,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// How much lease it has.
    pub lease: Millis,
    /// The plugin broke in the attempt before: run this one on an instance that has run nothing else.
    pub wants_fresh: bool,
    /// The call of the plugin that it may share with others.
    pub batch: Option<Batch>,
    /// Set for a delivery that a person had tried again in its place: its event is that of its dead letter, and its idempotency
    /// key has this generation.
    pub letter: Option<KeyGeneration>,
    /// Set if the plugin is to be asked about a claim that was left uncertain, before it is given: how the attempt before ended, as
    /// far as that is known.
    pub asks: Option<String>,
}

/// A place in a call that several deliveries share. A driver hands those with the same `first` that it has at the same time to the
/// plugin together; it need not wait for the others, and may make several calls of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Ticket of the first of them.
    pub first: Ticket,
    /// How many came before this one.
    pub place: u32,
}

/// Number of a load, for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadNumber(pub u64);

/// One waiting delivery to bring back from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// To be told with the answer.
    pub number: LoadNumber,
    /// Which event.
    pub position: Position,
}

/// The result of one or several inputs to a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Rows of one atomic batch.
    pub writes: Vec<Write>,
    /// Run after the writes are durable.
    pub actions: Vec<Action>,
    /// Run at once: no write of this step explains them.
    pub immediate: Vec<Action>,
}

impl Step {
    /// Nothing to write and nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.actions.is_empty() && self.immediate.is_empty()
    }
}
