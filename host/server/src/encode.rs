//! Gives the follow-up events of plugins their bytes: the same CloudEvents protobuf that producers send.
//!
//! The bytes go through the door's own checks, so a follow-up can't be what a publish could not. Knows nothing of when they are
//! stored.

use bugle_broker::{FollowUp, HOPS_ATTRIBUTE};
use bugle_core::event::{Class, ERASED_KIND, Event, Span, Timing};
use bugle_core::origin::{LATE_ATTRIBUTE, ORIGIN_ATTRIBUTE};
use bugle_wire::{AttributeValue, EventWriter, Timestamp};

/// Attributes that the host writes from the event's own fields; a second one by hand is refused.
const RESERVED: [&str; 15] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "partitionkey",
    "datacontenttype",
    "priority",
    "delivertime",
    "replaces",
    "expirytime",
    HOPS_ATTRIBUTE,
    ORIGIN_ATTRIBUTE,
    LATE_ATTRIBUTE,
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
    for (name, at) in [("time", Some(now)), ("delivertime", event.deliver_at), ("expirytime", event.expires)] {
        let ms = at.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX));
        if let Some(time) = ms.and_then(Timestamp::from_unix_ms) {
            writer.attribute(name, AttributeValue::Timestamp(time));
        }
    }
    writer.binary_data(&event.data);
    bugle_ingress::decode_event(writer.finish()).map_err(|refusal| refusal.detail)
}

/// What is left of an event whose content is erased: its source and priority, the id it shall have, and that nobody wants it from `at` on.
pub fn erased(event: &Event, id: &str, at: bugle_core::time::Timestamp) -> Result<Event, String> {
    let mut writer = EventWriter::new(id, event.source(), ERASED_KIND);
    if let Some(time) = i64::try_from(at.0).ok().and_then(Timestamp::from_unix_ms) {
        writer.attribute("expirytime", AttributeValue::Timestamp(time));
    }
    // Reading may have left the class behind, and then comes back for all of it.
    if event.class() != Class::Normal {
        writer.attribute("priority", AttributeValue::String(event.class().word()));
    }
    let left = bugle_ingress::decode_event(writer.finish()).map_err(|refusal| refusal.detail)?;
    // A copy is known by the place of the scheduled event that it came of.
    let timing = Timing { released_from: event.timing().released_from, ..left.timing() };
    Ok(left.timed(timing))
}

/// An event with further text attributes, put behind its bytes: protobuf takes the last of two attributes of the same name, as
/// the index does. The producer's bytes stay untouched.
#[must_use]
pub fn stamp(event: &Event, attributes: &[(&str, &str)]) -> Event {
    let mut writer = EventWriter::continued();
    let spans: Vec<(Span, Span)> = attributes
        .iter()
        .map(|(name, value)| {
            let [name, value] = writer.text_attribute(name, value).map(|part| Span {
                start: u32::try_from(part.start).expect("a few attributes of at most 1 KiB"),
                len: u32::try_from(part.len()).expect("a few attributes of at most 1 KiB"),
            });
            (name, value)
        })
        .collect();
    event.extended(&writer.finish(), &spans)
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
            deliver_at: None,
            expires: None,
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
        assert_eq!(encoded.timing().deliver_at, None);
        let later = NewEvent { deliver_at: Some(Timestamp(2_500)), ..event() };
        assert_eq!(encode(&later).unwrap().timing().deliver_at, Some(Timestamp(2_500)));
        let brief = NewEvent { expires: Some(Timestamp(9_500)), ..event() };
        assert_eq!(encode(&brief).unwrap().timing().expires, Some(Timestamp(9_500)));
    }

    #[test]
    fn a_stamped_copy_is_still_an_event_and_has_the_latest_stamp() {
        let plain = encode(&event()).unwrap();
        let once = super::stamp(&plain, &[("bugleorigin", "3/0-1/0/8"), ("buglelate", "true")]);
        let twice = super::stamp(&once, &[("bugleorigin", "3/0-1/1/8")]);
        assert_eq!((twice.attribute("bugleorigin"), twice.attribute("buglelate")), (Some("3/0-1/1/8"), Some("true")));
        assert_eq!((twice.data(), twice.key(), twice.attribute("tenant")), (plain.data(), plain.key(), Some("a")));
        let decoded = bugle_ingress::decode_event(once.bytes().clone()).unwrap();
        assert_eq!(decoded, once, "the bytes say what the index says");
    }

    #[test]
    fn attributes_of_the_host_and_bad_names_are_refused() {
        for name in [
            "source",
            "buglehops",
            "bugleorigin",
            "buglelate",
            "priority",
            "delivertime",
            "replaces",
            "expirytime",
            "Upper",
            "",
        ] {
            let mut bad = event();
            bad.attributes.push((name.to_owned(), "x".to_owned()));
            assert!(encode(&bad).is_err(), "{name}");
        }
        let mut empty = event();
        empty.kind = String::new();
        assert!(encode(&empty).unwrap_err().contains("type"));
    }
}
