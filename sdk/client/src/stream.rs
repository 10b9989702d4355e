//! The queue of one publish stream: batches being filled, batches sent and not yet answered, sequences.
//!
//! Sans-IO: it is told what arrived and asked what to write next; the time is an argument. It does not know the other
//! streams or the connection. A batch is numbered when it is first written, and keeps its number unless the host
//! refuses a batch before it as a whole, which does not use a number up.
//!
//! The invariant: batches of one topic leave in the order in which their events came, and a batch leaves `sent` only
//! with an answer of the host or past its deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_wire::schema;
use bugle_wire::{Code, PublishBody, PublishHead, limits};
use bytes::{Bytes, BytesMut};

use crate::batch::{Batch, Decided, Resolution};

/// A waiting batch of this size is written although receipts are pending: large enough for few packets and commits
/// per event, small enough to overlap with them.
const FLUSH_BYTES: usize = 32 * 1024;

/// A batch takes no more events beyond this size; a larger event travels alone.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Longest head of a publish frame: length, two tags with lengths, three numbers.
const HEAD_BYTES_MAX: usize = 40;

/// A frame to write: head and body.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
    pub(crate) retry: bool,
}

/// A batch that is decided, with what its queue place was worth.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) batch: Arc<Batch>,
    pub(crate) resolution: Resolution,
    pub(crate) event_count: usize,
    pub(crate) permits: usize,
}

/// Why a session can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the host's receipt does not fit what was sent on publish stream {stream}")]
    Receipt { stream: u32 },
    #[error("the host lost count of publish stream {stream}")]
    LostCount { stream: u32 },
}

#[derive(Debug)]
struct Open {
    ordinal: u64,
    topic: Box<str>,
    body: PublishBody,
    batch: Arc<Batch>,
    deadline: Instant,
    permits: usize,
}

#[derive(Debug)]
struct Sent {
    ordinal: u64,
    sequence: u64,
    body: Bytes,
    batch: Arc<Batch>,
    event_count: usize,
    deadline: Instant,
    permits: usize,
    written_before: bool,
    /// Written in an earlier epoch and not answered there, so that a refusal of the whole batch now does not say whether
    /// it was stored then.
    in_doubt: bool,
    /// Answered with `gap`, because of a batch before it; to be numbered anew.
    gap: bool,
    /// Its callers were told `Unknown`; it stays to be recognised.
    expired: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    number: u32,
    last_decided: u64,
    next_sequence: u64,
    /// Batches begun so far; each has its number as ordinal, whatever becomes of its sequence.
    opened: u64,
    open: VecDeque<Open>,
    open_bytes: usize,
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    /// `sent[..written]` were written in this session.
    written: usize,
    receipt_since_flush: bool,
    /// A number before those in `sent` was not used up.
    hole: bool,
}

impl Stream {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            last_decided: 0,
            next_sequence: 1,
            opened: 0,
            open: VecDeque::new(),
            open_bytes: 0,
            sent: VecDeque::new(),
            sent_bytes: 0,
            written: 0,
            receipt_since_flush: false,
            hole: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sent.is_empty()
    }

    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether the host's count of this epoch no longer matches, so that only event ids can tell what is stored.
    pub(crate) fn needs_new_epoch(&self) -> bool {
        self.hole
    }

    /// Adds an event to the last batch of its topic and says which one and where in it. The deadline is that of the
    /// first event of a batch, and asked for only then.
    pub(crate) fn append(
        &mut self,
        topic: &str,
        event: &[u8],
        permits: usize,
        deadline: impl FnOnce() -> Instant,
    ) -> (Arc<Batch>, u32) {
        let cost = PublishBody::event_cost(event.len());
        let open = match self.open.iter().rposition(|open| *open.topic == *topic) {
            Some(at) if self.open.get(at).is_some_and(|open| has_room(open, cost)) => self.open.get_mut(at),
            Some(_) | None => {
                self.open_batch(topic, cost, deadline());
                self.open.back_mut()
            }
        };
        let open = open.expect("an index that was just found, or a batch that was just pushed");
        self.open_bytes += cost;
        open.permits += permits;
        let index = u32::try_from(open.body.push(event)).expect("a batch has at most `BATCH_EVENTS_MAX` events");
        (open.batch.clone(), index)
    }

    fn open_batch(&mut self, topic: &str, cost: usize, deadline: Instant) {
        // An idle stream sends the batch at once; behind others it will fill up.
        let room = if self.is_empty() { cost + topic.len() + 8 } else { FLUSH_BYTES + FLUSH_BYTES / 4 };
        let body = PublishBody::new(topic, room);
        self.open_bytes += body.bytes_len();
        self.opened += 1;
        let (ordinal, topic) = (self.opened, topic.into());
        self.open.push_back(Open { ordinal, topic, body, batch: Arc::default(), deadline, permits: 0 });
    }

    /// The batch with which everything queued so far will have been written.
    pub(crate) fn queued_through(&self) -> u64 {
        self.opened
    }

    /// Every batch up to this one was written in this session, or does not have to be.
    pub(crate) fn written_through(&self) -> u64 {
        let next = self.sent.get(self.written).map(|sent| sent.ordinal);
        let next = next.or_else(|| self.open.front().map(|open| open.ordinal));
        next.map_or(self.opened, |next| next - 1)
    }

    /// Whether a writer that sleeps would find something to write.
    pub(crate) fn wants_write(&self) -> bool {
        self.written < self.sent.len() || self.is_flushable(false)
    }

    fn is_flushable(&self, closing: bool) -> bool {
        let pressed = self.sent.is_empty() || self.receipt_since_flush || self.open_bytes >= FLUSH_BYTES || closing;
        pressed && !self.open.is_empty() && !self.hole
    }

    /// The next frame to write, if any: first what was sent in an earlier session, then a waiting batch.
    pub(crate) fn next_frame(&mut self, credit_bytes: usize, closing: bool) -> Option<Outgoing> {
        if self.written == self.sent.len() {
            let waiting = self.open.front().filter(|_| self.is_flushable(closing))?;
            let in_credit = self.sent_bytes + waiting.body.bytes_len() <= credit_bytes;
            if !self.sent.is_empty() && !in_credit {
                return None;
            }
            let waiting = self.open.pop_front()?;
            self.number_batch(waiting);
        }
        if self.hole {
            return None;
        }
        let sent = self.sent.get_mut(self.written)?;
        self.written += 1;
        let head = PublishHead { stream: self.number, sequence: sent.sequence, retry: sent.written_before };
        sent.written_before = true;
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES_MAX);
        head.encode(sent.body.len(), &mut bytes);
        Some(Outgoing { head: bytes.freeze(), body: sent.body.clone(), retry: head.retry })
    }

    fn number_batch(&mut self, open: Open) {
        self.receipt_since_flush = false;
        let event_count = open.body.event_count();
        let body = open.body.finish();
        self.open_bytes -= body.len();
        self.sent_bytes += body.len();
        self.sent.push_back(Sent {
            ordinal: open.ordinal,
            sequence: self.next_sequence,
            body,
            batch: open.batch,
            event_count,
            deadline: open.deadline,
            permits: open.permits,
            written_before: false,
            in_doubt: false,
            gap: false,
            expired: false,
        });
        self.next_sequence += 1;
    }

    /// Takes the host's answer to one batch.
    pub(crate) fn apply(&mut self, receipt: schema::Receipt) -> Result<Option<Settled>, StreamError> {
        let wrong = StreamError::Receipt { stream: self.number };
        let at = self.sent.iter().take(self.written).position(|sent| sent.sequence == receipt.sequence && !sent.gap);
        let at = at.ok_or(wrong)?;
        self.receipt_since_flush = true;
        let resolution = match &receipt.refused {
            Some(refusal) if refusal.typed_code() == Code::GAP => {
                self.sent.get_mut(at).ok_or(wrong)?.gap = true;
                self.close_hole()?;
                return Ok(None);
            }
            Some(_) if self.sent.get(at).is_some_and(|sent| sent.in_doubt) => {
                self.hole = true;
                Resolution::Unknown
            }
            Some(refusal) => {
                self.hole = true;
                Resolution::Refused {
                    code: refusal.typed_code(),
                    retry_after: refusal.retry_after_ms.map(Duration::from_millis),
                    detail: refusal.detail.clone(),
                }
            }
            None => {
                let event_count = self.sent.get(at).ok_or(wrong)?.event_count;
                self.last_decided = self.last_decided.max(receipt.sequence);
                Resolution::Decided(Decided::new(receipt, event_count).ok_or(wrong)?)
            }
        };
        let settled = self.remove_sent(at, resolution);
        self.written -= 1;
        self.close_hole()?;
        Ok(settled)
    }

    fn remove_sent(&mut self, at: usize, resolution: Resolution) -> Option<Settled> {
        let sent = self.sent.remove(at)?;
        self.sent_bytes -= sent.body.len();
        // The events of an expired batch were counted when it expired.
        let event_count = if sent.expired { 0 } else { sent.event_count };
        Some(Settled { batch: sent.batch, resolution, event_count, permits: sent.permits })
    }

    /// Once everything written has its answer, numbers anew what was refused only because of a number not used up.
    fn close_hole(&mut self) -> Result<(), StreamError> {
        let answered = self.sent.iter().take(self.written).all(|sent| sent.gap);
        if !answered {
            return Ok(());
        }
        if self.hole {
            self.renumber(self.last_decided);
        } else if self.written > 0 {
            return Err(StreamError::LostCount { stream: self.number });
        }
        Ok(())
    }

    /// Begins a session in which the host has decided everything up to `last_decided`.
    pub(crate) fn begin_session(&mut self, last_decided: u64) {
        self.renumber(last_decided);
    }

    fn renumber(&mut self, last_decided: u64) {
        self.last_decided = last_decided;
        self.next_sequence = last_decided + 1;
        for sent in &mut self.sent {
            sent.gap = false;
            if sent.sequence > last_decided {
                sent.sequence = self.next_sequence;
                self.next_sequence += 1;
            }
        }
        self.written = 0;
        self.hole = false;
        self.receipt_since_flush = false;
    }

    /// Before a session in a new epoch, in which no number was used up.
    pub(crate) fn forget_numbers(&mut self) {
        for sent in &mut self.sent {
            sent.sequence = u64::MAX;
            sent.in_doubt = sent.written_before;
        }
    }

    /// Resolves what is past its deadline. A sent batch keeps its place, so that its late answer is recognised.
    pub(crate) fn expire(&mut self, now: Instant, settled: &mut Vec<Settled>) {
        while self.open.front().is_some_and(|open| open.deadline <= now) {
            settled.extend(self.pop_open(Resolution::refused(Code::UNAVAILABLE, NEVER_SENT)));
        }
        for sent in self.sent.iter_mut().take_while(|sent| sent.deadline <= now) {
            if !std::mem::replace(&mut sent.expired, true) {
                let (batch, event_count) = (sent.batch.clone(), sent.event_count);
                settled.push(Settled { batch, resolution: Resolution::Unknown, event_count, permits: 0 });
            }
        }
    }

    /// Before a session is asked for: lets go of expired batches, whose numbers nobody can account for afterwards.
    pub(crate) fn drop_expired(&mut self, settled: &mut Vec<Settled>) {
        while self.sent.front().is_some_and(|sent| sent.expired) {
            self.hole = true;
            settled.extend(self.remove_sent(0, Resolution::Unknown));
        }
    }

    /// Resolves everything, because the client ends: what never left is refused, the rest is unknown.
    pub(crate) fn end(&mut self, code: Code, detail: &str, settled: &mut Vec<Settled>) {
        while let Some(open) = self.pop_open(Resolution::refused(code, detail)) {
            settled.push(open);
        }
        while let Some(sent) = self.remove_sent(0, Resolution::Unknown) {
            settled.push(sent);
        }
        self.written = 0;
    }

    fn pop_open(&mut self, resolution: Resolution) -> Option<Settled> {
        let open = self.open.pop_front()?;
        self.open_bytes -= open.body.bytes_len();
        let event_count = open.body.event_count();
        Some(Settled { batch: open.batch, resolution, event_count, permits: open.permits })
    }

    /// The next moment at which [`Stream::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let sent = self.sent.iter().find(|sent| !sent.expired).map(|sent| sent.deadline);
        sent.into_iter().chain(self.open.front().map(|open| open.deadline)).min()
    }
}

const NEVER_SENT: &str = "the host could not be reached before the publish deadline; nothing was sent";

fn has_room(open: &Open, cost: usize) -> bool {
    open.body.bytes_len() + cost <= BATCH_BYTES_MAX && open.body.event_count() < limits::BATCH_EVENTS_MAX
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
