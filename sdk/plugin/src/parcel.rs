//! A delivery in one piece: the form that `wit/exports.wit` gives to `packed-handler`, and what reads it.
//!
//! Text is read where it lies and only when it is asked for: a delivery costs no allocation of its own. It knows nothing of channels
//! and verdicts. Its invariant: every string and the data lie inside the bytes.

use crate::host::wit::types;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The length of a string that is none.
const NONE: u32 = u32::MAX;
/// Strings beside those of attributes.
const STRINGS: usize = 11;

/// Strings of a delivery, in their order.
#[derive(Clone, Copy)]
pub(crate) enum Text {
    Id,
    Source,
    Kind,
    Subject,
    Topic,
    Position,
    Key,
    ContentType,
    IdempotencyKey,
    BusinessKey,
    Priority,
}

/// See the module. Clones share the bytes.
#[derive(Clone)]
pub(crate) struct Parcel {
    bytes: Arc<Vec<u8>>,
    pub(crate) ticket: u64,
    pub(crate) time: u64,
    pub(crate) deadline: u64,
    pub(crate) attempt: u32,
    /// Where each string ends; it begins where the one before ends, the first one at `text`.
    ends: [usize; STRINGS],
    /// Those that are none, by bits.
    nones: u16,
    text: usize,
    /// Lengths of names and values.
    attributes: Range<usize>,
    data: Range<usize>,
}

impl Parcel {
    /// Every delivery in the bytes; none if they are not of the form.
    pub(crate) fn all(bytes: Vec<u8>) -> Option<Vec<Parcel>> {
        let bytes = Arc::new(bytes);
        let mut parcels = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let size = usize::try_from(number(&bytes, &mut at)?).ok()?;
            let end = at.checked_add(size).filter(|end| *end <= bytes.len())?;
            parcels.push(Parcel::read(&bytes, at, end)?);
            at = end;
        }
        Some(parcels)
    }

    fn read(bytes: &Arc<Vec<u8>>, mut at: usize, end: usize) -> Option<Parcel> {
        let (ticket, time, deadline) = (long(bytes, &mut at)?, long(bytes, &mut at)?, long(bytes, &mut at)?);
        let (attempt, attributes) = (number(bytes, &mut at)?, usize::try_from(number(bytes, &mut at)?).ok()?);
        let lengths_end = at.checked_add(4 * STRINGS)?;
        let text = lengths_end.checked_add(attributes.checked_mul(8)?)?;
        let (mut ends, mut nones, mut last) = ([0; STRINGS], 0, text);
        for (index, place) in ends.iter_mut().enumerate() {
            match number(bytes, &mut at)? {
                NONE => nones |= 1 << index,
                length => last = last.checked_add(usize::try_from(length).ok()?)?,
            }
            *place = last;
        }
        for _ in 0..2 * attributes {
            last = last.checked_add(usize::try_from(number(bytes, &mut at)?).ok()?)?;
        }
        let attributes = lengths_end..text;
        (last <= end).then(|| Parcel {
            bytes: Arc::clone(bytes),
            ticket,
            time,
            deadline,
            attempt,
            ends,
            nones,
            text,
            attributes,
            data: last..end,
        })
    }

    /// The same from a delivery in the contract's types.
    pub(crate) fn of(delivery: &types::Delivery) -> Parcel {
        let mut parcels = Parcel::all(packed(delivery)).unwrap_or_default();
        parcels.pop().expect("what was just packed is one parcel")
    }

    /// A string; empty if it is none.
    ///
    /// # Panics
    /// The host sent text that is not UTF-8, which it never does.
    pub(crate) fn text(&self, which: Text) -> &str {
        let index = which as usize;
        let start = if index == 0 { self.text } else { self.ends[index - 1] };
        self.utf8(start..self.ends[index])
    }

    pub(crate) fn optional(&self, which: Text) -> Option<&str> {
        (self.nones & (1 << which as usize) == 0).then(|| self.text(which))
    }

    /// Names and values of the attributes that have no string of their own, sorted.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut at = self.ends[STRINGS - 1];
        let mut next = move |lengths: &mut usize| {
            let start = at;
            at += number(&self.bytes, lengths).map_or(0, |length| length as usize);
            self.utf8(start..at)
        };
        self.attributes.clone().step_by(8).map(move |mut lengths| (next(&mut lengths), next(&mut lengths)))
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.data.clone()]
    }

    fn utf8(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range]).expect("the host sends UTF-8")
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.text(Text::Id))
            .field("source", &self.text(Text::Source))
            .field("kind", &self.text(Text::Kind))
            .field("subject", &self.optional(Text::Subject))
            .field("key", &self.optional(Text::Key))
            .field("attributes", &self.attributes().collect::<Vec<_>>())
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        let whole = |parcel: &Parcel| parcel.text..parcel.data.end;
        let numbers = |parcel: &Parcel| (parcel.ticket, parcel.time, parcel.deadline, parcel.attempt, parcel.nones);
        let ends = |parcel: &Parcel| parcel.ends.map(|end| end - parcel.text);
        numbers(self) == numbers(other)
            && ends(self) == ends(other)
            && self.bytes[self.attributes.clone()] == other.bytes[other.attributes.clone()]
            && self.bytes[whole(self)] == other.bytes[whole(other)]
    }
}

fn packed(delivery: &types::Delivery) -> Vec<u8> {
    let event = &delivery.event;
    let strings: [Option<&str>; STRINGS] = [
        Some(&event.id),
        Some(&event.source),
        Some(&event.kind),
        event.subject.as_deref(),
        Some(&event.topic),
        Some(&event.position),
        event.key.as_deref(),
        event.content_type.as_deref(),
        Some(&delivery.idempotency_key),
        Some(&delivery.business_key),
        Some(&delivery.priority),
    ];
    let attributes = || event.attributes.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(NONE - 1).to_le_bytes();
    let mut bytes = Vec::new();
    for number in [delivery.ticket, event.time, delivery.deadline] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(delivery.attempt.to_le_bytes());
    bytes.extend(length(event.attributes.len()));
    for text in strings {
        bytes.extend(text.map_or(NONE.to_le_bytes(), |text| length(text.len())));
    }
    attributes().for_each(|text| bytes.extend(length(text.len())));
    strings.into_iter().flatten().chain(attributes()).for_each(|text| bytes.extend(text.as_bytes()));
    bytes.extend(&event.data);
    [&length(bytes.len()), bytes.as_slice()].concat()
}

fn number(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let taken = bytes.get(*at..)?.first_chunk()?;
    *at += 4;
    Some(u32::from_le_bytes(*taken))
}

fn long(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let taken = bytes.get(*at..)?.first_chunk()?;
    *at += 8;
    Some(u64::from_le_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock;

    fn deliveries() -> [types::Delivery; 3] {
        let full = mock::event("e-1").kind("größe").subject("s").key("").attribute("b", "2").attribute("a", "");
        let bare = mock::event("").source("").kind("").business_key("").priority("");
        [full.data(b"\xff\0").into_delivery(), bare.into_delivery(), mock::event("3").data(b"{}").into_delivery()]
    }

    fn all() -> Vec<u8> {
        deliveries().iter().flat_map(packed).collect()
    }

    #[test]
    fn what_was_packed_is_what_is_read() {
        let parcels = Parcel::all(all()).unwrap();
        assert_eq!(parcels.len(), 3);
        for (parcel, delivery) in parcels.iter().zip(deliveries()) {
            let event = &delivery.event;
            let texts = [Text::Id, Text::Source, Text::Kind, Text::Topic, Text::Position].map(|text| parcel.text(text));
            assert_eq!(texts, [&event.id, &event.source, &event.kind, &event.topic, &event.position]);
            let texts = [Text::IdempotencyKey, Text::BusinessKey, Text::Priority].map(|text| parcel.text(text));
            assert_eq!(texts, [&delivery.idempotency_key, &delivery.business_key, &delivery.priority]);
            let optional = [Text::Subject, Text::Key, Text::ContentType].map(|text| parcel.optional(text));
            assert_eq!(optional, [event.subject.as_deref(), event.key.as_deref(), event.content_type.as_deref()]);
            let attributes: Vec<_> = parcel.attributes().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            assert_eq!((attributes, parcel.data()), (event.attributes.clone(), event.data.as_slice()));
            let numbers = (parcel.ticket, parcel.time, parcel.deadline, parcel.attempt);
            assert_eq!(numbers, (delivery.ticket, event.time, delivery.deadline, delivery.attempt));
            assert_eq!(*parcel, Parcel::of(&delivery), "wherever it lies");
        }
        assert_ne!(parcels[0], parcels[1]);
        assert_eq!(Parcel::all(Vec::new()).unwrap(), []);
    }

    #[test]
    fn what_is_cut_or_too_long_is_not_read() {
        let whole = packed(&deliveries()[0]);
        for end in 1..whole.len() {
            assert!(Parcel::all(whole[..end].to_vec()).is_none(), "cut after {end} bytes");
        }
        // Each length in turn says far too much: size, number of attributes, strings, names and values.
        for at in [0, 32].into_iter().chain((36..36 + 4 * (STRINGS + 4)).step_by(4)) {
            let mut wrong = whole.clone();
            wrong[at..at + 4].copy_from_slice(&(NONE - 1).to_le_bytes());
            assert!(Parcel::all(wrong).is_none(), "a wrong length at {at}");
        }
    }
}
