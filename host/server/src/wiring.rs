//! The seams: each edge defines a small trait for what it needs, and here the traits meet the broker.
//!
//! Nothing is decided here; every method hands on and, where it costs nothing, counts ([`Tally`]).
//!
//! Invariant: this is the only file in which two edges are named together.

use std::sync::Arc;

use bugle_broker::{Bus, Call, Invoke, ResultSink};
use bugle_core::delivery::{CallEnd, Delivery, Settles};
use bugle_core::ids::{Name, Revision, SessionId};
use bugle_core::import::{Import, ImportResult};
use bugle_core::publish::{Abandon, BatchResult, IdState, OpenSession, Opened, PublishBatch};
use bugle_core::time::Timestamp;
use bugle_ingress::{Publish, Results, Stopped};
use bugle_sandbox::{HostCalls, Sandbox};

use crate::tally::Tally;

/// The bus as the door for producers sees it.
#[derive(Clone)]
pub struct Door(pub Bus);

/// One session's results, as the committer sees them.
struct Session(Arc<Results>);

impl ResultSink for Session {
    fn deliver(&self, results: Vec<BatchResult>) {
        self.0.deliver(results);
    }
}

fn stopped(_: bugle_broker::Stopped) -> Stopped {
    Stopped
}

impl Publish for Door {
    type Sink = Arc<dyn ResultSink>;

    fn sink(&self, results: Arc<Results>) -> Self::Sink {
        Arc::new(Session(results))
    }

    async fn open(&self, open: OpenSession) -> Result<Opened, Stopped> {
        self.0.open_session(open).await.map_err(stopped)
    }

    async fn publish(&self, batch: PublishBatch, sink: &Self::Sink) -> Result<(), Stopped> {
        self.0.publish(batch, Arc::clone(sink)).await.map_err(stopped)
    }

    async fn query(&self, topic: Name, source: String, id: String) -> Result<Option<IdState>, Stopped> {
        self.0.query(topic, source, id).await.map_err(stopped)
    }

    fn abandon(&self, abandon: Abandon) {
        self.0.abandon(abandon);
    }

    fn close(&self, session: SessionId) {
        self.0.close_session(session);
    }
}

/// One call of a plugin, as the sandbox sees it.
pub struct PluginCall {
    call: Call,
    subscription: Name,
    plugin: Name,
    tally: Arc<Tally>,
}

impl HostCalls for PluginCall {
    fn delivery(&self) -> &Delivery {
        self.call.delivery()
    }

    fn topic(&self) -> Name {
        self.call.topic()
    }

    fn now(&self) -> Timestamp {
        self.call.now()
    }

    fn timer(&self) -> Option<&str> {
        self.call.timer()
    }

    fn runs_on(&mut self, revision: Revision, settles: Settles) {
        self.call.runs_on(revision, settles);
    }

    fn is_settled(&self) -> bool {
        self.call.is_settled()
    }

    async fn import(&mut self, import: Import) -> ImportResult {
        let answer = self.call.import(import).await;
        self.tally.import(&self.subscription, &answer);
        answer
    }

    fn finish(self, end: CallEnd) {
        self.tally.end(&self.plugin, &end);
        self.call.finish(end);
    }

    fn finish_all(ended: impl Iterator<Item = (Self, CallEnd)>) {
        // One call of the plugin, however many shared it.
        let mut is_counted = false;
        Call::finish_all(ended.map(|(this, end)| {
            if !std::mem::replace(&mut is_counted, true) {
                this.tally.end(&this.plugin, &end);
            }
            (this.call, end)
        }));
    }
}

/// The sandbox, as the broker sees it.
pub struct Runner {
    /// Runs the calls.
    pub sandbox: Sandbox<PluginCall>,
    /// Counts on the way.
    pub tally: Arc<Tally>,
}

impl Invoke for Runner {
    fn invoke(&self, subscription: &Name, plugin: &Name, calls: Vec<Call>) {
        let wrap = |call| PluginCall {
            call,
            subscription: subscription.clone(),
            plugin: plugin.clone(),
            tally: Arc::clone(&self.tally),
        };
        self.sandbox.run(subscription, calls.into_iter().map(wrap).collect());
    }
}
