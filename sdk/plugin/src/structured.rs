//! An event as one CloudEvents 1.0 JSON object.
//!
//! It knows the JSON format only. Its invariant: JSON data goes out letter by letter, so that numbers
//! and key order stay as the producer wrote them.

use crate::parcel::{Parcel, Text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

pub(crate) fn to_json(event: &Parcel, time: &str) -> Vec<u8> {
    serde_json::to_vec(&Structured { event, time }).expect("strings, and JSON that was checked, always serialise")
}

struct Structured<'a> {
    event: &'a Parcel,
    time: &'a str,
}

impl Serialize for Structured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", event.text(Text::Id))?;
        map.serialize_entry("source", event.text(Text::Source))?;
        map.serialize_entry("type", event.text(Text::Kind))?;
        map.serialize_entry("time", self.time)?;
        let optional =
            [("subject", Text::Subject), ("partitionkey", Text::Key), ("datacontenttype", Text::ContentType)];
        for (name, text) in optional {
            if let Some(value) = event.optional(text) {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in event.attributes().filter(|(name, _)| *name != "time") {
            map.serialize_entry(name, value)?;
        }
        match json_data(event) {
            _ if event.data().is_empty() => {}
            Some(json) => map.serialize_entry("data", json)?,
            None => map.serialize_entry("data_base64", &STANDARD.encode(event.data()))?,
        }
        map.end()
    }
}

/// The data if it is JSON by its content type (none means JSON) and in fact.
fn json_data(event: &Parcel) -> Option<&RawValue> {
    let media = event.optional(Text::ContentType).unwrap_or("application/json");
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = media.ends_with("/json") || media.ends_with("+json");
    is_json.then(|| serde_json::from_slice(event.data()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use crate::mock;

    fn structured(event: mock::EventBuilder) -> String {
        let delivery = super::Parcel::of(&event.into_delivery());
        String::from_utf8(super::to_json(&delivery, "2026-11-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn json_data_is_copied_letter_by_letter() {
        let event = mock::event("1").data(br#"{"b":1.0,"a":100000000000000000001}"#).key("k").attribute("z", "y");
        assert_eq!(
            structured(event),
            r#"{"specversion":"1.0","id":"1","source":"/mock","type":"mock.event","time":"2026-11-01T00:00:00Z","partitionkey":"k","datacontenttype":"application/json","z":"y","data":{"b":1.0,"a":100000000000000000001}}"#
        );
    }

    #[test]
    fn other_data_and_broken_json_become_base64() {
        let binary = structured(mock::event("1").content_type("image/png").data(b"\x89P"));
        assert!(binary.ends_with(r#""data_base64":"iVA="}"#), "{binary}");
        let broken = structured(mock::event("1").data(b"{"));
        assert!(broken.ends_with(r#""data_base64":"ew=="}"#), "{broken}");
    }
}
