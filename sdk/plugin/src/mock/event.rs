//! Events for tests: sane defaults, everything can be set.
//!
//! It makes no promise on validity: a test may build an event no host would deliver.

use super::state::START;
use crate::host::wit::types;
use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};

/// An event being built. Equal ids are the same event: a second delivery is its next attempt.
#[derive(Debug, Clone)]
pub struct EventBuilder {
    event: types::Event,
    business_key: Option<String>,
    priority: String,
}

/// An event of type `mock.event` from `/mock` in topic `mock`, with no data.
pub fn event(id: &str) -> EventBuilder {
    let event = types::Event {
        id: id.to_owned(),
        source: "/mock".to_owned(),
        kind: "mock.event".to_owned(),
        subject: None,
        topic: "mock".to_owned(),
        position: "0:0".to_owned(),
        key: None,
        time: START,
        content_type: Some("application/json".to_owned()),
        attributes: Vec::new(),
        data: Vec::new(),
    };
    EventBuilder { event, business_key: None, priority: "normal".to_owned() }
}

impl EventBuilder {
    fn set(mut self, change: impl FnOnce(&mut types::Event)) -> Self {
        change(&mut self.event);
        self
    }

    /// CloudEvents `source`.
    #[must_use]
    pub fn source(self, source: &str) -> Self {
        self.set(|event| event.source = source.to_owned())
    }

    /// CloudEvents `type`.
    #[must_use]
    pub fn kind(self, kind: &str) -> Self {
        self.set(|event| event.kind = kind.to_owned())
    }

    /// CloudEvents `subject`.
    #[must_use]
    pub fn subject(self, subject: &str) -> Self {
        self.set(|event| event.subject = Some(subject.to_owned()))
    }

    /// The topic.
    #[must_use]
    pub fn topic(self, topic: &str) -> Self {
        self.set(|event| event.topic = topic.to_owned())
    }

    /// The ordering key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.set(|event| event.key = Some(key.to_owned()))
    }

    /// CloudEvents `time`.
    ///
    /// # Panics
    /// Before 1970.
    #[must_use]
    pub fn time(self, time: std::time::SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).expect("events of tests are not older than 1970");
        self.set(|event| event.time = crate::host::millis(since))
    }

    /// CloudEvents `datacontenttype`.
    #[must_use]
    pub fn content_type(self, content_type: &str) -> Self {
        self.set(|event| event.content_type = Some(content_type.to_owned()))
    }

    /// An extension attribute.
    #[must_use]
    pub fn attribute(self, name: &str, value: &str) -> Self {
        self.set(|event| event.attributes.push((name.to_owned(), value.to_owned())))
    }

    /// JSON data.
    ///
    /// # Panics
    /// The value does not serialise.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let data = serde_json::to_vec(value).expect("the value of a test serialises");
        self.data(&data)
    }

    /// Data as bytes.
    #[must_use]
    pub fn data(self, data: &[u8]) -> Self {
        self.set(|event| event.data = data.to_vec())
    }

    /// The business key; by default source and id.
    #[must_use]
    pub fn business_key(mut self, key: &str) -> Self {
        self.business_key = Some(key.to_owned());
        self
    }

    /// `critical`, `normal` or `low`.
    #[must_use]
    pub fn priority(mut self, priority: &str) -> Self {
        priority.clone_into(&mut self.priority);
        self
    }

    pub(crate) fn into_delivery(self) -> types::Delivery {
        /// Enough for any test; time moves only when a test says so.
        const WALL: Duration = Duration::from_secs(30);
        let business_key = self.business_key.unwrap_or_else(|| format!("{}#{}", self.event.source, self.event.id));
        types::Delivery {
            ticket: 0,
            attempt: 1,
            idempotency_key: format!("mock-{}", self.event.id),
            business_key,
            deadline: START + crate::host::millis(WALL),
            priority: self.priority,
            event: self.event,
        }
    }
}
