//! Gives the follow-up events of plugins their bytes: the same CloudEvents protobuf that producers send.
//!
//! The bytes go through the door's own checks, so a follow-up can't be what a publish could not. Knows nothing of when they are
//! stored.

use bugle_broker::{FollowUp, HOPS_ATTRIBUTE};
use bugle_core::event::{Class, Event};
use bugle_wire::{AttributeValue, EventWriter, Timestamp};

/// Attributes that the host writes from the event's own fields; a second one by hand is refused.
const RESERVED: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "partitionkey",
    "datacontenttype",
    "priority",
    HOPS_ATTRIBUTE,
];

/// Encodes a follow-up event, or says what is wrong with it.
pub fn encode(follow_up: FollowUp<'_>) -> Result<Event, String> {
    let FollowUp { event, hops, subscription, now } = follow_up;
    let source = format!("bugle/subscription/{subscription}");
    let id = event.id.as_deref().unwrap_or_default();
    let mut writer = EventWriter::new(id, &source, &event.kind);
    let mut text = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            writer.attribute(name, AttributeValue::String(value));
        }
    };
    text("subject", event.subject.as_deref());
    text("partitionkey", event.key.as_deref());
    text("datacontenttype", event.content_type.as_deref());
    text("priority", (event.class != Class::Normal).then(|| event.class.word()));
    for (name, value) in &event.attributes {
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("the attribute `{name}` is written by the host; leave it out"));
        }
        text(name, Some(value));
    }
    text(HOPS_ATTRIBUTE, Some(&hops.to_string()));
    let ms = i64::try_from(now.0).unwrap_or(i64::MAX);
    if let Some(time) = Timestamp::from_unix_ms(ms) {
        writer.attribute("time", AttributeValue::Timestamp(time));
    }
    writer.binary_data(&event.data);
    bugle_ingress::decode_event(writer.finish()).map_err(|refusal| refusal.detail)
}

#[cfg(test)]
mod tests {
    use bugle_broker::FollowUp;
    use bugle_core::event::Class;
    use bugle_core::ids::Name;
    use bugle_core::import::NewEvent;
    use bugle_core::time::Timestamp;

    fn event() -> NewEvent {
        NewEvent {
            topic: "t".to_owned(),
            kind: "order.checked".to_owned(),
            subject: Some("order/7".to_owned()),
            key: Some("user-42".to_owned()),
            id: Some("7".to_owned()),
            class: Class::Critical,
            content_type: Some("application/json".to_owned()),
            attributes: vec![("tenant".to_owned(), "a".to_owned())],
            data: b"{}".to_vec(),
        }
    }

    fn encode(event: &NewEvent) -> Result<super::Event, String> {
        super::encode(FollowUp { event, hops: 2, subscription: &Name::from("check"), now: Timestamp(1_000) })
    }

    #[test]
    fn a_follow_up_keeps_what_the_plugin_gave() {
        let encoded = encode(&event()).unwrap();
        assert_eq!((encoded.id(), encoded.kind(), encoded.key()), ("7", "order.checked", Some("user-42")));
        assert_eq!(encoded.class(), Class::Critical);
        assert_eq!(encoded.source(), "bugle/subscription/check");
        assert_eq!(encoded.attribute("tenant"), Some("a"));
        assert_eq!(encoded.attribute(bugle_broker::HOPS_ATTRIBUTE), Some("2"));
        assert_eq!((encoded.data(), encoded.time()), (&b"{}"[..], Some(Timestamp(1_000))));
    }

    #[test]
    fn attributes_of_the_host_and_bad_names_are_refused() {
        for name in ["source", "buglehops", "priority", "Upper", ""] {
            let mut bad = event();
            bad.attributes.push((name.to_owned(), "x".to_owned()));
            assert!(encode(&bad).is_err(), "{name}");
        }
        let mut empty = event();
        empty.kind = String::new();
        assert!(encode(&empty).unwrap_err().contains("type"));
    }
}
