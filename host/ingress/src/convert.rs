//! Wire types to core types and back; the only place where the two meet.
//!
//! Decides nothing: an event that fails the envelope's checks keeps its place in the batch as a refusal, with the code of
//! the check and what can still be read of its name and key. Attributes that are not text (numbers, booleans, times other than `time`) stay in the bytes but have no
//! place in the core's index.
//!
//! The invariant: an event's bytes go into the core untouched, as a slice of what was received.

use bugle_core::code::Code;
use bugle_core::event::{Class, Event, Index, Span, Timing};
use bugle_core::ids::{Name, Position, Sequence, SessionId, StreamId};
use bugle_core::publish::{Abandon, BatchOutcome, BatchResult, PublishBatch, Refusal, TracedKey, Try, Unreadable};
use bugle_core::time::Timestamp;
use bugle_wire::{EventError, EventTraces, EventView, KeyTrace, Priority, Publish, Replaces, limits, schema};
use bytes::Bytes;

/// Text of all refusals in one receipt together, so that a receipt always fits a frame.
const RECEIPT_DETAIL_BYTES_MAX: usize = 512 * 1024;

/// A publish frame as the core takes it.
pub(crate) fn batch(session: SessionId, topic: Name, publish: &Publish) -> PublishBatch {
    PublishBatch {
        session,
        stream: StreamId(publish.stream),
        sequence: Sequence(publish.sequence),
        attempt: if publish.retry { Try::Retry } else { Try::First },
        topic,
        events: publish.events().map(event).collect(),
    }
}

fn unreadable(bytes: &[u8], refusal: Refusal) -> Unreadable {
    let traces = EventTraces::read(bytes);
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let key = match traces.key {
        KeyTrace::None => TracedKey::None,
        KeyTrace::Known(key) => TracedKey::Known(key.to_owned()),
        KeyTrace::Unknown => TracedKey::Unknown,
    };
    Unreadable { refusal, source: owned(traces.source), id: owned(traces.id), key }
}

/// An abandonment as the core takes it.
pub(crate) fn abandon(session: SessionId, abandon: &schema::Abandon) -> Abandon {
    Abandon {
        session,
        stream: StreamId(abandon.stream),
        topic: abandon.topic.as_str().into(),
        source: abandon.source.clone(),
        id: abandon.id.clone(),
    }
}

/// Checks an encoded event and makes its index, as for one that came in a frame: for follow-up events, which the host encodes.
///
/// # Errors
/// The refusal a producer would get.
pub fn decode_event(bytes: Bytes) -> Result<Event, Refusal> {
    event(bytes).map_err(|unreadable| unreadable.refusal)
}

fn event(bytes: Bytes) -> Result<Event, Unreadable> {
    let index = match EventView::parse(&bytes) {
        Ok(view) => index(&view),
        Err(error) => return Err(unreadable(&bytes, refused(&error))),
    };
    // The view checked every text, and spans are its own slices: what `Event::new` would check again.
    Ok(Event::from_verified(bytes, index))
}

fn refused(error: &EventError) -> Refusal {
    let code = Code::from_number(error.code().number()).unwrap_or(Code::MalformedEvent);
    Refusal { code, retry_after: None, detail: error.to_string() }
}

fn index(view: &EventView<'_>) -> Index {
    let text = |text: &str| span(view, text.as_bytes());
    Index {
        id: text(view.id),
        source: text(view.source),
        kind: text(view.kind),
        subject: view.subject.map(text),
        key: view.partition_key.map(text),
        content_type: view.data_content_type.map(text),
        data: span(view, view.data.bytes()),
        // The core counts from 1970 and has no earlier times.
        time: view.time.and_then(|time| u64::try_from(time.unix_ms()).ok()).map(Timestamp),
        class: match view.priority {
            Priority::Critical => Class::Critical,
            Priority::Normal => Class::Normal,
            Priority::Low => Class::Low,
        },
        timing: timing(view),
        others: view
            .attributes()
            .filter(|attribute| !has_field(attribute.name))
            .filter_map(|attribute| Some((text(attribute.name), text(attribute.value.text()?))))
            .collect(),
    }
}

/// What the event says of its own time. A time before 1970 has passed, like any other.
fn timing(view: &EventView<'_>) -> Option<Box<Timing>> {
    // A part of a millisecond counts as a whole one: neither delivered nor expired early.
    let whole = |time: bugle_wire::Timestamp| time.unix_ms() + i64::from(!time.nanos().is_multiple_of(1_000_000));
    let instant = |time| Timestamp(u64::try_from(whole(time)).unwrap_or(0));
    let timing = Timing {
        deliver_at: view.deliver_time.map(instant),
        expires: view.expiry_time.map(instant),
        replaces_pending: view.replaces == Some(Replaces::Pending),
        ..Timing::default()
    };
    (timing != Timing::default()).then(|| Box::new(timing))
}

/// Whether an attribute has a field of its own in the index.
fn has_field(name: &str) -> bool {
    matches!(name, "subject" | "partitionkey" | "datacontenttype" | "time" | "priority")
}

/// Where a part of the event lies; a part that is not there, such as an absent payload, is empty at the start.
fn span(view: &EventView<'_>, part: &[u8]) -> Span {
    let range = view.range_of(part).unwrap_or_default();
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { start: number(range.start), len: number(range.len()) }
}

/// A result as the client gets it.
pub(crate) fn receipt(result: BatchResult) -> schema::Receipt {
    let mut receipt =
        schema::Receipt { stream: result.stream.0, sequence: result.sequence.0, ..schema::Receipt::default() };
    match result.outcome {
        BatchOutcome::Stored { first, stored, duplicates, refused } => {
            if let Some(first) = first {
                (receipt.slot, receipt.first_offset) = place(first);
            }
            receipt.count = stored;
            receipt.duplicates = duplicates.into_iter().map(duplicate).collect();
            let detail_bytes_max = RECEIPT_DETAIL_BYTES_MAX / refused.len().max(1);
            let refusals = refused.into_iter().map(|(index, refused)| refusal(index, refused, detail_bytes_max));
            receipt.refusals = refusals.collect();
        }
        BatchOutcome::Refused(refused) => receipt.refused = Some(refusal(0, refused, limits::DETAIL_BYTES_MAX)),
    }
    receipt
}

fn duplicate((index, position): (u32, Position)) -> schema::Duplicate {
    let (slot, offset) = place(position);
    schema::Duplicate { index, slot, offset }
}

fn refusal(index: u32, refusal: Refusal, detail_bytes_max: usize) -> schema::Refusal {
    let mut detail = refusal.detail;
    detail.truncate(detail.floor_char_boundary(detail_bytes_max.min(limits::DETAIL_BYTES_MAX)));
    schema::Refusal {
        index,
        code: refusal.code.number(),
        retry_after_ms: refusal.retry_after.map(|after| after.0),
        detail,
    }
}

/// Slot and offset for the wire.
pub(crate) fn place(position: Position) -> (u32, u64) {
    (u32::from(position.slot.0), position.offset.0)
}

#[cfg(test)]
mod tests;
