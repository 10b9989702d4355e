//! Getting events to the machine: from the ring while it holds them, else from the store by a helper that may block.
//!
//! Invariant: one read is under way at a time, and its answer covers the log without a gap from the asked offset on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, SubscriptionId, Ticket};
use bugle_core::step::Invocation;
use bugle_core::subscription::Input;
use bugle_store::{EventBounds, Store};

use super::payloads::Page;
use super::{Message, Worker};
use crate::ring::{Chunk, Read};

/// Events of one read of the store.
const PAGE_EVENTS_MAX: usize = 4_096;
/// Single events fetched at once.
const FETCH_EVENTS_MAX: usize = 64;

/// The machine's latest read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It was answered.
    Idle,
    /// It waits for events to be committed.
    AtTail { from: Offset, events_max: usize },
    /// It waits for a page of the store.
    Store { from: Offset, events_max: usize },
}

/// What an event is wanted for.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// To call the plugin with it.
    Call(Invocation),
    /// For the machine.
    Event(Invocation),
}

impl Wanted {
    pub(super) fn invocation(&self) -> &Invocation {
        match self {
            Wanted::Call(invocation) | Wanted::Event(invocation) => invocation,
        }
    }
}

impl Worker {
    pub(super) fn read(&mut self, from: Offset, events_max: usize) {
        match self.port.shared.ring.read(from, 1) {
            Read::Hit(chunks) => {
                self.payloads.caught_up(self.floor());
                if let Some(chunk) = chunks.first() {
                    self.feed(chunk, from, events_max, None);
                }
            }
            Read::Behind { ring } => self.read_behind(from, events_max, ring),
            Read::AtTail => {
                self.reading = Reading::AtTail { from, events_max };
                self.port.inbox.wait_at(from);
                // Events may have come in between the look and the wait.
                if from < self.port.shared.ring.end() {
                    self.read_at_tail();
                }
            }
        }
    }

    /// Looks again if the last read found nothing.
    pub(super) fn read_at_tail(&mut self) {
        if let Reading::AtTail { from, events_max } = self.reading
            && from < self.port.shared.ring.end()
        {
            self.reading = Reading::Idle;
            self.read(from, events_max);
        }
    }

    /// Hands events to the machine. `end`: what the read covers, if that is more than its events.
    fn feed(&mut self, chunk: &Chunk, from: Offset, events_max: usize, end: Option<Offset>) {
        self.reading = Reading::Idle;
        let all = chunk.tail(from);
        let events = all.get(..events_max.max(1)).unwrap_or(all);
        let last = events.last().map(|event| event.position.offset.next());
        let next = if events.len() == all.len() { end.or(last) } else { last };
        if let Some(next) = next {
            self.handle(Input::Events { from, events, next });
        }
    }

    /// Reads a page of the window or, if there is none, of the store. `ring`: first offset of the ring.
    fn read_behind(&mut self, from: Offset, events_max: usize, ring: Offset) {
        match self.payloads.page(from).cloned() {
            Some(page) => {
                // The next page is read while this one is worked on.
                if page.next < ring && self.payloads.page(page.next).is_none() {
                    self.read_store(page.next, ring);
                }
                self.feed(&page.chunk, from, events_max, Some(page.next));
            }
            None => {
                self.reading = Reading::Store { from, events_max };
                self.read_store(from, ring);
            }
        }
    }

    fn read_store(&mut self, from: Offset, ring: Offset) {
        if self.paging == Some(from) {
            return;
        }
        self.paging = Some(from);
        self.port.counters.store_reads.add(1);
        let port = Arc::clone(&self.port);
        let page = EventBounds { events_max: PAGE_EVENTS_MAX, bytes_max: self.payloads.page_bytes() };
        let erasures = port.shared.erasures.load(Ordering::Acquire);
        self.tasks.spawn(async move {
            let store = Arc::clone(&port.shared.store);
            let read = port.shared.blocking.run(move || store.events(from, page)).await;
            port.inbox.push(match read {
                Ok(page) => {
                    // Nothing there: the log was trimmed up to the ring.
                    let next = if page.events.is_empty() { ring } else { page.next };
                    Message::Read(Page { from, chunk: Arc::new(Chunk::new(page.events)), next, erasures })
                }
                Err(error) => Message::ReadFailed(error.to_string()),
            });
        });
    }

    pub(super) fn store_read(&mut self, page: Page) {
        if self.paging == Some(page.from) {
            self.paging = None;
        }
        let covers = |offset: Offset| page.from <= offset && offset < page.next;
        let waiting = match self.reading {
            Reading::Store { from, events_max } if covers(from) => Some((from, events_max)),
            Reading::Store { .. } | Reading::AtTail { .. } | Reading::Idle => None,
        };
        // It may hold what was erased since; then it is read again.
        if page.erasures == self.port.shared.erasures.load(Ordering::Acquire) {
            self.payloads.keep(page, self.floor());
        }
        if let Some((from, events_max)) = waiting {
            self.read(from, events_max);
        }
    }

    /// The log could not be read: the subscription must not go on past the place. An operator has to look.
    pub(super) fn read_failed(&mut self, reason: &str) {
        self.paging = None;
        tracing::error!(subscription = %self.port.name, error = reason, "could not read the log; the subscription is paused");
        self.handle(Input::Pause { by: "host".to_owned(), reason: format!("could not read the log: {reason}") });
    }

    /// Has an event fetched; those of a round are fetched together.
    pub(super) fn fetch(&mut self, wanted: Wanted) {
        let invocation = wanted.invocation().clone();
        self.fetching.insert(invocation.ticket, wanted);
        self.unfetched.push(invocation);
    }

    pub(super) fn fetch_all(&mut self) {
        while !self.unfetched.is_empty() {
            let many = self.unfetched.len().min(FETCH_EVENTS_MAX);
            let wanted: Vec<Invocation> = self.unfetched.drain(..many).collect();
            self.port.counters.store_reads.add(1);
            let port = Arc::clone(&self.port);
            let erasures = port.shared.erasures.load(Ordering::Acquire);
            self.tasks.spawn(async move {
                let (store, subscription) = (Arc::clone(&port.shared.store), port.subscription);
                let (wanted, events) = port
                    .shared
                    .blocking
                    .run(move || {
                        let events: Result<Vec<_>, _> =
                            wanted.iter().filter_map(|want| event_of(&store, subscription, want).transpose()).collect();
                        (wanted, events)
                    })
                    .await;
                let tickets = wanted.iter().map(|want| want.ticket).collect();
                port.inbox.push(match events {
                    Ok(events) => Message::Fetched(tickets, events, erasures),
                    Err(error) => Message::FetchFailed(tickets, error.to_string()),
                });
            });
        }
    }

    /// Events came from the store; those that are not there any more pause the subscription.
    pub(super) fn fetched(&mut self, tickets: &[Ticket], events: &[StoredEvent], erasures: u64) {
        let is_stale = erasures != self.port.shared.erasures.load(Ordering::Acquire);
        for ticket in tickets {
            let Some(wanted) = self.fetching.remove(ticket) else {
                continue;
            };
            if !self.machine.is_live(*ticket) || self.draining.is_some() {
                continue;
            }
            if is_stale {
                self.fetch(wanted);
                continue;
            }
            let position = wanted.invocation().position;
            match events.iter().find(|event| event.position == position) {
                Some(event) => self.got(wanted, event.clone()),
                None => self.handle(Input::Fetched { ticket: *ticket, event: None }),
            }
        }
    }

    /// Events could not be read: the subscription is paused, and their deliveries are tried again when it is resumed.
    pub(super) fn fetch_failed(&mut self, tickets: &[Ticket], reason: &str) {
        self.read_failed(reason);
        self.fetched(tickets, &[], self.port.shared.erasures.load(Ordering::Acquire));
    }
}

/// The event of a delivery: from the log, or from the dead letter from which it is tried again.
fn event_of(
    store: &Store,
    subscription: SubscriptionId,
    want: &Invocation,
) -> Result<Option<StoredEvent>, bugle_store::ReadError> {
    match want.letter {
        None => store.event(want.position),
        Some(_) => Ok(store.dead_at(subscription, want.position)?.map(|letter| letter.event)),
    }
}
