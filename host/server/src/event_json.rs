//! Shows a stored event as structured CloudEvents JSON.
//!
//! The stored bytes are never changed; this is a view for people, tail and dead letters.
//!
//! Invariant: payload bytes survive: JSON becomes `data`, other UTF-8 text a string in `data`, anything else `data_base64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bugle_core::event::{Class, Event, StoredEvent};
use serde_json::{Map, Value};

use crate::api::EventView;
use crate::moment;

/// The event with its place; `topic` is the name of its topic.
#[must_use]
pub fn view(stored: &StoredEvent, topic: &str) -> EventView {
    EventView {
        position: stored.position.to_string(),
        topic: topic.to_owned(),
        received: moment::text(stored.received),
        event: event(&stored.event),
    }
}

/// The attributes and the payload.
#[must_use]
pub fn event(event: &Event) -> Map<String, Value> {
    let mut json = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            json.insert(name.to_owned(), Value::from(value));
        }
    };
    put("specversion", Some("1.0"));
    put("id", Some(event.id()));
    put("source", Some(event.source()));
    put("type", Some(event.kind()));
    put("subject", event.subject());
    put("partitionkey", event.key());
    put("datacontenttype", event.content_type());
    put("time", event.time().map(moment::text).as_deref());
    put("delivertime", event.timing().deliver_at.map(moment::text).as_deref());
    put("expirytime", event.timing().expires.map(moment::text).as_deref());
    if event.class() != Class::Normal {
        put("priority", Some(event.class().word()));
    }
    for (name, value) in event.others() {
        put(name, Some(value));
    }
    let (name, value) = data(event);
    json.insert(name.to_owned(), value);
    json
}

fn data(event: &Event) -> (&'static str, Value) {
    let bytes = event.data();
    let is_json = event.content_type().is_none_or(|kind| kind.contains("json"));
    match (is_json, serde_json::from_slice::<Value>(bytes)) {
        (true, Ok(value)) => ("data", value),
        (true | false, _) => match std::str::from_utf8(bytes) {
            Ok(text) => ("data", Value::from(text)),
            Err(_) => ("data_base64", Value::from(STANDARD.encode(bytes))),
        },
    }
}

#[cfg(test)]
mod tests {
    use bugle_core::event::{Event, Index, Span};
    use bytes::Bytes;

    fn payload(content_type: Option<&str>, data: &[u8]) -> serde_json::Map<String, serde_json::Value> {
        let kind = content_type.unwrap_or_default();
        let bytes = [b"1st", kind.as_bytes(), data].concat();
        let span =
            |start: usize, len: usize| Span { start: u32::try_from(start).unwrap(), len: u32::try_from(len).unwrap() };
        let index = Index {
            id: span(0, 1),
            source: span(1, 1),
            kind: span(2, 1),
            content_type: content_type.map(|kind| span(3, kind.len())),
            data: span(3 + kind.len(), data.len()),
            ..Index::default()
        };
        super::event(&Event::new(Bytes::from(bytes), index).unwrap())
    }

    #[test]
    fn a_payload_is_shown_in_the_form_that_keeps_it() {
        let json = payload(Some("application/json"), b"{\"a\":1}");
        assert_eq!(json["data"]["a"], 1);
        assert_eq!((&json["id"], &json["type"]), (&"1".into(), &"t".into()));
        assert_eq!(payload(Some("text/plain"), b"12")["data"], "12");
        assert_eq!(payload(None, b"not json")["data"], "not json");
        assert_eq!(payload(None, &[0xff, 0xfe])["data_base64"], "//4=");
    }
}
