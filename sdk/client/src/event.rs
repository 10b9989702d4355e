//! Events as a producer makes them: built from parts, checked by the same rules as the host's, encoded once.
//!
//! Knows the envelope and not how it travels. The bytes never change after `build`, so an event that is sent again is
//! the same event.
//!
//! The invariant: an [`Event`] passed every check of [`EventView::parse`].

use bugle_wire::{AttributeValue, EventError, EventView, EventWriter, Timestamp};
use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::id::new_id;

/// A checked, encoded event. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    bytes: Bytes,
    key_hash: Option<u64>,
}

impl Event {
    /// Starts an event. `source` names who it comes from, as a URI reference; `kind` is the CloudEvents `type`.
    #[must_use]
    pub fn builder<'a>(source: &'a str, kind: &'a str) -> EventBuilder<'a> {
        EventBuilder { id: None, source, kind, attributes: Vec::new(), data: Data::None }
    }

    /// An event that is already encoded in CloudEvents protobuf format.
    ///
    /// # Errors
    /// See [`EventError`].
    pub fn from_encoded(bytes: Bytes) -> Result<Self, EventError> {
        let key_hash = EventView::parse(&bytes)?.partition_key.map(hash);
        Ok(Self { bytes, key_hash })
    }

    /// The encoded event.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The attributes and payload.
    #[must_use]
    pub fn view(&self) -> EventView<'_> {
        EventView::parse(&self.bytes).expect("the bytes were checked when the event was made and never change")
    }

    /// Hash of the ordering key, if there is one.
    pub(crate) fn key_hash(&self) -> Option<u64> {
        self.key_hash
    }
}

#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    None,
    Json(&'a str),
    Text(&'a str),
    Binary(&'a [u8]),
}

/// An event being made; see [`Event::builder`].
#[derive(Clone, Debug)]
pub struct EventBuilder<'a> {
    id: Option<&'a str>,
    source: &'a str,
    kind: &'a str,
    attributes: Vec<(&'a str, AttributeValue<'a>)>,
    data: Data<'a>,
}

impl<'a> EventBuilder<'a> {
    /// Sets the id. Without it the event gets a new UUID version 7. Together with the source it is what makes a retry
    /// recognisable, so derive it from the business fact where there is one.
    #[must_use]
    pub fn id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the ordering key: events of a topic that share it are stored and delivered in order.
    #[must_use]
    pub fn key(self, key: &'a str) -> Self {
        self.attribute("partitionkey", AttributeValue::String(key))
    }

    /// Sets the subject.
    #[must_use]
    pub fn subject(self, subject: &'a str) -> Self {
        self.attribute("subject", AttributeValue::String(subject))
    }

    /// Sets the time at which the thing happened.
    #[must_use]
    pub fn time(self, time: Timestamp) -> Self {
        self.attribute("time", AttributeValue::Timestamp(time))
    }

    /// Sets the time before which the event is not delivered: it is stored and confirmed at once, and delivered then. A time that
    /// has passed delivers at once; the host refuses one that is more than 400 days ahead.
    #[must_use]
    pub fn deliver_at(self, time: Timestamp) -> Self {
        self.attribute("delivertime", AttributeValue::Timestamp(time))
    }

    /// Has the event delivered so long from now, by this machine's clock. The time is fixed here, so publishing the built event
    /// again does not move it.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        // Beyond the calendar is beyond what any host takes: the last moment of it is refused in the same words.
        self.deliver_at(from_now(delay))
    }

    /// Has the event take the place of the scheduled events of its topic and ordering key, in the moment in which it is stored; it
    /// may be scheduled itself. The host refuses it without a key, and if more than 1,024 are scheduled.
    #[must_use]
    pub fn replaces_pending(self) -> Self {
        self.attribute("replaces", AttributeValue::String("pending"))
    }

    /// Sets the time from which on the event is of no use: no delivery of it starts then, and it becomes no dead letter. The host
    /// refuses one that has passed ([`Code::EXPIRED`](crate::Code::EXPIRED)) or that is not after the time to deliver it.
    #[must_use]
    pub fn expires(self, time: Timestamp) -> Self {
        self.attribute("expirytime", AttributeValue::Timestamp(time))
    }

    /// Has the event expire so long from now, by this machine's clock. The time is fixed here, so publishing the built event again
    /// does not move it.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.expires(from_now(ttl))
    }

    /// Adds any optional or extension attribute.
    #[must_use]
    pub fn attribute(mut self, name: &'a str, value: AttributeValue<'a>) -> Self {
        self.attributes.push((name, value));
        self
    }

    /// Sets a JSON payload, with content type `application/json`.
    #[must_use]
    pub fn json(mut self, data: &'a str) -> Self {
        self.data = Data::Json(data);
        self
    }

    /// Sets a text payload.
    #[must_use]
    pub fn text(mut self, data: &'a str) -> Self {
        self.data = Data::Text(data);
        self
    }

    /// Sets a binary payload.
    #[must_use]
    pub fn binary(mut self, data: &'a [u8]) -> Self {
        self.data = Data::Binary(data);
        self
    }

    /// Checks and encodes the event.
    ///
    /// # Errors
    /// See [`EventError`]; the host would refuse it for the same reason.
    pub fn build(self) -> Result<Event, EventError> {
        let mut id_text = uuid::Uuid::encode_buffer();
        let id = self.id.unwrap_or_else(|| new_id().hyphenated().encode_lower(&mut id_text));
        let mut writer = EventWriter::new(id, self.source, self.kind);
        for (name, value) in self.attributes {
            writer.attribute(name, value);
        }
        match self.data {
            Data::None => {}
            Data::Json(json) => {
                writer.attribute("datacontenttype", AttributeValue::String("application/json"));
                writer.text_data(json);
            }
            Data::Text(text) => writer.text_data(text),
            Data::Binary(bytes) => writer.binary_data(bytes),
        }
        Event::from_encoded(writer.finish())
    }
}

/// A time from now; beyond the calendar, its last moment.
fn from_now(span: Duration) -> Timestamp {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(span);
    let ms = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(ms).unwrap_or(Timestamp::MAX)
}

/// FNV-1a: spreads keys over a handful of streams, nothing more.
fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::Event;
    use bugle_wire::Data;

    #[test]
    fn an_event_without_id_gets_one() {
        let build = || Event::builder("https://shop.example", "order.paid").key("k").json("{}").build().unwrap();
        let (first, second) = (build(), build());
        assert_eq!(first.view().id.len(), 36);
        assert_ne!(first.view().id, second.view().id);
        assert_eq!(first.view().partition_key, Some("k"));
        assert_eq!(first.view().data_content_type, Some("application/json"));
        assert_eq!(first.view().data, Data::Text("{}"));
    }

    #[test]
    fn what_the_host_would_refuse_is_refused_here() {
        let error = Event::builder("", "order.paid").build().unwrap_err();
        assert_eq!(error.code().to_string(), "missing-attribute");
        let error = Event::builder("s", "t").key("two\nlines").build().unwrap_err();
        assert_eq!(error.code().to_string(), "invalid-attribute");
    }
}
