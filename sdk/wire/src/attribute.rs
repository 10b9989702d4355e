//! Attributes of an event: the CloudEvents value kinds, and a walk over the attribute map.
//!
//! Knows how one map entry is encoded and which text is allowed in it; which attributes have a meaning to the bus is
//! known in `event.rs`.
//!
//! The invariant: a text value that leaves this file is UTF-8, not empty, at most 1 KiB and free of control characters.

use crate::event_error::{EventError, printable};
use crate::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTE_NAME_BYTES_MAX};
use crate::timestamp::Timestamp;
use crate::walk::{Field, Malformed, Walk};

/// Value of an attribute, borrowed from the event's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeValue<'a> {
    /// `ce_boolean`.
    Boolean(bool),
    /// `ce_integer`.
    Integer(i32),
    /// `ce_string`.
    String(&'a str),
    /// `ce_bytes`.
    Bytes(&'a [u8]),
    /// `ce_uri`.
    Uri(&'a str),
    /// `ce_uri_ref`.
    UriRef(&'a str),
    /// `ce_timestamp`.
    Timestamp(Timestamp),
}

impl<'a> AttributeValue<'a> {
    /// The value if it is text of any kind.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => Some(text),
            Self::Boolean(_) | Self::Integer(_) | Self::Bytes(_) | Self::Timestamp(_) => None,
        }
    }
}

/// One optional or extension attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Lower-case letters and digits.
    pub name: &'a str,
    /// Its value.
    pub value: AttributeValue<'a>,
}

/// The optional and extension attributes of a checked event, in their order in the bytes.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    event: Walk<'a>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(event: &'a [u8]) -> Self {
        Self { event: Walk::new(event) }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (5, Field::Bytes(entry)) = self.event.field().ok()?? {
                return parse_entry(entry).ok();
            }
        }
    }
}

/// Why an entry of the attribute map is not accepted; `Malformed` gets its place in the event from the caller.
pub(crate) enum EntryError {
    Malformed,
    Refused(EventError),
}

impl EntryError {
    /// The error of an event of `len` bytes in which the bad field begins at byte `at`.
    #[cold]
    pub(crate) fn at(self, at: usize, len: usize) -> EventError {
        match self {
            Self::Malformed => EventError::Malformed { at, len },
            Self::Refused(error) => error,
        }
    }
}

impl From<Malformed> for EntryError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<EventError> for EntryError {
    fn from(error: EventError) -> Self {
        Self::Refused(error)
    }
}

/// One entry of the attribute map: name and value, both checked.
#[inline]
pub(crate) fn parse_entry(entry: &[u8]) -> Result<Attribute<'_>, EntryError> {
    let mut walk = Walk::new(entry);
    let (mut name, mut value) = (None, None);
    while let Some(field) = walk.field()? {
        match field {
            (1, Field::Bytes(bytes)) if name.is_none() => name = Some(bytes),
            (2, Field::Bytes(bytes)) if value.is_none() => value = Some(bytes),
            _ => return Err(EntryError::Malformed),
        }
    }
    let name = check_name(name.unwrap_or_default())?;
    let value = parse_value(name, value.unwrap_or_default())?;
    Ok(Attribute { name, value })
}

#[inline(always)]
fn check_name(name: &[u8]) -> Result<&str, EventError> {
    let allowed = name.iter().fold(true, |allowed, byte| allowed & (byte.is_ascii_lowercase() | byte.is_ascii_digit()));
    let fits = (1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len());
    let text = core::str::from_utf8(name).ok().filter(|_| allowed && fits);
    text.ok_or_else(|| EventError::Name { name: printable(name) })
}

#[inline(always)]
fn parse_value<'a>(name: &str, value: &'a [u8]) -> Result<AttributeValue<'a>, EntryError> {
    let mut walk = Walk::new(value);
    let field = walk.field()?.ok_or_else(|| EventError::Text { attribute: name.into() })?;
    if walk.remaining() > 0 {
        return Err(EntryError::Malformed);
    }
    Ok(match field {
        (1, Field::Varint(flag)) if flag <= 1 => AttributeValue::Boolean(flag == 1),
        (2, Field::Varint(bits)) => AttributeValue::Integer(integer(bits).ok_or(EntryError::Malformed)?),
        (3, Field::Bytes(bytes)) => AttributeValue::String(check_text(name, bytes)?),
        (4, Field::Bytes(bytes)) => AttributeValue::Bytes(check_len(name, bytes)?),
        (5, Field::Bytes(bytes)) => AttributeValue::Uri(check_text(name, bytes)?),
        (6, Field::Bytes(bytes)) => AttributeValue::UriRef(check_text(name, bytes)?),
        (7, Field::Bytes(bytes)) => AttributeValue::Timestamp(parse_timestamp(bytes)?.ok_or(EntryError::Malformed)?),
        _ => return Err(EntryError::Malformed),
    })
}

/// A protobuf `int32`: negative numbers come as ten-byte varints.
fn integer(bits: u64) -> Option<i32> {
    i32::try_from(bits.cast_signed()).ok()
}

#[inline(always)]
fn parse_timestamp(bytes: &[u8]) -> Result<Option<Timestamp>, Malformed> {
    let mut walk = Walk::new(bytes);
    let (mut seconds, mut nanos) = (0, Some(0));
    while let Some(field) = walk.field()? {
        match field {
            (1, Field::Varint(bits)) => seconds = bits.cast_signed(),
            (2, Field::Varint(bits)) => nanos = u32::try_from(bits).ok(),
            _ => return Err(Malformed),
        }
    }
    Ok(nanos.and_then(|nanos| Timestamp::new(seconds, nanos)))
}

fn check_len<'a>(name: &str, value: &'a [u8]) -> Result<&'a [u8], EventError> {
    if value.len() > ATTRIBUTE_BYTES_MAX {
        return Err(EventError::TooLong { attribute: name.into(), bytes: value.len() });
    }
    Ok(value)
}

/// Text of an attribute: not empty, short enough, UTF-8, no control characters (CloudEvents 1.0, "String").
#[inline]
pub(crate) fn check_text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, EventError> {
    let text = core::str::from_utf8(value).unwrap_or_default();
    if text.is_empty() || text.len() > ATTRIBUTE_BYTES_MAX || has_control(text) {
        return Err(wrong_text(name, value));
    }
    Ok(text)
}

#[cold]
fn wrong_text(name: &str, value: &[u8]) -> EventError {
    let attribute = name.into();
    match value.len() {
        bytes if bytes > ATTRIBUTE_BYTES_MAX => EventError::TooLong { attribute, bytes },
        _ => EventError::Text { attribute },
    }
}

/// Whether a text has C0 or C1 control characters or DEL. Plain ASCII, nearly every attribute, takes one
/// branchless pass.
#[inline]
fn has_control(text: &str) -> bool {
    let plain = text.bytes().fold(true, |plain, byte| plain & (byte.wrapping_sub(0x20) < 0x5f));
    !plain && text.chars().any(char::is_control)
}
