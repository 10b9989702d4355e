//! The client handle: what applications call.
//!
//! Puts events into the queue and awaits answers; everything that touches the connection is the driver's. Clones share
//! one connection. Calls in the order they must be made: [`Client::builder`], `connect`, then [`Client::publish`],
//! [`Client::publish_many`] or [`Client::send`] as often as wanted, [`Client::close`].
//!
//! The invariant: an event is in the queue, with its place in the order, when `send` returns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bugle_wire::schema::{QueryResult, QueryStatus};
use bugle_wire::{Code, Position, limits};
use quinn::Endpoint;
use tokio::sync::{TryAcquireError, oneshot};
use tokio::task::JoinHandle;

use crate::batch::PendingReceipt;
use crate::builder::ClientBuilder;
use crate::connect::Target;
use crate::counters::Counters;
use crate::driver::Driver;
use crate::event::Event;
use crate::outcome::{Outcome, Stored};
use crate::session::Session;
use crate::shared::Shared;

/// A producer connected to a host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Stops the driver when the last clone is gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    publish_timeout: Duration,
    driver: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
    }
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The host can't answer it.
    #[error("the host did not answer: {code}: {detail}")]
    Refused {
        /// Why.
        code: Code,
        /// For people.
        detail: String,
    },
    /// No answer within the publish timeout, or the client is closed.
    #[error("no answer came in time; the host may be away, try again")]
    NoAnswer,
    /// Too many questions wait.
    #[error("too many questions are waiting for an answer; ask fewer at once")]
    TooMany,
}

impl Client {
    /// Starts the settings of a client for the host at `address`, as `host:port`.
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder::new(address)
    }

    pub(crate) fn start(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        target: Target,
        session: Session,
        publish_timeout: Duration,
    ) -> Self {
        let driver = Driver { shared: shared.clone(), endpoint, target, publish_timeout };
        let driver = Mutex::new(Some(tokio::spawn(driver.run(session))));
        Self { handle: Arc::new(Handle { shared, publish_timeout, driver }) }
    }

    /// Publishes one event and awaits its outcome.
    pub async fn publish(&self, topic: &str, event: Event) -> Outcome {
        self.send(topic, event).await.await
    }

    /// Publishes events in order and awaits all outcomes, which come in the same order.
    pub async fn publish_many(&self, topic: &str, events: impl IntoIterator<Item = Event>) -> Vec<Outcome> {
        let mut pending = Vec::new();
        for event in events {
            pending.push(self.send(topic, event).await);
        }
        let mut outcomes = Vec::with_capacity(pending.len());
        for receipt in pending {
            outcomes.push(receipt.await);
        }
        outcomes
    }

    /// Puts an event into the queue and returns its receipt to come. Waits only while the bounds of what is in flight
    /// are reached. Events with the same key are stored in the order of these calls.
    ///
    /// Dropping the returned future of this call before it is ready may or may not leave the event out; dropping the
    /// [`PendingReceipt`] leaves it in.
    pub async fn send(&self, topic: &str, event: Event) -> PendingReceipt {
        if !(1..=limits::TOPIC_BYTES_MAX).contains(&topic.len()) {
            return refused(Code::INVALID, "a topic's name has 1 to 255 bytes");
        }
        let shared = &self.handle.shared;
        let permits = shared.permits_of(event.bytes().len());
        match shared.room.try_acquire_many(permits) {
            Ok(room) => room.forget(),
            Err(TryAcquireError::Closed) => return self.ended(),
            Err(TryAcquireError::NoPermits) => {
                let acquired =
                    tokio::time::timeout(self.handle.publish_timeout, shared.room.acquire_many(permits)).await;
                match acquired {
                    Ok(Ok(room)) => room.forget(),
                    Ok(Err(_)) => return self.ended(),
                    Err(_) => {
                        return refused(Code::UNAVAILABLE, "too much is in flight and nothing was confirmed; not sent");
                    }
                }
            }
        }
        self.enqueue(topic, &event, permits as usize)
    }

    fn enqueue(&self, topic: &str, event: &Event, permits: usize) -> PendingReceipt {
        let shared = &self.handle.shared;
        let mut queue = shared.queue();
        if queue.is_closing() {
            drop(queue);
            shared.room.add_permits(permits);
            return self.ended();
        }
        let placed = queue.append(topic, event, permits, || Instant::now() + self.handle.publish_timeout);
        drop(queue);
        if placed.wants_write
            && let Some(writer) = shared.writers.get(placed.stream)
        {
            writer.notify_one();
        }
        PendingReceipt::in_batch(placed.batch, placed.index)
    }

    fn ended(&self) -> PendingReceipt {
        match self.handle.shared.ended() {
            Some((code, detail)) => refused(code, detail),
            None => refused(Code::UNAVAILABLE, "the client is closing"),
        }
    }

    /// Asks whether an event with this source and id is stored in a topic.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query(&self, topic: &str, source: &str, id: &str) -> Result<Stored, QueryError> {
        let shared = &self.handle.shared;
        let answer = shared.requests().query(topic, source, id);
        shared.control.notify_one();
        let result = self.answer(answer).await?;
        stored(result)
    }

    /// Gives up an event that was refused, so that later events of its key are accepted again; the alternative is to
    /// publish it again, which must be the same event or one with the same source and id. Returns once the host has
    /// taken it.
    ///
    /// It takes its place in the order of the calls: events of the key that were sent before it are still refused.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn abandon(&self, topic: &str, event: &Event) -> Result<(), QueryError> {
        let shared = &self.handle.shared;
        let view = event.view();
        let place = shared.queue().place_of(event);
        let answer = shared.requests().abandon(place, topic, view.source, view.id);
        if let Some(writer) = shared.writers.get(place.stream) {
            writer.notify_one();
        }
        self.answer(answer).await
    }

    async fn answer<A>(&self, answer: Option<oneshot::Receiver<A>>) -> Result<A, QueryError> {
        let answer = answer.ok_or_else(|| match self.handle.shared.ended() {
            Some(_) => QueryError::NoAnswer,
            None => QueryError::TooMany,
        })?;
        let answer = tokio::time::timeout(self.handle.publish_timeout, answer).await;
        answer.map_err(|_| QueryError::NoAnswer)?.map_err(|_| QueryError::NoAnswer)
    }

    /// What this client did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.handle.shared.counters.read()
    }

    /// Sends what is queued, awaits the receipts until their deadlines, and closes the connection. Events sent after
    /// this began are refused.
    pub async fn close(&self) {
        let shared = &self.handle.shared;
        let emptied = shared.emptied.notified();
        tokio::pin!(emptied);
        emptied.as_mut().enable();
        let is_empty = {
            let mut queue = shared.queue();
            queue.close();
            queue.is_empty()
        };
        shared.wake_writers();
        if !is_empty {
            // Every batch is resolved at its deadline; those in doubt keep their place and would hold this up.
            let _ = tokio::time::timeout(self.handle.publish_timeout, emptied).await;
        }
        shared.stop.notify_one();
        let driver = self.handle.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(driver) = driver {
            // A panic in the driver was already reported by the runtime.
            let _ = driver.await;
        }
    }
}

fn refused(code: Code, detail: &str) -> PendingReceipt {
    PendingReceipt::known(Outcome::Refused { code, retry_after: None, detail: detail.to_owned() })
}

fn stored(result: QueryResult) -> Result<Stored, QueryError> {
    let status = result.status();
    match (result.refused, status) {
        (Some(refusal), _) => Err(QueryError::Refused { code: refusal.typed_code(), detail: refusal.detail }),
        (None, QueryStatus::Stored) => Ok(Stored::At(Position { slot: result.slot, offset: result.offset })),
        (None, QueryStatus::NotInWindow) => Ok(Stored::NotInWindow),
        (None, QueryStatus::Unspecified) => Err(QueryError::NoAnswer),
    }
}
