//! All publish streams of a client: which stream an event goes to, and what each stream writes next.
//!
//! Sans-IO, like [`Stream`]. It does not know the connection; a session asks it for frames and tells it receipts.
//!
//! The invariant: an ordering key always goes to the same stream, so its events keep their order.

use std::sync::Arc;
use std::time::Instant;

use bugle_wire::schema::{Receipts, Welcome};
use bugle_wire::{Code, limits};
use bytes::Bytes;

use crate::batch::Batch;
use crate::event::Event;
use crate::stream::{Outgoing, Settled, Stream, StreamError};

#[derive(Debug)]
pub(crate) struct Queue {
    streams: Vec<Stream>,
    epoch: Option<u64>,
    /// Identity of the store the epoch counts in.
    incarnation: Bytes,
    credit_bytes: usize,
    is_connected: bool,
    is_draining: bool,
    is_closing: bool,
}

/// Where an event was put, and whether the stream's writer has something to do.
pub(crate) struct Placed {
    pub(crate) batch: Arc<Batch>,
    pub(crate) index: u32,
    pub(crate) stream: usize,
    pub(crate) wants_write: bool,
}

/// A place in the order of a stream that is not a batch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: usize,
    pub(crate) after_batch: u64,
}

impl Queue {
    pub(crate) fn new(stream_count: u32) -> Self {
        Self {
            streams: (1..=stream_count).map(Stream::new).collect(),
            epoch: None,
            incarnation: Bytes::new(),
            credit_bytes: limits::CREDIT_BYTES,
            is_connected: false,
            is_draining: false,
            is_closing: false,
        }
    }

    pub(crate) fn append(
        &mut self,
        topic: &str,
        event: &Event,
        permits: usize,
        deadline: impl FnOnce() -> Instant,
    ) -> Placed {
        let at = self.stream_of(event);
        let stream = self.streams.get_mut(at).expect("a hash modulo the number of streams");
        let (batch, index) = stream.append(topic, event.bytes(), permits, deadline);
        let wants_write = self.is_connected && !self.is_draining && stream.wants_write();
        Placed { batch, index, stream: at, wants_write }
    }

    /// Index of the stream of an event's key; events without key use the first.
    pub(crate) fn stream_of(&self, event: &Event) -> usize {
        let count = self.streams.len() as u64;
        event.key_hash().and_then(|hash| usize::try_from(hash % count).ok()).unwrap_or(0)
    }

    /// Where an event given up now has its place: its publish stream, and the last batch before it.
    pub(crate) fn place_of(&self, event: &Event) -> Place {
        let at = self.stream_of(event);
        let after_batch = self.streams.get(at).map_or(0, Stream::queued_through);
        Place { stream: at, after_batch }
    }

    /// Every batch of the stream up to this one was written.
    pub(crate) fn written_through(&self, stream: usize) -> u64 {
        self.streams.get(stream).map_or(0, Stream::written_through)
    }

    pub(crate) fn next_frame(&mut self, stream: usize) -> Option<Outgoing> {
        if self.is_draining {
            return None;
        }
        let credit_bytes = self.credit_bytes / self.streams.len();
        self.streams.get_mut(stream)?.next_frame(credit_bytes, self.is_closing)
    }

    pub(crate) fn apply(&mut self, receipts: Receipts, settled: &mut Vec<Settled>) -> Result<(), StreamError> {
        for receipt in receipts.receipts {
            let number = receipt.stream;
            let at = (number as usize).wrapping_sub(1);
            let stream = self.streams.get_mut(at).ok_or(StreamError::Receipt { stream: number })?;
            settled.extend(stream.apply(receipt)?);
        }
        Ok(())
    }

    /// Before a session is asked for: the epoch to resume, or `None` when the host's count can't be relied on any more
    /// and only event ids can tell what is stored.
    pub(crate) fn prepare_session(&mut self, settled: &mut Vec<Settled>) -> Option<u64> {
        self.is_connected = false;
        for stream in &mut self.streams {
            stream.drop_expired(settled);
        }
        self.epoch.filter(|_| !self.streams.iter().any(Stream::needs_new_epoch))
    }

    /// A session begins. Returns whether the host's store has another history than before, so that what it confirmed earlier
    /// may be missing there; what is in flight is then found by its ids only.
    pub(crate) fn begin_session(&mut self, welcome: &Welcome, credit_bytes: usize) -> bool {
        let (epoch, decided) = (welcome.epoch, &welcome.streams);
        let is_restored = self.epoch.is_some() && self.incarnation != welcome.incarnation;
        let is_new_epoch = self.epoch != Some(epoch) || is_restored;
        self.incarnation = welcome.incarnation.clone();
        for (stream, number) in self.streams.iter_mut().zip(1..) {
            if is_new_epoch {
                stream.forget_numbers();
            }
            let last = decided.iter().find(|position| position.stream == number);
            stream.begin_session(last.map_or(0, |position| position.sequence));
        }
        self.epoch = Some(epoch);
        self.credit_bytes = credit_bytes;
        self.is_connected = true;
        self.is_draining = false;
        is_restored
    }

    /// Stops writing, because the host goes away.
    pub(crate) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether a draining session has nothing to wait for.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_draining && !self.streams.iter().any(Stream::has_sent)
    }

    /// From now on waiting batches are written without waiting for company.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.iter().all(Stream::is_empty)
    }

    pub(crate) fn expire(&mut self, now: Instant, settled: &mut Vec<Settled>) {
        for stream in &mut self.streams {
            stream.expire(now, settled);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::next_deadline).min()
    }

    pub(crate) fn end(&mut self, code: Code, detail: &str, settled: &mut Vec<Settled>) {
        self.is_closing = true;
        for stream in &mut self.streams {
            stream.end(code, detail, settled);
        }
    }
}
