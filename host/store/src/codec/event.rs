//! The record of an event: a checksum over its key and everything else, its index, and the producer's bytes untouched.
//!
//! Layout: version, CRC32C, topic, received, class, presence bits, spans as varints, other attributes, then the bytes to the
//! end. An event that says something of its time has version 2 and that before the bytes; a host that knows version 1 only must not
//! take it for one that is to be delivered at once. Knows nothing of the encoding of the event's bytes.
//!
//! Invariant: a record that decodes has every range of its index inside its bytes, and was written under this very key.

use bugle_core::event::{Class, Event, Index, Span, StoredEvent, Timing};
use bugle_core::ids::{Offset, Position, Slot, TopicId};
use bugle_core::time::Timestamp;
use bytes::Bytes;

use super::{Damaged, Reader, Writer};
use crate::keys;

const VERSION: u8 = 1;
/// With a timing.
const VERSION_TIMED: u8 = 2;
/// Version and checksum.
const HEAD: usize = 5;

const HAS_SUBJECT: u8 = 1;
const HAS_KEY: u8 = 1 << 1;
const HAS_CONTENT_TYPE: u8 = 1 << 2;
const HAS_TIME: u8 = 1 << 3;

const HAS_DELIVER_AT: u8 = 1;
const HAS_RELEASED_FROM: u8 = 1 << 1;
const REPLACES_PENDING: u8 = 1 << 2;
const HAS_EXPIRES: u8 = 1 << 3;

/// Replaces the contents of `into` by the event's record.
pub(crate) fn encode_event(stored: &StoredEvent, into: &mut Vec<u8>) {
    into.clear();
    let is_timed = stored.event.index().timing.is_some();
    into.push(if is_timed { VERSION_TIMED } else { VERSION });
    into.extend_from_slice(&[0; 4]);
    write_body(stored, &mut Writer(into));
    let sum = checksum(stored.position, into.get(HEAD..).unwrap_or_default());
    if let Some(place) = into.get_mut(1..HEAD) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

fn write_body(stored: &StoredEvent, out: &mut Writer<'_>) {
    let index = stored.event.index();
    out.u32(stored.topic.0);
    out.time(stored.received);
    out.u8(index.class.code());
    let bit = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
    out.u8(bit(index.subject.is_some(), HAS_SUBJECT)
        | bit(index.key.is_some(), HAS_KEY)
        | bit(index.content_type.is_some(), HAS_CONTENT_TYPE)
        | bit(index.time.is_some(), HAS_TIME));
    let required = [Some(index.id), Some(index.source), Some(index.kind), Some(index.data)];
    let optional = [index.subject, index.key, index.content_type];
    for span in required.into_iter().chain(optional).flatten() {
        write_span(span, out);
    }
    if let Some(time) = index.time {
        out.time(time);
    }
    out.varint(index.others.len() as u64);
    for (name, value) in &index.others {
        write_span(*name, out);
        write_span(*value, out);
    }
    if let Some(timing) = &index.timing {
        write_timing(timing, out);
    }
    out.0.extend_from_slice(stored.event.bytes());
}

fn write_timing(timing: &Timing, out: &mut Writer<'_>) {
    let bit = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
    out.u8(bit(timing.deliver_at.is_some(), HAS_DELIVER_AT)
        | bit(timing.released_from.is_some(), HAS_RELEASED_FROM)
        | bit(timing.replaces_pending, REPLACES_PENDING)
        | bit(timing.expires.is_some(), HAS_EXPIRES));
    if let Some(at) = timing.deliver_at {
        out.time(at);
    }
    if let Some(place) = timing.released_from {
        out.0.extend_from_slice(&place.slot.0.to_be_bytes());
        out.u64(place.offset.0);
    }
    if let Some(at) = timing.expires {
        out.time(at);
    }
}

fn read_timing(from: &mut Reader<'_>) -> Result<Timing, Damaged> {
    let has = from.u8()?;
    if has & !(HAS_DELIVER_AT | HAS_RELEASED_FROM | REPLACES_PENDING | HAS_EXPIRES) != 0 {
        return Err(Damaged("unknown timing"));
    }
    let mut timing = Timing { replaces_pending: has & REPLACES_PENDING != 0, ..Timing::default() };
    if has & HAS_DELIVER_AT != 0 {
        timing.deliver_at = Some(from.time()?);
    }
    if has & HAS_RELEASED_FROM != 0 {
        let slot = Slot(u16::from_be_bytes(from.array()?));
        timing.released_from = Some(Position { slot, offset: Offset(from.u64()?) });
    }
    if has & HAS_EXPIRES != 0 {
        timing.expires = Some(from.time()?);
    }
    Ok(timing)
}

fn write_span(span: Span, out: &mut Writer<'_>) {
    out.varint(u64::from(span.start));
    out.varint(u64::from(span.len));
}

/// The event of a record that was found under the key of `position`.
pub(crate) fn decode_event(position: Position, value: &[u8]) -> Result<StoredEvent, Damaged> {
    let (topic, received, index, bytes) = read_record(position, value)?;
    let event = Event::from_verified(Bytes::copy_from_slice(bytes), index);
    Ok(StoredEvent { position, topic, received, event })
}

/// Hands topic, time, source and id of a record to `visit`, without copying the event.
pub(crate) fn visit_id(
    position: Position,
    value: &[u8],
    visit: impl FnOnce(TopicId, Timestamp, &str, &str),
) -> Result<(), Damaged> {
    let (topic, received, index, bytes) = read_record(position, value)?;
    let text = |span: Span| {
        let end = span.start as usize + span.len as usize;
        let bytes = bytes.get(span.start as usize..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Damaged("an attribute is not UTF-8"))
    };
    visit(topic, received, text(index.source)?, text(index.id)?);
    Ok(())
}

/// What a record holds: topic, time of receipt, index and the event's bytes.
type Record<'a> = (TopicId, Timestamp, Index, &'a [u8]);

fn read_record(position: Position, value: &[u8]) -> Result<Record<'_>, Damaged> {
    let mut from = Reader::new(value);
    let is_timed = match from.u8()? {
        VERSION => false,
        VERSION_TIMED => true,
        _ => return Err(Damaged("unknown version")),
    };
    let sum = from.u32()?;
    if sum != checksum(position, value.get(HEAD..).unwrap_or_default()) {
        return Err(Damaged("the checksum does not fit"));
    }
    let topic = TopicId(from.u32()?);
    let received = from.time()?;
    let (index, bytes) = read_index(&mut from, is_timed)?;
    if !fits(&index, bytes.len()) {
        return Err(Damaged("the attribute index does not fit the event"));
    }
    Ok((topic, received, index, bytes))
}

fn read_index<'a>(from: &mut Reader<'a>, is_timed: bool) -> Result<(Index, &'a [u8]), Damaged> {
    let class = Class::from_code(from.u8()?).ok_or(Damaged("unknown priority class"))?;
    let has = from.u8()?;
    let [id, source, kind, data] = [read_span(from)?, read_span(from)?, read_span(from)?, read_span(from)?];
    let mut optional = |bit: u8| if has & bit != 0 { read_span(from).map(Some) } else { Ok(None) };
    let subject = optional(HAS_SUBJECT)?;
    let key = optional(HAS_KEY)?;
    let content_type = optional(HAS_CONTENT_TYPE)?;
    let time: Option<Timestamp> = if has & HAS_TIME != 0 { Some(from.time()?) } else { None };
    let count = from.varint()?;
    let mut others = Vec::new();
    for _ in 0..count {
        others.push((read_span(from)?, read_span(from)?));
    }
    let timing = if is_timed { Some(Box::new(read_timing(from)?)) } else { None };
    let index = Index { id, source, kind, subject, key, content_type, data, time, class, timing, others };
    Ok((index, from.rest()))
}

fn read_span(from: &mut Reader<'_>) -> Result<Span, Damaged> {
    Ok(Span { start: from.varint_u32()?, len: from.varint_u32()? })
}

fn fits(index: &Index, len: usize) -> bool {
    let inside = |span: &Span| u64::from(span.start) + u64::from(span.len) <= len as u64;
    [index.id, index.source, index.kind, index.data].iter().all(inside)
        && [index.subject, index.key, index.content_type].iter().flatten().all(inside)
        && index.others.iter().all(|(name, value)| inside(name) && inside(value))
}

/// Over the key too, so that a record found in a wrong place is noticed.
fn checksum(position: Position, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&keys::event(position.offset)), body)
}
