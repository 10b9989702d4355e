//! Plain counters of what the client did, for the caller's own metrics.
//!
//! Counted per batch, not per event, so that counting costs nothing that shows. They only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::Resolution;

/// A reading of the counters of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events confirmed as new.
    pub confirmed: u64,
    /// Events confirmed as stored before.
    pub duplicates: u64,
    /// Events refused.
    pub refused: u64,
    /// Events whose deadline passed in doubt.
    pub unknown: u64,
    /// Publish frames written, those sent again included.
    pub frames: u64,
    /// Publish frames written again after a reconnect or a gap.
    pub frames_again: u64,
    /// Bytes of publish frames written.
    pub frame_bytes: u64,
    /// Sessions begun; the first one counts.
    pub sessions: u64,
    /// Sessions whose host had another store than the one before: restored from a backup, or made anew. Events confirmed
    /// after the backup are missing there; publish them again with their ids, those that are stored are told as duplicates.
    pub restores: u64,
}

#[derive(Debug, Default)]
pub(crate) struct LiveCounters {
    confirmed: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    frames: AtomicU64,
    frames_again: AtomicU64,
    frame_bytes: AtomicU64,
    sessions: AtomicU64,
    restores: AtomicU64,
}

impl LiveCounters {
    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            confirmed: read(&self.confirmed),
            duplicates: read(&self.duplicates),
            refused: read(&self.refused),
            unknown: read(&self.unknown),
            frames: read(&self.frames),
            frames_again: read(&self.frames_again),
            frame_bytes: read(&self.frame_bytes),
            sessions: read(&self.sessions),
            restores: read(&self.restores),
        }
    }

    pub(crate) fn session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn restored(&self) {
        self.restores.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn frame(&self, bytes: usize, retry: bool) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.frames_again.fetch_add(u64::from(retry), Ordering::Relaxed);
        self.frame_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn resolved(&self, resolution: &Resolution, event_count: usize) {
        let add = |counter: &AtomicU64, count: usize| counter.fetch_add(count as u64, Ordering::Relaxed);
        if event_count == 0 {
            return;
        }
        match resolution {
            Resolution::Decided(decided) => {
                let (duplicates, refused) = (decided.duplicate_count(), decided.refusal_count());
                add(&self.duplicates, duplicates);
                add(&self.refused, refused);
                add(&self.confirmed, event_count.saturating_sub(duplicates + refused));
            }
            Resolution::Refused { .. } => drop(add(&self.refused, event_count)),
            Resolution::Unknown => drop(add(&self.unknown, event_count)),
        }
    }
}
