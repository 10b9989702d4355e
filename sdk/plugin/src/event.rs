//! The event as the author sees it: the decoded body, and every CloudEvents attribute.
//!
//! The body is decoded once, before the channel function runs. The data as it came stays readable.

use crate::parcel::{Parcel, Text};
use crate::{date, structured};
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One event whose JSON data is a `T`; fields of `T` are reached directly (`event.to`).
///
/// `Event<Vec<u8>>` takes any data undecoded, `Event<()>` ignores it, `Event<Value>` takes any JSON.
/// Missing data decodes like `null`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<T> {
    raw: Parcel,
    body: T,
}

impl<T: DeserializeOwned + 'static> Event<T> {
    pub(crate) fn decode(raw: Parcel) -> Result<Self, String> {
        let refused =
            |error| format!("data of event `{}` is not what this plugin expects: {error}", raw.text(Text::Id));
        let body = decode(raw.data()).map_err(refused)?;
        Ok(Self { raw, body })
    }
}

impl<T> Event<T> {
    /// CloudEvents `id`.
    pub fn id(&self) -> &str {
        self.raw.text(Text::Id)
    }

    /// CloudEvents `source`.
    pub fn source(&self) -> &str {
        self.raw.text(Text::Source)
    }

    /// CloudEvents `type`.
    pub fn kind(&self) -> &str {
        self.raw.text(Text::Kind)
    }

    /// CloudEvents `subject`.
    pub fn subject(&self) -> Option<&str> {
        self.raw.optional(Text::Subject)
    }

    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        self.raw.text(Text::Topic)
    }

    /// Where it lies in its topic; opaque.
    pub fn position(&self) -> &str {
        self.raw.text(Text::Position)
    }

    /// The ordering key (CloudEvents `partitionkey`).
    pub fn key(&self) -> Option<&str> {
        self.raw.optional(Text::Key)
    }

    /// What it is about in the words of the business: "order 7".
    pub fn business_key(&self) -> &str {
        self.raw.text(Text::BusinessKey)
    }

    /// CloudEvents `time` in milliseconds, or when it was stored.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.raw.time)
    }

    /// CloudEvents `time` as the producer wrote it, or else when the event was stored, as RFC 3339.
    pub fn time_text(&self) -> String {
        self.extension("time").map_or_else(|| date::rfc3339(self.raw.time), str::to_owned)
    }

    /// CloudEvents `datacontenttype`.
    pub fn content_type(&self) -> Option<&str> {
        self.raw.optional(Text::ContentType)
    }

    /// Any CloudEvents attribute by its name: `type`, `source`, `time`, `traceparent`, extensions.
    pub fn attribute(&self, name: &str) -> Option<String> {
        match name {
            "id" => Some(self.id().to_owned()),
            "source" => Some(self.source().to_owned()),
            "type" => Some(self.kind().to_owned()),
            "subject" => self.subject().map(str::to_owned),
            "time" => Some(self.time_text()),
            "datacontenttype" => self.content_type().map(str::to_owned),
            "partitionkey" => self.key().map(str::to_owned),
            "specversion" => Some("1.0".to_owned()),
            _ => self.extension(name).map(str::to_owned),
        }
    }

    /// The attributes that have no method of their own, sorted by name.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raw.attributes()
    }

    fn extension(&self, name: &str) -> Option<&str> {
        self.extensions().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The data as it came.
    pub fn data(&self) -> &[u8] {
        self.raw.data()
    }

    /// The decoded body, where a field has the name of a method.
    pub fn body(&self) -> &T {
        &self.body
    }

    /// The whole event as one CloudEvents JSON object (structured mode). JSON data is copied letter by
    /// letter; other data becomes `data_base64`.
    pub fn to_structured_json(&self) -> Vec<u8> {
        structured::to_json(&self.raw, &self.time_text())
    }
}

impl<T> Deref for Event<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.body
    }
}

/// Decode JSON, but hand `Vec<u8>` the bytes and `()` nothing: the one place that looks at which type it is.
fn decode<T: DeserializeOwned + 'static>(data: &[u8]) -> serde_json::Result<T> {
    let special = if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() { same_type(data.to_vec()) } else { same_type(()) };
    match special {
        Some(body) => Ok(body),
        None => serde_json::from_slice(if data.is_empty() { b"null" } else { data }),
    }
}

/// The value itself if `B` is `A`.
fn same_type<A: 'static, B: 'static>(value: A) -> Option<B> {
    let mut value = Some(value);
    (&mut value as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take)
}

#[cfg(test)]
mod tests {
    use crate::mock::{self, Host};
    use crate::prelude::*;

    #[derive(Deserialize)]
    struct Sms {
        to: String,
    }

    fn sms(_: &Cx, event: Event<Sms>) -> Outcome {
        assert_eq!(event.to, "+49");
        assert_eq!(event.attribute("type").as_deref(), Some("sms.wanted"));
        assert_eq!(event.attribute("traceparent").as_deref(), Some("00-1"));
        assert_eq!(event.attribute("nothing"), None);
        Ok(())
    }

    #[test]
    fn fields_of_the_body_and_attributes_are_at_hand() {
        let event = mock::event("1").kind("sms.wanted").attribute("traceparent", "00-1").json(&json!({"to": "+49"}));
        Host::new().deliver(sms, event).expect_ack();
    }

    #[test]
    fn data_that_does_not_decode_is_rejected_with_the_reason() {
        for data in [&b"{}"[..], b"", b"\xff", b"[1"] {
            let verdict = Host::new().deliver(sms, mock::event("7").data(data));
            let Err(Failure::Reject(reason)) = verdict.settled() else { panic!("{data:?} was accepted") };
            assert!(reason.starts_with("data of event `7` is not what this plugin expects: "), "{reason}");
        }
    }

    #[test]
    fn bytes_and_nothing_take_any_data() {
        fn bytes(_: &Cx, event: Event<Vec<u8>>) -> Outcome {
            assert_eq!(event.body().as_slice(), b"\xff{");
            Ok(())
        }
        fn nothing(_: &Cx, event: Event<()>) -> Outcome {
            assert_eq!(event.data(), b"\xff{");
            Ok(())
        }
        Host::new().deliver(bytes, mock::event("1").data(b"\xff{")).expect_ack();
        Host::new().deliver(nothing, mock::event("1").data(b"\xff{")).expect_ack();
    }
}
