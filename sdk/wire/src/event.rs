//! One event as it came: a CloudEvent in protobuf format, walked once and borrowed, never copied.
//!
//! Knows the envelope and its limits. It does not know topics, subscriptions or what is done at `delivertime`, and it
//! never changes the bytes: what is stored is what was received.
//!
//! The invariant: a view exists only for bytes that passed every check, so its text is UTF-8 without control
//! characters, each attribute is there once, and `id`, `source` and `type` are not empty.

use core::ops::Range;

use crate::attribute::{Attribute, AttributeValue, Attributes, EntryError, check_text, parse_entry};
use crate::event_error::{EventError, printable};
use crate::limits::{ATTRIBUTES_MAX, EVENT_BYTES_MAX};
use crate::timestamp::Timestamp;
use crate::walk::{Field, Walk};

/// Priority class of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Overtakes the others.
    Critical,
    /// When the event does not say.
    #[default]
    Normal,
    /// After the others.
    Low,
}

/// Which other events an event takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// The scheduled ones of its topic and key.
    Pending,
}

/// Payload of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// The event has none.
    None,
    /// `binary_data`.
    Binary(&'a [u8]),
    /// `text_data`.
    Text(&'a str),
    /// `proto_data`: a message and the name of its type.
    Proto {
        /// Type URL of the message.
        type_url: &'a str,
        /// The encoded message.
        value: &'a [u8],
    },
}

impl<'a> Data<'a> {
    /// The payload's bytes, empty if there is none.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::None => &[],
            Self::Binary(bytes) | Self::Proto { value: bytes, .. } => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// A checked event, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventView<'a> {
    bytes: &'a [u8],
    /// `id`.
    pub id: &'a str,
    /// `source`.
    pub source: &'a str,
    /// `type`.
    pub kind: &'a str,
    /// `specversion`, always `1.0`.
    pub spec_version: &'a str,
    /// `subject`.
    pub subject: Option<&'a str>,
    /// `time`.
    pub time: Option<Timestamp>,
    /// `datacontenttype`.
    pub data_content_type: Option<&'a str>,
    /// `partitionkey`: the ordering key.
    pub partition_key: Option<&'a str>,
    /// `expirytime`: not delivered after it.
    pub expiry_time: Option<Timestamp>,
    /// `delivertime`: not delivered before it.
    pub deliver_time: Option<Timestamp>,
    /// `replaces`: which other events it takes the place of.
    pub replaces: Option<Replaces>,
    /// `traceparent`: W3C trace context.
    pub trace_parent: Option<&'a str>,
    /// `priority`.
    pub priority: Priority,
    /// The payload.
    pub data: Data<'a>,
}

impl<'a> EventView<'a> {
    /// Walks and checks one event.
    ///
    /// # Errors
    /// The first thing that makes the event unacceptable.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventError> {
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(EventError::TooLarge { bytes: bytes.len() });
        }
        let mut walk = Walk::new(bytes);
        let mut parts = Parts::default();
        loop {
            let remaining = walk.remaining();
            let taken = match walk.field() {
                Ok(None) => break,
                Ok(Some((number, field))) => parts.take(number, field),
                Err(malformed) => Err(malformed.into()),
            };
            if let Err(error) = taken {
                return Err(error.at(bytes.len() - remaining, bytes.len()));
            }
        }
        if parts.extensions > 1 {
            check_extensions_once(bytes)?;
        }
        parts.finish(bytes)
    }

    /// The bytes the view was made from.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All optional and extension attributes, those with a field here included.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes)
    }

    /// Where a text or payload of this view lies in its bytes; `None` for a slice from elsewhere.
    #[must_use]
    pub fn range_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = (part.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let range = start..start.checked_add(part.len())?;
        (range.end <= self.bytes.len()).then_some(range)
    }
}

/// What the walk has found so far.
#[derive(Default)]
struct Parts<'a> {
    id: Option<&'a str>,
    source: Option<&'a str>,
    kind: Option<&'a str>,
    spec_version: Option<&'a str>,
    subject: Option<&'a str>,
    time: Option<Timestamp>,
    data_content_type: Option<&'a str>,
    partition_key: Option<&'a str>,
    expiry_time: Option<Timestamp>,
    deliver_time: Option<Timestamp>,
    replaces: Option<Replaces>,
    trace_parent: Option<&'a str>,
    priority: Option<Priority>,
    data: Option<Data<'a>>,
    attributes: usize,
    extensions: usize,
}

impl<'a> Parts<'a> {
    #[inline]
    fn take(&mut self, number: u32, field: Field<'a>) -> Result<(), EntryError> {
        match (number, field) {
            (1, Field::Bytes(bytes)) => required(&mut self.id, "id", bytes)?,
            (2, Field::Bytes(bytes)) => required(&mut self.source, "source", bytes)?,
            (3, Field::Bytes(bytes)) => required(&mut self.spec_version, "specversion", bytes)?,
            (4, Field::Bytes(bytes)) => required(&mut self.kind, "type", bytes)?,
            (5, Field::Bytes(entry)) => self.attribute(parse_entry(entry)?)?,
            (6, Field::Bytes(bytes)) => once(&mut self.data, "data", Data::Binary(bytes))?,
            (7, Field::Bytes(bytes)) => {
                let text = core::str::from_utf8(bytes).map_err(|_| EntryError::Malformed)?;
                once(&mut self.data, "data", Data::Text(text))?;
            }
            (8, Field::Bytes(bytes)) => once(&mut self.data, "data", parse_any(bytes)?)?,
            (1..=8, _) => return Err(EntryError::Malformed),
            _ => {}
        }
        Ok(())
    }

    fn attribute(&mut self, Attribute { name, value }: Attribute<'a>) -> Result<(), EventError> {
        self.attributes += 1;
        if self.attributes > ATTRIBUTES_MAX {
            return Err(EventError::TooMany);
        }
        match name {
            "subject" => once(&mut self.subject, "subject", text("subject", value)?),
            "time" => once(&mut self.time, "time", instant("time", value)?),
            "datacontenttype" => once(&mut self.data_content_type, "datacontenttype", text("datacontenttype", value)?),
            "partitionkey" => once(&mut self.partition_key, "partitionkey", text("partitionkey", value)?),
            "expirytime" => once(&mut self.expiry_time, "expirytime", instant("expirytime", value)?),
            "delivertime" => once(&mut self.deliver_time, "delivertime", instant("delivertime", value)?),
            "replaces" => once(&mut self.replaces, "replaces", replaces(value)?),
            "traceparent" => once(&mut self.trace_parent, "traceparent", text("traceparent", value)?),
            "priority" => once(&mut self.priority, "priority", priority(value)?),
            "id" | "source" | "type" | "specversion" | "data" => Err(EventError::Name { name: name.into() }),
            _ => {
                self.extensions += 1;
                Ok(())
            }
        }
    }

    fn finish(self, bytes: &'a [u8]) -> Result<EventView<'a>, EventError> {
        let require = |part: Option<&'a str>, attribute| part.ok_or(EventError::Missing { attribute });
        let spec_version = require(self.spec_version, "specversion")?;
        if spec_version != "1.0" {
            return Err(EventError::SpecVersion { found: printable(spec_version.as_bytes()) });
        }
        Ok(EventView {
            bytes,
            id: require(self.id, "id")?,
            source: require(self.source, "source")?,
            kind: require(self.kind, "type")?,
            spec_version,
            subject: self.subject,
            time: self.time,
            data_content_type: self.data_content_type,
            partition_key: self.partition_key,
            expiry_time: self.expiry_time,
            deliver_time: self.deliver_time,
            replaces: self.replaces,
            trace_parent: self.trace_parent,
            priority: self.priority.unwrap_or_default(),
            data: self.data.unwrap_or(Data::None),
        })
    }
}

#[inline]
fn required<'a>(slot: &mut Option<&'a str>, attribute: &'static str, bytes: &'a [u8]) -> Result<(), EventError> {
    if bytes.is_empty() {
        return Err(EventError::Missing { attribute });
    }
    once(slot, attribute, check_text(attribute, bytes)?)
}

#[inline]
fn once<T>(slot: &mut Option<T>, attribute: &'static str, value: T) -> Result<(), EventError> {
    if slot.replace(value).is_some() {
        return Err(EventError::Twice { attribute: attribute.into() });
    }
    Ok(())
}

fn text<'a>(attribute: &'static str, value: AttributeValue<'a>) -> Result<&'a str, EventError> {
    value.text().ok_or(EventError::Value { attribute, expected: "text" })
}

fn instant(attribute: &'static str, value: AttributeValue<'_>) -> Result<Timestamp, EventError> {
    let expected = "a time: a timestamp, or RFC 3339 text such as `2026-11-21T10:15:00Z`";
    let parsed = match value {
        AttributeValue::Timestamp(instant) => Some(instant),
        AttributeValue::String(text) => text.parse().ok(),
        AttributeValue::Boolean(_)
        | AttributeValue::Integer(_)
        | AttributeValue::Bytes(_)
        | AttributeValue::Uri(_)
        | AttributeValue::UriRef(_) => None,
    };
    parsed.ok_or(EventError::Value { attribute, expected })
}

fn replaces(value: AttributeValue<'_>) -> Result<Replaces, EventError> {
    match value {
        AttributeValue::String("pending") => Ok(Replaces::Pending),
        _ => Err(EventError::Value { attribute: "replaces", expected: "`pending`" }),
    }
}

fn priority(value: AttributeValue<'_>) -> Result<Priority, EventError> {
    match value {
        AttributeValue::String("critical") => Ok(Priority::Critical),
        AttributeValue::String("normal") => Ok(Priority::Normal),
        AttributeValue::String("low") => Ok(Priority::Low),
        _ => Err(EventError::Value { attribute: "priority", expected: "`critical`, `normal` or `low`" }),
    }
}

fn parse_any(bytes: &[u8]) -> Result<Data<'_>, EntryError> {
    let mut walk = Walk::new(bytes);
    let (mut type_url, mut value) = ("", None);
    while let Some(field) = walk.field()? {
        match field {
            (1, Field::Bytes(url)) => type_url = check_text("data", url)?,
            (2, Field::Bytes(bytes)) => value = Some(bytes),
            _ => return Err(EntryError::Malformed),
        }
    }
    // An absent value is an empty message; it still has a place, so that `range_of` finds it.
    Ok(Data::Proto { type_url, value: value.or_else(|| bytes.get(..0)).unwrap_or_default() })
}

/// Refuses an extension attribute that is given twice. Quadratic, bounded by [`ATTRIBUTES_MAX`].
#[cold]
fn check_extensions_once(bytes: &[u8]) -> Result<(), EventError> {
    let mut names = [""; ATTRIBUTES_MAX];
    for (attribute, slot) in Attributes::new(bytes).zip(0..) {
        let (seen, rest) = names.split_at_checked(slot).unwrap_or_default();
        if seen.contains(&attribute.name) {
            return Err(EventError::Twice { attribute: attribute.name.into() });
        }
        debug_assert!(!rest.is_empty(), "the walk counted at most ATTRIBUTES_MAX attributes");
        if let Some(name) = names.get_mut(slot) {
            *name = attribute.name;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
