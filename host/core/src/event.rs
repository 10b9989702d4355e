//! An event as the bus handles it: the producer's bytes, untouched, and an index of where its attributes are in them.
//!
//! The index is made once, at the door (ingress) or when a follow-up is built, and stored beside the bytes; nobody parses the
//! event again. This file does not know the encoding of the bytes, only ranges in them.
//!
//! Invariant: every range of an [`Event`] lies inside its bytes and, the payload apart, on UTF-8 text ([`Event::new`] checks).

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Range;

use crate::ids::{Position, TopicId};
use crate::seeded::{Bug, is_planted};
use crate::time::Timestamp;

/// Priority class of an event. Lanes and cursors are per class, so a critical event can overtake a backlog without breaking a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Overtakes everything else.
    Critical,
    /// What an event is when it does not say.
    #[default]
    Normal,
    /// Runs when nothing else waits, without starving.
    Low,
}

impl Class {
    /// Every class, in the order of their codes.
    pub const ALL: [Class; 3] = [Class::Critical, Class::Normal, Class::Low];

    /// The stable code in rows and frames.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Class::Critical => 0,
            Class::Normal => 1,
            Class::Low => 2,
        }
    }

    /// The class of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Class> {
        match code {
            0 => Some(Class::Critical),
            1 => Some(Class::Normal),
            2 => Some(Class::Low),
            _ => None,
        }
    }

    /// The word users write: `critical`, `normal`, `low`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::Normal => "normal",
            Class::Low => "low",
        }
    }
}

/// A range of an event's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// Where the attributes of one event are in its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// CloudEvents `id`.
    pub id: Span,
    /// CloudEvents `source`.
    pub source: Span,
    /// CloudEvents `type`.
    pub kind: Span,
    /// CloudEvents `subject`.
    pub subject: Option<Span>,
    /// CloudEvents `partitionkey`: the ordering key.
    pub key: Option<Span>,
    /// CloudEvents `datacontenttype`.
    pub content_type: Option<Span>,
    /// The payload.
    pub data: Span,
    /// CloudEvents `time`, in ms since 1970.
    pub time: Option<Timestamp>,
    /// Priority class.
    pub class: Class,
    /// What the event says of its own time; most say nothing, so it takes no room in them.
    pub timing: Option<Box<Timing>>,
    /// Every other attribute: name and value, both as text in the bytes.
    pub others: Vec<(Span, Span)>,
}

/// When an event is to be delivered, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// `delivertime`: not delivered before it.
    pub deliver_at: Option<Timestamp>,
    /// `expirytime`: from then on no attempt on it starts.
    pub expires: Option<Timestamp>,
    /// `replaces` = `pending`: it takes the place of the scheduled events of its key.
    pub replaces_pending: bool,
    /// The scheduled event that this one is the copy of, appended when that was due. Never from outside: only admission sets it.
    pub released_from: Option<Position>,
}

/// One event: immutable, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    bytes: Bytes,
    index: Index,
}

/// `type` of what is left of an event whose content was erased: its source and id, which receipts and dedup hang on, and its place.
pub const ERASED_KIND: &str = "bugle.erased";

/// An index that does not fit its bytes: a bug of whoever built it, or a damaged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute index does not fit the event's {len} bytes")]
pub struct IndexError {
    /// Length of the event.
    pub len: usize,
}

impl Event {
    /// Joins bytes and index after checking every range and, for attributes, UTF-8.
    pub fn new(bytes: Bytes, index: Index) -> Result<Event, IndexError> {
        let fits = {
            let text = |span: Span| bytes.get(span.range()).is_some_and(|part| core::str::from_utf8(part).is_ok());
            [index.id, index.source, index.kind].into_iter().all(text)
                && [index.subject, index.key, index.content_type].into_iter().flatten().all(text)
                && index.others.iter().all(|(name, value)| text(*name) && text(*value))
                && bytes.get(index.data.range()).is_some()
        };
        let len = bytes.len();
        if fits { Ok(Event { bytes, index }) } else { Err(IndexError { len }) }
    }

    /// Joins bytes and index that came from a record whose checksum was just verified and that [`Event::new`] accepted before
    /// it was written, so the UTF-8 walk is not repeated; a wrong range reads as empty text.
    #[must_use]
    pub fn from_verified(bytes: Bytes, index: Index) -> Event {
        Event { bytes, index }
    }

    /// The event with further bytes behind its own, and text attributes in them (spans count from the first added byte); an
    /// attribute of the same name is replaced. The caller sees to it that all the bytes together are an event in their encoding.
    #[must_use]
    pub fn extended(&self, tail: &[u8], added: &[(Span, Span)]) -> Event {
        let start = u32::try_from(self.bytes.len()).expect("an event is bounded far below 4 GiB");
        let mut bytes = Vec::with_capacity(self.bytes.len() + tail.len());
        bytes.extend_from_slice(&self.bytes);
        bytes.extend_from_slice(tail);
        let moved = |span: Span| Span { start: start + span.start, len: span.len };
        let event = Event { bytes: bytes.into(), index: Index::default() };
        let added: Vec<_> = added.iter().map(|(name, value)| (moved(*name), moved(*value))).collect();
        let is_replaced = |name: Span| added.iter().any(|(other, _)| event.text(*other) == event.text(name));
        let kept = self.index.others.iter().filter(|(name, _)| !is_replaced(*name));
        let others = kept.chain(&added).copied().collect();
        // What was added makes it another event than the released copy, and says itself where it comes from.
        let timing = Timing { released_from: None, ..self.timing() };
        Event { index: Index { others, ..self.index.clone() }, ..event }.timed(timing)
    }

    /// The bytes of a span of its index; none for a wrong one.
    pub(crate) fn slice(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    fn text(&self, span: Span) -> &str {
        self.bytes.get(span.range()).and_then(|part| core::str::from_utf8(part).ok()).unwrap_or_default()
    }

    /// The event's bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The attribute index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// CloudEvents `id`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(self.index.id)
    }

    /// CloudEvents `source`.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(self.index.source)
    }

    /// CloudEvents `type`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text(self.index.kind)
    }

    /// CloudEvents `subject`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.index.subject.map(|span| self.text(span))
    }

    /// The ordering key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.index.key.map(|span| self.text(span))
    }

    /// CloudEvents `datacontenttype`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.index.content_type.map(|span| self.text(span))
    }

    /// CloudEvents `time`.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.index.time
    }

    /// Priority class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.index.class
    }

    /// When it is to be delivered, and until when.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.index.timing.as_deref().copied().unwrap_or_default()
    }

    /// Whether its time has passed: nobody wants it from its `expirytime` on, nor what is left of it, whatever the clock says.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        if self.is_erased() {
            return !is_planted(Bug::ErasedIsDelivered);
        }
        self.index.timing.as_deref().is_some_and(|timing| timing.expires.is_some_and(|at| at <= now))
    }

    /// Whether its content was erased. What is left has expired, so nobody gets it, and subscriptions pass it.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.index.timing.as_deref().is_some_and(|timing| timing.expires.is_some()) && self.kind() == ERASED_KIND
    }

    /// The same bytes with another timing.
    #[must_use]
    pub fn timed(&self, timing: Timing) -> Event {
        let timing = (timing != Timing::default()).then(|| Box::new(timing));
        Event { bytes: self.bytes.clone(), index: Index { timing, ..self.index.clone() } }
    }

    /// The payload.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.index.data.range()).unwrap_or_default()
    }

    /// Attributes that have no accessor of their own, in their order in the bytes.
    pub fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        self.index.others.iter().map(|(name, value)| (self.text(*name), self.text(*value)))
    }

    /// Any attribute by its CloudEvents name; `time` and `priority` are not text here and are not found.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match name {
            "id" => Some(self.id()),
            "source" => Some(self.source()),
            "type" => Some(self.kind()),
            "subject" => self.subject(),
            "partitionkey" => self.key(),
            "datacontenttype" => self.content_type(),
            other => self.others().find(|(name, _)| *name == other).map(|(_, value)| value),
        }
    }
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Where it is.
    pub position: Position,
    /// The topic it was published to.
    pub topic: TopicId,
    /// When the host accepted it.
    pub received: Timestamp,
    /// The event.
    pub event: Event,
}

impl StoredEvent {
    /// Whether it only waits in the log for its time: no subscription gets it, but a copy of it that is appended when it is due.
    /// Known from the event alone, so everybody who reads it says the same, at any time.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.event.timing().deliver_at.is_some_and(|at| self.received < at)
    }
}
