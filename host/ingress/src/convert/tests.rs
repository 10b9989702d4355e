//! What crosses the border between wire and core, and that both sides call things the same.

use super::*;
use bugle_core::ids::{Offset, Slot};
use bugle_core::time::Millis;
use bugle_wire::{AttributeValue, EventWriter};
use proptest::prelude::*;

fn writer() -> EventWriter {
    EventWriter::new("7", "https://shop.example", "order.paid")
}

#[test]
fn both_tables_of_codes_agree() {
    for wire in bugle_wire::Code::ALL {
        let core = Code::from_number(wire.number()).unwrap();
        assert_eq!(core.text(), wire.to_string());
    }
    for core in Code::ALL.iter().filter(|code| code.number() < 60) {
        let wire = bugle_wire::Code::from_text(core.text());
        assert_eq!(wire.map(bugle_wire::Code::number), Some(core.number()), "{core:?} can reach a client");
    }
}

#[test]
fn an_event_is_indexed_without_being_copied() {
    let mut writer = writer();
    let time = bugle_wire::Timestamp::from_unix_ms(1_795_256_100_250).unwrap();
    writer.attribute("time", AttributeValue::Timestamp(time));
    writer.attribute("subject", AttributeValue::String("order/7"));
    writer.attribute("partitionkey", AttributeValue::String("user-42"));
    writer.attribute("datacontenttype", AttributeValue::String("application/json"));
    writer.attribute("priority", AttributeValue::String("critical"));
    writer.attribute("tenant", AttributeValue::String("blue"));
    writer.attribute("count", AttributeValue::Integer(3));
    writer.text_data("{}");
    let bytes = writer.finish();
    let event = decode_event(bytes.clone()).unwrap();
    assert_eq!(event.bytes().as_ptr(), bytes.as_ptr());
    assert_eq!((event.id(), event.source(), event.kind()), ("7", "https://shop.example", "order.paid"));
    assert_eq!((event.subject(), event.key()), (Some("order/7"), Some("user-42")));
    assert_eq!((event.content_type(), event.data()), (Some("application/json"), &b"{}"[..]));
    assert_eq!((event.time(), event.class()), (Some(Timestamp(1_795_256_100_250)), Class::Critical));
    assert_eq!(event.others().collect::<Vec<_>>(), [("tenant", "blue")]);
}

#[test]
fn an_event_without_options_has_an_empty_payload() {
    let event = decode_event(writer().finish()).unwrap();
    assert_eq!((event.data(), event.key(), event.class()), (&b""[..], None, Class::Normal));
}

#[test]
fn a_bad_event_keeps_its_place_as_a_refusal() {
    let check = |bytes: Bytes, code: Code| assert_eq!(decode_event(bytes).unwrap_err().code, code);
    check(Bytes::from_static(b"\xff"), Code::MalformedEvent);
    check(EventWriter::new("", "s", "t").finish(), Code::MissingAttribute);
    check(EventWriter::new("a\nb", "s", "t").finish(), Code::InvalidAttribute);
    let mut large = writer();
    large.binary_data(&vec![0; limits::EVENT_BYTES_MAX]);
    check(large.finish(), Code::EventTooLarge);
}

#[test]
fn results_become_receipts() {
    let position = |offset| Position { slot: Slot(0), offset: Offset(offset) };
    let refusal = Refusal { code: Code::Quota, retry_after: Some(Millis(20)), detail: "é".repeat(1000) };
    let outcome = BatchOutcome::Stored {
        first: Some(position(9)),
        stored: 2,
        duplicates: vec![(1, position(3))],
        refused: vec![(3, refusal.clone())],
    };
    let stored = receipt(BatchResult { stream: StreamId(2), sequence: Sequence(5), outcome });
    assert_eq!((stored.stream, stored.sequence, stored.first_offset, stored.count), (2, 5, 9, 2));
    assert_eq!(stored.duplicates, [schema::Duplicate { index: 1, slot: 0, offset: 3 }]);
    assert_eq!((stored.refusals[0].index, stored.refusals[0].retry_after_ms), (3, Some(20)));
    assert_eq!(stored.refusals[0].detail.len(), limits::DETAIL_BYTES_MAX);
    let outcome = BatchOutcome::Refused(refusal);
    let refused = receipt(BatchResult { stream: StreamId(2), sequence: Sequence(5), outcome });
    assert_eq!(refused.refused.unwrap().code, Code::Quota.number());
}

proptest! {
    #[test]
    fn every_accepted_event_has_an_index_the_core_accepts(
        id in "\\PC{1,30}", names in proptest::collection::btree_set("[a-z]{1,9}", 0..8), data in ".{0,80}", kind in 0_u8..4,
    ) {
        let mut writer = EventWriter::new(&id, "s", "t");
        for name in &names {
            writer.attribute(name, AttributeValue::String("text"));
        }
        match kind {
            0 => writer.text_data(&data),
            1 => writer.binary_data(data.as_bytes()),
            2 => writer.proto_data("type.example/T", data.as_bytes()),
            _ => {}
        }
        if let Ok(event) = decode_event(writer.finish()) {
            let checked = Event::new(event.bytes().clone(), event.index().clone());
            prop_assert_eq!(checked.as_ref(), Ok(&event));
            prop_assert_eq!(event.id(), id);
            prop_assert_eq!(event.data(), if kind == 3 { &b""[..] } else { data.as_bytes() });
        }
    }
}
