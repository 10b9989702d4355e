//! The async shell of the bus: the committer's thread, the tail ring, one worker per subscription, calls, and the handle to it
//! all. It drives the machines of `bugle-core` over `bugle-store` and decides nothing.
//!
//! Knows nothing of QUIC, WebAssembly, HTTP or the encoding of events; the server plugs those in through [`Invoke`],
//! [`ResultSink`] and [`EncodeEvent`].
//!
//! Invariant: nobody outside hears of anything before the write that explains it is durable.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

mod backlogs;
mod blocking;
mod bus;
mod call;
mod clock;
mod committer;
mod counters;
mod disk;
mod histogram;
mod idempotency;
mod invoke;
mod late;
mod queue;
mod reads;
mod releaser;
mod retention;
mod ring;
mod shared;
mod sweep;
#[cfg(test)]
mod testing;
mod topics;
mod upkeep;
mod worker;

pub use bus::{
    Applied, ApplySubscription, Bus, CallbackError, CancelError, CancelWhat, ChangeLettersError, Changed, ClaimFact,
    Count, CreateTopicError, Definition, DeleteTopicError, Ending, EraseError, Explanation, Heard, HoldLettersError,
    KvSwap, KvWriteError, LETTERS_PAGE_MAX, Letters, Lookup, Options, Parts, RetentionError, ScheduledPage, StartAt,
    StartError, SubscriptionError, SubscriptionStatus, Throughput, TopicRow,
};
pub use call::Call;
pub use counters::{CommitCounters, Counter};
pub use histogram::Counted;
pub use invoke::{EncodeEvent, FollowUp, HOPS_ATTRIBUTE, Invoke, StampEvent};
pub use queue::{PUBLISH_BYTES_MAX, ResultSink, Stopped};
pub use reads::ReadError;
pub use retention::{Pinned, Retentions};
pub use worker::Pace;
