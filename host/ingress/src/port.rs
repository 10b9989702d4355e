//! What the listener asks of the host. Implemented where the host is wired together, and by a script in tests.
//!
//! Knows the core's types and nothing of how a batch is stored.
//!
//! The invariant an implementation must keep: batches of one publish stream are decided in the order of the calls, and
//! each batch that was taken gets exactly one result, after the commit that makes it true, or none if the host stops.

use std::sync::Arc;

use bugle_core::ids::{Name, SessionId};
use bugle_core::publish::{Abandon, IdState, OpenSession, Opened, PublishBatch};

use crate::results::Results;

/// The host has stopped taking anything; what was on the way is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has stopped; what was on the way is unknown")]
pub struct Stopped;

/// The host behind the door.
pub trait Publish: Clone + Send + Sync + 'static {
    /// Where the results of one session go, in the form the host wants; made once per session.
    type Sink: Clone + Send + Sync + 'static;

    /// Wraps a session's results.
    fn sink(&self, results: Arc<Results>) -> Self::Sink;

    /// A producer presents itself.
    fn open(&self, open: OpenSession) -> impl Future<Output = Result<Opened, Stopped>> + Send;

    /// Hands a batch over. While this waits, the session is not read, which is the producer's back-pressure.
    fn publish(&self, batch: PublishBatch, sink: &Self::Sink) -> impl Future<Output = Result<(), Stopped>> + Send;

    /// What is known of an event id; `None` if there is no such topic.
    fn query(
        &self,
        topic: Name,
        source: String,
        id: String,
    ) -> impl Future<Output = Result<Option<IdState>, Stopped>> + Send;

    /// A producer gives up a refused event. Takes its place in the order of the session's batches.
    fn abandon(&self, abandon: Abandon);

    /// The session ended. Called once for each session that was opened.
    fn close(&self, session: SessionId);
}
