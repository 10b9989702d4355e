//! What an event must be to pass the door, and that nothing else does.

use super::{Data, EventView, Priority, Replaces};
use crate::attribute::AttributeValue;
use crate::code::Code;
use crate::event_error::EventError;
use crate::event_writer::EventWriter;
use crate::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, EVENT_BYTES_MAX};
use crate::timestamp::Timestamp;
use proptest::prelude::*;

fn writer() -> EventWriter {
    EventWriter::new("order-7", "https://shop.example/orders", "order.paid")
}

fn with(name: &str, value: AttributeValue<'_>) -> Result<(), EventError> {
    let mut writer = writer();
    writer.attribute(name, value);
    EventView::parse(&writer.finish()).map(|_| ())
}

fn refused(bytes: &[u8], code: Code) -> EventError {
    let error = EventView::parse(bytes).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

#[test]
fn every_attribute_with_a_meaning_is_found() {
    let at = Timestamp::new(1_795_256_100, 5).unwrap();
    let mut writer = writer();
    writer.attribute("subject", AttributeValue::String("order/7"));
    writer.attribute("time", AttributeValue::Timestamp(at));
    writer.attribute("datacontenttype", AttributeValue::String("application/json"));
    writer.attribute("partitionkey", AttributeValue::String("user-42"));
    writer.attribute("expirytime", AttributeValue::String("2026-11-21T10:15:00Z"));
    writer.attribute("delivertime", AttributeValue::Timestamp(at));
    writer.attribute("traceparent", AttributeValue::String("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    writer.attribute("priority", AttributeValue::String("critical"));
    writer.attribute("replaces", AttributeValue::String("pending"));
    writer.attribute("tenant", AttributeValue::Integer(-7));
    writer.attribute("urgent", AttributeValue::Boolean(true));
    writer.text_data("{\"amount\":12}");
    let bytes = writer.finish();
    let view = EventView::parse(&bytes).unwrap();
    assert_eq!((view.id, view.source), ("order-7", "https://shop.example/orders"));
    assert_eq!((view.kind, view.spec_version), ("order.paid", "1.0"));
    assert_eq!(view.subject, Some("order/7"));
    assert_eq!(view.time, Some(at));
    assert_eq!(view.data_content_type, Some("application/json"));
    assert_eq!(view.partition_key, Some("user-42"));
    assert_eq!(view.expiry_time, Timestamp::new(1_795_256_100, 0));
    assert_eq!(view.deliver_time, Some(at));
    assert!(view.trace_parent.unwrap().starts_with("00-0af7"));
    assert_eq!(view.priority, Priority::Critical);
    assert_eq!(view.replaces, Some(Replaces::Pending));
    assert_eq!(view.data, Data::Text("{\"amount\":12}"));
    assert_eq!(bytes.get(view.range_of(view.data.bytes()).unwrap()).unwrap(), b"{\"amount\":12}");
    let extensions: Vec<_> = view.attributes().skip(9).map(|attribute| (attribute.name, attribute.value)).collect();
    assert_eq!(extensions, [("tenant", AttributeValue::Integer(-7)), ("urgent", AttributeValue::Boolean(true))]);
}

#[test]
fn an_event_without_options_has_the_defaults() {
    let bytes = writer().finish();
    let view = EventView::parse(&bytes).unwrap();
    assert_eq!((view.priority, view.data), (Priority::Normal, Data::None));
    assert_eq!(view.attributes().count(), 0);
    assert_eq!(view.range_of(b"elsewhere"), None);
}

#[test]
fn payload_of_each_form_is_a_range_of_the_bytes() {
    let check = |write: &dyn Fn(&mut EventWriter), payload: &[u8]| {
        let mut writer = writer();
        write(&mut writer);
        let bytes = writer.finish();
        let view = EventView::parse(&bytes).unwrap();
        assert_eq!(bytes.get(view.range_of(view.data.bytes()).unwrap()).unwrap(), payload);
    };
    check(&|writer| writer.binary_data(b"\x00\xff"), b"\x00\xff");
    check(&|writer| writer.text_data("text"), b"text");
    check(&|writer| writer.proto_data("type.example/Order", b"\x08\x01"), b"\x08\x01");
    check(&|writer| writer.binary_data(b""), b"");
}

#[test]
fn required_attributes_must_be_there_and_not_empty() {
    for (id, source, kind, missing) in [("", "s", "t", "id"), ("i", "", "t", "source"), ("i", "s", "", "type")] {
        let error = refused(&EventWriter::new(id, source, kind).finish(), Code::MISSING_ATTRIBUTE);
        assert_eq!(error, EventError::Missing { attribute: missing });
    }
    refused(b"", Code::MISSING_ATTRIBUTE);
    // id and source only.
    refused(b"\x0a\x01i\x12\x01s", Code::MISSING_ATTRIBUTE);
}

#[test]
fn sizes_are_bounded() {
    let longest = "x".repeat(ATTRIBUTE_BYTES_MAX);
    let over = "x".repeat(ATTRIBUTE_BYTES_MAX + 1);
    assert_eq!(with("subject", AttributeValue::String(&longest)), Ok(()));
    let expected = EventError::TooLong { attribute: "subject".into(), bytes: ATTRIBUTE_BYTES_MAX + 1 };
    assert_eq!(with("subject", AttributeValue::String(&over)), Err(expected));
    refused(&EventWriter::new(&over, "s", "t").finish(), Code::INVALID_ATTRIBUTE);
    let mut writer = writer();
    writer.binary_data(&vec![0; EVENT_BYTES_MAX]);
    refused(&writer.finish(), Code::EVENT_TOO_LARGE);
}

#[test]
fn text_must_be_printable() {
    for text in ["", "line\nbreak", "nul\0", "delete\x7f", "c1 \u{85}"] {
        assert_eq!(
            with("subject", AttributeValue::String(text)),
            Err(EventError::Text { attribute: "subject".into() })
        );
    }
    assert_eq!(with("subject", AttributeValue::String("Grüße, 世界")), Ok(()));
    refused(b"\x0a\x02\xc3\x28\x12\x01s\x1a\x031.0\x22\x01t", Code::INVALID_ATTRIBUTE);
}

#[test]
fn attribute_names_are_lower_case_letters_and_digits() {
    for name in ["", "Upper", "with-dash", "with space", "é", "id", "type", "data", "specversion", &"x".repeat(65)] {
        let error = with(name, AttributeValue::String("v")).unwrap_err();
        assert!(matches!(error, EventError::Name { .. }), "{name}: {error}");
        assert_eq!(error.code(), Code::INVALID_ATTRIBUTE);
    }
    let error = with("\u{1b}[2J", AttributeValue::String("v")).unwrap_err();
    assert!(!error.to_string().contains('\u{1b}'), "control characters never reach a log");
}

#[test]
fn meanings_have_their_kind() {
    for (name, value) in [
        ("partitionkey", AttributeValue::Integer(1)),
        ("time", AttributeValue::String("yesterday")),
        ("expirytime", AttributeValue::Boolean(true)),
        ("delivertime", AttributeValue::Bytes(b"x")),
        ("replaces", AttributeValue::String("everything")),
        ("priority", AttributeValue::String("urgent")),
        ("priority", AttributeValue::Integer(1)),
    ] {
        assert!(matches!(with(name, value), Err(EventError::Value { .. })), "{name}");
    }
    assert_eq!(with("priority", AttributeValue::String("low")), Ok(()));
    refused(b"\x0a\x01i\x12\x01s\x1a\x030.3\x22\x01t", Code::INVALID_ATTRIBUTE);
}

#[test]
fn nothing_may_be_given_twice() {
    let twice = |name: &str| {
        let mut writer = writer();
        writer.attribute(name, AttributeValue::String("a"));
        writer.attribute(name, AttributeValue::String("b"));
        EventView::parse(&writer.finish()).map(|_| ())
    };
    for name in ["subject", "tenant"] {
        assert_eq!(twice(name), Err(EventError::Twice { attribute: name.into() }));
    }
    let mut two_payloads = writer();
    two_payloads.text_data("a");
    two_payloads.binary_data(b"b");
    refused(&two_payloads.finish(), Code::INVALID_ATTRIBUTE);
    let two_ids = [writer().finish(), writer().finish()].concat();
    refused(&two_ids, Code::INVALID_ATTRIBUTE);
}

#[test]
fn the_number_of_attributes_is_bounded() {
    let many = |count: usize| {
        let mut writer = writer();
        for index in 0..count {
            writer.attribute(&format!("a{index}"), AttributeValue::String("v"));
        }
        EventView::parse(&writer.finish()).map(|view| view.attributes().count())
    };
    assert_eq!(many(ATTRIBUTES_MAX), Ok(ATTRIBUTES_MAX));
    assert_eq!(many(ATTRIBUTES_MAX + 1), Err(EventError::TooMany));
}

#[test]
fn bytes_that_are_not_an_event_say_where() {
    assert_eq!(refused(b"\xff\xff", Code::MALFORMED_EVENT), EventError::Malformed { at: 0, len: 2 });
    assert_eq!(refused(b"\x0a\x01i\x10\x01", Code::MALFORMED_EVENT), EventError::Malformed { at: 3, len: 5 });
    // An attribute value with two kinds at once, a boolean of 2, an integer beyond 32 bits.
    for value in [&b"\x08\x01\x10\x01"[..], b"\x08\x02", b"\x10\xff\xff\xff\xff\x7f"] {
        let entry_len = u8::try_from(5 + value.len()).unwrap();
        let head = [0x2a, entry_len, 0x0a, 1, b'x', 0x12, u8::try_from(value.len()).unwrap()];
        let bytes = [&writer().finish()[..], &head, value].concat();
        refused(&bytes, Code::MALFORMED_EVENT);
    }
}

#[test]
fn unknown_fields_of_a_later_format_are_kept_and_skipped() {
    let bytes = [&writer().finish()[..], b"\x7a\x02hi"].concat();
    assert_eq!(EventView::parse(&bytes).unwrap().bytes(), &bytes[..]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = EventView::parse(&bytes);
    }

    #[test]
    fn no_damage_panics(at in 0_usize..200, byte in any::<u8>()) {
        let mut writer = writer();
        writer.attribute("time", AttributeValue::Timestamp(Timestamp::new(1, 2).unwrap()));
        writer.attribute("tenant", AttributeValue::Integer(3));
        writer.proto_data("t", b"v");
        let mut bytes = writer.finish().to_vec();
        let len = bytes.len();
        bytes[at % len] = byte;
        if let Ok(view) = EventView::parse(&bytes) {
            prop_assert!(!view.id.is_empty() && !view.source.is_empty() && !view.kind.is_empty());
        }
    }

    #[test]
    fn what_is_written_is_read(
        id in "[!-~]{1,40}", source in "[!-~é世]{1,40}", kind in "[a-z.]{1,40}",
        extensions in proptest::collection::btree_map("x[a-z0-9]{0,10}", any::<i32>(), 0..20),
        data in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut writer = EventWriter::new(&id, &source, &kind);
        for (name, value) in &extensions {
            writer.attribute(name, AttributeValue::Integer(*value));
        }
        writer.binary_data(&data);
        let bytes = writer.finish();
        let view = EventView::parse(&bytes).unwrap();
        prop_assert_eq!((view.id, view.source, view.kind), (&*id, &*source, &*kind));
        prop_assert_eq!(view.data, Data::Binary(&data));
        let read: Vec<_> = view.attributes().map(|attribute| (attribute.name.to_owned(), attribute.value)).collect();
        let written: Vec<_> = extensions.into_iter().map(|(name, value)| (name, AttributeValue::Integer(value))).collect();
        prop_assert_eq!(read, written);
    }
}
