//! Follow-up events.
//!
//! They become visible with the ack and not at all without it.

use crate::cx::Cx;
use crate::error::HostError;
use crate::host::{self, millis, wit};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A follow-up event being built.
#[derive(Debug)]
#[must_use = "nothing is published before `send`"]
pub struct Publish<'a> {
    cx: &'a Cx,
    event: Result<wit::types::NewEvent, HostError>,
}

impl<'a> Publish<'a> {
    pub(crate) fn new(cx: &'a Cx, topic: &str, kind: &str) -> Self {
        let event = wit::types::NewEvent {
            topic: topic.to_owned(),
            kind: kind.to_owned(),
            subject: None,
            key: None,
            id: None,
            deliver_at: None,
            expires: None,
            priority: None,
            content_type: None,
            attributes: Vec::new(),
            data: Vec::new(),
        };
        Self { cx, event: Ok(event) }
    }

    fn set(mut self, change: impl FnOnce(&mut wit::types::NewEvent)) -> Self {
        if let Ok(event) = &mut self.event {
            change(event);
        }
        self
    }

    /// Ordering key.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.set(|event| event.key = Some(key.into()))
    }

    /// CloudEvents `subject`.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.set(|event| event.subject = Some(subject.into()))
    }

    /// Id; by default one that a re-run makes again.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.set(|event| event.id = Some(id.into()))
    }

    /// Not before this time.
    pub fn deliver_at(self, time: SystemTime) -> Self {
        self.set(|event| event.deliver_at = Some(instant(time)))
    }

    /// Not after this time.
    pub fn expires(self, time: SystemTime) -> Self {
        self.set(|event| event.expires = Some(instant(time)))
    }

    /// `critical`, `normal` or `low`.
    pub fn priority(self, priority: &str) -> Self {
        self.set(|event| event.priority = Some(priority.to_owned()))
    }

    /// An extension attribute.
    pub fn attribute(self, name: &str, value: impl Into<String>) -> Self {
        self.set(|event| event.attributes.push((name.to_owned(), value.into())))
    }

    /// JSON data.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(data) => self.data("application/json", data),
            Err(error) => {
                self.event = Err(HostError::invalid(format!("event data is not JSON: {error}")));
                self
            }
        }
    }

    /// Any data.
    pub fn data(self, content_type: &str, data: Vec<u8>) -> Self {
        self.set(|event| {
            event.content_type = Some(content_type.to_owned());
            event.data = data;
        })
    }

    /// Publish with the ack; returns the event's id.
    ///
    /// # Errors
    /// `denied`, `invalid`, `too-large` and the like.
    pub fn send(self) -> Result<String, HostError> {
        let ids = host::publish::publish(self.cx.ticket(), &[self.event?])?;
        ids.into_iter().next().ok_or_else(|| HostError::invalid("the host returned no id"))
    }
}

/// A time before 1970 is 1970: in the past either way.
fn instant(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}
