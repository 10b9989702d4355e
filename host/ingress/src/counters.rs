//! Counters of the door, for the host's metrics. They only grow, except the number of open sessions.

use std::sync::atomic::{AtomicU64, Ordering};

/// Live counters, shared by all sessions.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicU64,
    opened: AtomicU64,
    turned_away: AtomicU64,
    broken: AtomicU64,
    frames: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
}

/// One reading of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountersReading {
    /// Sessions open now.
    pub open: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Connections that got no session.
    pub turned_away: u64,
    /// Sessions ended by something the client did wrong.
    pub broken: u64,
    /// Publish frames received.
    pub frames: u64,
    /// Events received, refused ones included.
    pub events: u64,
    /// Bytes of publish frames received.
    pub bytes: u64,
}

impl Counters {
    /// What they show now.
    #[must_use]
    pub fn read(&self) -> CountersReading {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountersReading {
            open: read(&self.open),
            opened: read(&self.opened),
            turned_away: read(&self.turned_away),
            broken: read(&self.broken),
            frames: read(&self.frames),
            events: read(&self.events),
            bytes: read(&self.bytes),
        }
    }

    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn frame(&self, events: usize, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
