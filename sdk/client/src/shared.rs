//! What callers and the driver share: the queue, the requests, room in the queue, and the bells that wake each other.
//!
//! Locks are held for a few instructions and never across a wait. It does not know the connection.
//!
//! The invariant: room taken for an event is given back exactly once, when its batch leaves the queue.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bugle_wire::Code;
use tokio::sync::{Notify, Semaphore};

use crate::counters::LiveCounters;
use crate::queue::Queue;
use crate::requests::Requests;
use crate::stream::Settled;

#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    requests: Mutex<Requests>,
    /// Room for events in flight; see [`Shared::permits_of`].
    pub(crate) room: Semaphore,
    room_total: usize,
    event_permits_min: usize,
    /// One bell per publish stream.
    pub(crate) writers: Vec<Notify>,
    /// Rings when a question waits.
    pub(crate) control: Notify,
    /// Rings when the queue has become empty while closing.
    pub(crate) emptied: Notify,
    /// Rings when the driver must stop.
    pub(crate) stop: Notify,
    pub(crate) counters: LiveCounters,
    end: OnceLock<(Code, String)>,
}

impl Shared {
    pub(crate) fn new(stream_count: u32, in_flight_bytes: usize, in_flight_events: usize) -> Self {
        let room_total = in_flight_bytes.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            queue: Mutex::new(Queue::new(stream_count)),
            requests: Mutex::default(),
            room: Semaphore::new(room_total),
            room_total,
            event_permits_min: room_total / in_flight_events.max(1),
            writers: (0..stream_count).map(|_| Notify::new()).collect(),
            control: Notify::new(),
            emptied: Notify::new(),
            stop: Notify::new(),
            counters: LiveCounters::default(),
            end: OnceLock::new(),
        }
    }

    /// Room an event takes: its bytes, and at least its share of the event bound, so that one semaphore keeps both
    /// bounds. An event larger than the whole bound travels alone.
    pub(crate) fn permits_of(&self, event_bytes: usize) -> u32 {
        let permits = event_bytes.max(self.event_permits_min).clamp(1, self.room_total);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells callers what became of their batches and gives the room back. Called without the queue's lock.
    pub(crate) fn settle(&self, settled: Vec<Settled>) {
        if settled.is_empty() {
            return;
        }
        let mut permits = 0;
        for settled in settled {
            self.counters.resolved(&settled.resolution, settled.event_count);
            permits += settled.permits;
            settled.batch.resolve(settled.resolution);
        }
        self.room.add_permits(permits);
        let queue = self.queue();
        if queue.is_closing() && queue.is_empty() {
            drop(queue);
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn wake_writers(&self) {
        self.writers.iter().for_each(Notify::notify_one);
    }

    /// Resolves what is past its deadline and says when to look again.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut settled = Vec::new();
        let mut queue = self.queue();
        queue.expire(now, &mut settled);
        let next = queue.next_deadline();
        drop(queue);
        self.settle(settled);
        next
    }

    /// Ends the client: everything waiting is resolved and nothing is taken any more. The first reason stays.
    pub(crate) fn end(&self, code: Code, detail: &str) {
        let (code, detail) = self.end.get_or_init(|| (code, detail.to_owned()));
        self.room.close();
        let mut settled = Vec::new();
        self.queue().end(*code, detail, &mut settled);
        self.settle(settled);
        self.requests().end();
        self.emptied.notify_waiters();
    }

    /// Why nothing is taken any more, if so.
    pub(crate) fn ended(&self) -> Option<(Code, &str)> {
        self.end.get().map(|(code, detail)| (*code, detail.as_str()))
    }
}
