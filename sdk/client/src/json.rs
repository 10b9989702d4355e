//! Events as JSON text, the CloudEvents structured form: one object per event, in and out.
//!
//! Knows the JSON format and nothing of publishing. The payload's JSON text is kept as it was written; attribute
//! values keep their kind.
//!
//! The invariant: `from_json` of what `to_json` wrote is the same event.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bugle_wire::{AttributeValue, Data, EventError, EventView, EventWriter, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::id::new_id;

/// Why a JSON text is not an event.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a JSON object.
    #[error("the text is not a JSON object; expected one CloudEvent in structured form")]
    Json(#[source] serde_json::Error),
    /// An attribute with a value CloudEvents does not allow.
    #[error("attribute `{attribute}` must be {expected}")]
    Value {
        /// Its name.
        attribute: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// The event is not acceptable.
    #[error(transparent)]
    Event(#[from] EventError),
}

type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

impl Event {
    /// An event from CloudEvents JSON. Without `id` it gets a new one, without `specversion` it is `1.0`.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn from_json(json: &str) -> Result<Self, ImportError> {
        let mut members: Members<'_> = serde_json::from_str(json).map_err(ImportError::Json)?;
        let version = text(&mut members, "specversion")?.unwrap_or_else(|| "1.0".to_owned());
        if version != "1.0" {
            return Err(EventError::SpecVersion { found: version.escape_debug().take(64).collect() }.into());
        }
        let id = text(&mut members, "id")?.unwrap_or_else(|| new_id().to_string());
        let source = text(&mut members, "source")?.unwrap_or_default();
        let kind = text(&mut members, "type")?.unwrap_or_default();
        let data = members.remove("data").filter(|raw| raw.get() != "null");
        let encoded_data = text(&mut members, "data_base64")?;
        let content_type = text(&mut members, "datacontenttype")?;
        let mut writer = EventWriter::new(&id, &source, &kind);
        write_attributes(&mut writer, members)?;
        write_data(&mut writer, content_type, data, encoded_data)?;
        Ok(Self::from_encoded(writer.finish())?)
    }

    /// The event as CloudEvents JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let view = self.view();
        let mut object = Map::new();
        for (name, text) in
            [("specversion", view.spec_version), ("id", view.id), ("source", view.source), ("type", view.kind)]
        {
            object.insert(name.to_owned(), text.into());
        }
        for attribute in view.attributes() {
            object.insert(attribute.name.to_owned(), value_of(attribute.value));
        }
        if let Some((name, value)) = data_member(&view) {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object).to_string()
    }
}

/// Removes a member that must be text if it is there.
fn text(members: &mut Members<'_>, attribute: &str) -> Result<Option<String>, ImportError> {
    let Some(raw) = members.remove(attribute) else { return Ok(None) };
    serde_json::from_str(raw.get())
        .map_err(|_| ImportError::Value { attribute: attribute.to_owned(), expected: "text" })
}

fn write_attributes(writer: &mut EventWriter, members: Members<'_>) -> Result<(), ImportError> {
    for (name, raw) in members {
        let wrong = |expected| ImportError::Value { attribute: name.to_owned(), expected };
        match serde_json::from_str::<Value>(raw.get()).map_err(ImportError::Json)? {
            Value::Null => {}
            Value::Bool(flag) => writer.attribute(name, AttributeValue::Boolean(flag)),
            Value::Number(number) => {
                let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
                writer.attribute(
                    name,
                    AttributeValue::Integer(number.ok_or_else(|| wrong("a whole number of 32 bits"))?),
                );
            }
            Value::String(text) if matches!(name, "time" | "expirytime" | "delivertime") => {
                let time: Timestamp = text.parse().map_err(|_| wrong("a time such as `2026-11-21T10:15:00Z`"))?;
                writer.attribute(name, AttributeValue::Timestamp(time));
            }
            Value::String(text) => writer.attribute(name, AttributeValue::String(&text)),
            Value::Array(_) | Value::Object(_) => return Err(wrong("text, a whole number, true or false")),
        }
    }
    Ok(())
}

fn write_data(
    writer: &mut EventWriter,
    content_type: Option<String>,
    data: Option<&RawValue>,
    encoded_data: Option<String>,
) -> Result<(), ImportError> {
    let wrong = |attribute: &str, expected| ImportError::Value { attribute: attribute.to_owned(), expected };
    // JSON data without a content type is JSON, says the format; the protobuf form has to say so.
    let content_type = content_type.or_else(|| data.map(|_| "application/json".to_owned()));
    if let Some(content_type) = &content_type {
        writer.attribute("datacontenttype", AttributeValue::String(content_type));
    }
    match (data, encoded_data) {
        (None, None) => {}
        (Some(_), Some(_)) => return Err(wrong("data", "absent when `data_base64` is there")),
        (None, Some(encoded)) => {
            let bytes = BASE64.decode(encoded).map_err(|_| wrong("data_base64", "base64"))?;
            writer.binary_data(&bytes);
        }
        (Some(raw), None) if is_json(content_type.as_deref()) => writer.text_data(raw.get()),
        (Some(raw), None) => {
            let text: String =
                serde_json::from_str(raw.get()).map_err(|_| wrong("data", "text, as the content type is not JSON"))?;
            writer.text_data(&text);
        }
    }
    Ok(())
}

fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

fn value_of(value: AttributeValue<'_>) -> Value {
    match value {
        AttributeValue::Boolean(flag) => flag.into(),
        AttributeValue::Integer(number) => number.into(),
        AttributeValue::String(text) | AttributeValue::Uri(text) | AttributeValue::UriRef(text) => text.into(),
        AttributeValue::Bytes(bytes) => BASE64.encode(bytes).into(),
        AttributeValue::Timestamp(time) => time.to_string().into(),
    }
}

fn data_member(view: &EventView<'_>) -> Option<(&'static str, Value)> {
    let bytes = view.data.bytes();
    let json = || serde_json::from_slice(bytes).ok().filter(|_| is_json(view.data_content_type));
    match view.data {
        Data::None => None,
        Data::Text(text) if !is_json(view.data_content_type) => Some(("data", text.into())),
        Data::Text(_) | Data::Binary(_) | Data::Proto { .. } => {
            Some(json().map_or_else(|| ("data_base64", BASE64.encode(bytes).into()), |value| ("data", value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structured_event_keeps_attributes_and_payload_text() {
        let json = r#"{"specversion":"1.0","id":"7","source":"https://shop.example","type":"order.paid","subject":"order/7",
            "time":"2026-11-01T00:00:00Z","partitionkey":"user-42","count":3,"vip":true,"note":null,
            "data":{"amount": 1.10, "z":1,"a":2}}"#;
        let event = Event::from_json(json).unwrap();
        let view = event.view();
        assert_eq!((view.id, view.kind, view.partition_key), ("7", "order.paid", Some("user-42")));
        assert_eq!(view.time.unwrap().to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(view.data, Data::Text(r#"{"amount": 1.10, "z":1,"a":2}"#));
        assert_eq!(view.data_content_type, Some("application/json"));
        let names: Vec<_> = view.attributes().map(|attribute| attribute.name).collect();
        assert_eq!(names, ["count", "partitionkey", "subject", "time", "vip", "datacontenttype"]);
    }

    #[test]
    fn what_is_exported_can_be_imported() {
        for json in [
            r#"{"id":"7","source":"s","type":"t","data":[1,"two"]}"#,
            r#"{"id":"7","source":"s","type":"t","datacontenttype":"text/plain","data":"plain"}"#,
            r#"{"id":"7","source":"s","type":"t","data_base64":"AP8="}"#,
            r#"{"id":"7","source":"s","type":"t","count":-3}"#,
        ] {
            let event = Event::from_json(json).unwrap();
            assert_eq!(Event::from_json(&event.to_json()).unwrap(), event, "{json}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let check = |json: &str, reason: &str| {
            let error = Event::from_json(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        };
        check("[]", "not a JSON object");
        check("{", "not a JSON object");
        check(r#"{"id":"7","type":"t"}"#, "`source` is required");
        check(r#"{"source":"s","type":"t","specversion":"0.3"}"#, "`0.3`");
        check(r#"{"source":"s","type":"t","id":7}"#, "`id` must be text");
        check(r#"{"source":"s","type":"t","x":1.5}"#, "whole number");
        check(r#"{"source":"s","type":"t","x":{}}"#, "text, a whole number");
        check(r#"{"source":"s","type":"t","time":"noon"}"#, "a time");
        check(r#"{"source":"s","type":"t","data":1,"data_base64":"AA=="}"#, "absent");
        check(r#"{"source":"s","type":"t","data_base64":"?"}"#, "base64");
        check(r#"{"source":"s","type":"t","datacontenttype":"text/plain","data":1}"#, "not JSON");
        check(r#"{"source":"s","type":"t","Upper":"x"}"#, "`Upper`");
    }
}
