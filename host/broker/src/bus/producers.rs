//! What the door to the producers asks: sessions, publishing, what became of an id.
//!
//! Invariant: batches of one session are stored in the order of their `publish` calls, if the caller awaits them in order.

use std::sync::Arc;

use bugle_core::ids::{Name, SessionId};
use bugle_core::publish::{Abandon, IdState, OpenSession, Opened, PublishBatch};
use tokio::sync::oneshot;

use super::Bus;
use crate::queue::{Item, ResultSink, Stopped};

impl Bus {
    /// A producer presents itself.
    pub async fn open_session(&self, open: OpenSession) -> Result<Opened, Stopped> {
        let (reply, opened) = oneshot::channel();
        self.inside.shared.queue.push(Item::Open(open, reply))?;
        opened.await.map_err(|_| Stopped)
    }

    /// A connection ended. Batches already taken are still stored.
    pub fn close_session(&self, session: SessionId) {
        // A stopped bus has no sessions.
        let _ = self.inside.shared.queue.push(Item::Close(session));
    }

    /// Takes a batch; its result goes to the sink after the commit. Waits for byte credit: the caller reads no further frame
    /// meanwhile, which is the producer's back-pressure. An error means unknown, as does a sink that never hears.
    pub async fn publish(&self, batch: PublishBatch, sink: Arc<dyn ResultSink>) -> Result<(), Stopped> {
        self.inside.shared.queue.publish(batch, sink).await
    }

    /// A producer gives up a refused event, so that later events of its key are taken again.
    pub fn abandon(&self, abandon: Abandon) {
        // A stopped bus has no sessions.
        let _ = self.inside.shared.queue.push(Item::Abandon(abandon));
    }

    /// What is known of an event id; `None` if there is no such topic.
    pub async fn query(&self, topic: Name, source: String, id: String) -> Result<Option<IdState>, Stopped> {
        let (reply, state) = oneshot::channel();
        self.inside.shared.queue.push(Item::Query { topic, source, id, reply })?;
        state.await.map_err(|_| Stopped)
    }
}
