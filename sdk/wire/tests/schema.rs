//! The Rust messages and the published `.proto` text say the same: each field alone is encoded, and the number and wire
//! type that come out are compared with the line of that field in the text.
//!
//! Knows just enough of the `.proto` syntax to read the two files of this repository.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeMap;

use bugle_wire::schema::*;
use bugle_wire::{AttributeValue, EventWriter, Frame, PublishBody, PublishHead, Timestamp};
use bytes::BytesMut;
use prost::Message;

const BUGLE: &str = include_str!("../proto/bugle.proto");
const CLOUDEVENTS: &str = include_str!("../proto/cloudevents.proto");

/// (message, field) -> (number, wire type).
type Fields = BTreeMap<(String, String), (u32, u32)>;

fn fields_of(proto: &str) -> Fields {
    let mut fields = Fields::new();
    let mut open: Vec<String> = Vec::new();
    for line in proto.lines() {
        let line = line.split("//").next().unwrap().trim();
        let words: Vec<&str> = line.split([' ', '=', ';']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [kind @ ("message" | "enum"), name, "{"] => open.push(format!("{kind} {name}")),
            ["oneof", _, "{"] => open.push(open.last().unwrap().clone()),
            ["}"] => drop(open.pop()),
            ["reserved", ..] => {}
            [label @ .., kind, name, number] => {
                let (Some(message), Ok(number)) =
                    (open.last().and_then(|name| name.strip_prefix("message ")), number.parse())
                else {
                    continue;
                };
                let packed = label.contains(&"repeated") || line.starts_with("map<");
                let wire_type = match *kind {
                    "bool" | "int32" | "uint32" | "uint64" | "QueryStatus" if !packed => 0,
                    _ => 2,
                };
                fields.insert((message.to_owned(), (*name).to_owned()), (number, wire_type));
            }
            _ => {}
        }
    }
    fields
}

/// Number and wire type of the first field of a message.
fn first_tag(bytes: &[u8]) -> (u32, u32) {
    let mut bytes = bytes;
    let tag = prost::encoding::decode_varint(&mut bytes).unwrap();
    (u32::try_from(tag >> 3).unwrap(), u32::try_from(tag & 7).unwrap())
}

macro_rules! check {
    ($fields:ident, $message:ident { $($field:ident: $value:expr),+ $(,)? }) => {
        check!($fields, stringify!($message), $message { $($field: $value),+ })
    };
    ($fields:ident, $name:expr, $message:ident { $($field:ident: $value:expr),+ $(,)? }) => {$(
        let mut message = $message::default();
        message.$field = $value;
        let bytes = message.encode_to_vec();
        let published = $fields.remove(&($name.into(), stringify!($field).into()));
        assert_eq!(Some(first_tag(&bytes)), published, "{}.{}", $name, stringify!($field));
    )+};
}

#[test]
fn message_fields_agree_with_the_proto_text() {
    let mut fields = fields_of(BUGLE);
    fields.retain(|(message, _), _| message != "Frame" && message != "Publish");
    let text = || "x".to_owned();
    check!(
        fields,
        Hello { versions: vec![1], client: text(), producer: text(), group: text(), epoch: Some(1), token: text() }
    );
    check!(
        fields,
        Welcome {
            version: 1,
            session: 1,
            epoch: 1,
            incarnation: "x".into(),
            limits: Some(Limits::default()),
            streams: vec![StreamPosition::default()],
        }
    );
    check!(fields, Limits { frame_bytes: 1, event_bytes: 1, credit_bytes: 1, batch_events: 1, streams: 1 });
    check!(fields, StreamPosition { stream: 1, sequence: 1 });
    check!(fields, Refused { code: 1, detail: text(), retry_after_ms: Some(1) });
    check!(fields, Receipts { receipts: vec![Receipt::default()] });
    check!(
        fields,
        Receipt {
            stream: 1,
            sequence: 1,
            slot: 1,
            first_offset: 1,
            count: 1,
            duplicates: vec![Duplicate::default()],
            refusals: vec![Refusal::default()],
            refused: Some(Refusal::default()),
        }
    );
    check!(fields, Duplicate { index: 1, slot: 1, offset: 1 });
    check!(fields, Refusal { index: 1, code: 1, retry_after_ms: Some(1), detail: text() });
    check!(fields, Query { request: 1, topic: text(), source: text(), id: text() });
    check!(fields, QueryResult { request: 1, status: 1, slot: 1, offset: 1, refused: Some(Refusal::default()) });
    check!(fields, GoAway { code: 1, detail: text(), grace_ms: 1 });
    check!(fields, Error { code: 1, detail: text(), stream: 1, sequence: 1 });
    check!(fields, Abandon { stream: 1, topic: text(), source: text(), id: text() });
    check!(fields, Abandoned { stream: 1, topic: text(), source: text(), id: text() });
    assert_eq!(fields, Fields::new(), "every published field is checked");
}

#[test]
fn frame_kinds_agree_with_the_proto_text() {
    let mut fields = fields_of(BUGLE);
    fields.retain(|(message, _), _| message == "Frame");
    let mut check = |kind: &str, frame: Frame| {
        let published = fields.remove(&("Frame".into(), kind.into()));
        assert_eq!(Some(first_tag(&frame.to_bytes()[4..])), published, "{kind}");
    };
    check("hello", Frame::Hello(Hello::default()));
    check("welcome", Frame::Welcome(Welcome::default()));
    check("refused", Frame::Refused(Refused::default()));
    check("publish", publish());
    check("receipts", Frame::Receipts(Receipts::default()));
    check("query", Frame::Query(Query::default()));
    check("query_result", Frame::QueryResult(QueryResult::default()));
    check("go_away", Frame::GoAway(GoAway::default()));
    check("error", Frame::Error(Error::default()));
    check("abandon", Frame::Abandon(Abandon::default()));
    check("abandoned", Frame::Abandoned(Abandoned::default()));
    assert_eq!(fields, Fields::new(), "every published frame is checked");
}

fn publish_bytes() -> BytesMut {
    let mut body = PublishBody::new("t", 0);
    body.push(b"e");
    let mut out = BytesMut::new();
    PublishHead { stream: 1, sequence: 2, retry: true }.encode(body.bytes_len(), &mut out);
    out.extend_from_slice(&body.finish());
    out
}

fn publish() -> Frame {
    Frame::decode_from_client(&publish_bytes().split_off(4).freeze()).unwrap()
}

#[test]
fn publish_agrees_with_the_proto_text() {
    // The message as the text describes it, read by an independent decoder.
    #[derive(Clone, PartialEq, Message)]
    struct Published {
        #[prost(uint32, tag = "1")]
        stream: u32,
        #[prost(uint64, tag = "2")]
        sequence: u64,
        #[prost(bool, tag = "3")]
        retry: bool,
        #[prost(string, tag = "4")]
        topic: String,
        #[prost(bytes = "vec", repeated, tag = "5")]
        events: Vec<Vec<u8>>,
    }
    let mut fields = fields_of(BUGLE);
    fields.retain(|(message, _), _| message == "Publish");
    let e = vec![b"e".to_vec()];
    check!(fields, "Publish", Published { stream: 1, sequence: 1, retry: true, topic: "t".into(), events: e.clone() });
    assert_eq!(fields, Fields::new());
    // Four bytes of length, tag and length of the message.
    let read = Published::decode(&publish_bytes()[6..]).unwrap();
    assert_eq!(read, Published { stream: 1, sequence: 2, retry: true, topic: "t".into(), events: e });
}

#[test]
fn written_events_agree_with_the_cloudevents_text() {
    let fields = fields_of(CLOUDEVENTS);
    let number = |message: &str, field: &str| fields.get(&(message.to_owned(), field.to_owned())).copied().unwrap();
    assert_eq!(fields.len(), 16);
    for (order, field) in ["id", "source", "spec_version", "type"].iter().enumerate() {
        assert_eq!(number("CloudEvent", field), (u32::try_from(order + 1).unwrap(), 2));
    }
    let plain = EventWriter::new("i", "s", "t").finish().len();
    let check_data = |field: &str, write: &dyn Fn(&mut EventWriter)| {
        let mut writer = EventWriter::new("i", "s", "t");
        write(&mut writer);
        assert_eq!(first_tag(&writer.finish()[plain..]), number("CloudEvent", field));
    };
    check_data("binary_data", &|writer| writer.binary_data(b"x"));
    check_data("text_data", &|writer| writer.text_data("x"));
    check_data("proto_data", &|writer| writer.proto_data("x", b"x"));
    let at = Timestamp::new(1, 1).unwrap();
    for (field, value) in [
        ("ce_boolean", AttributeValue::Boolean(true)),
        ("ce_integer", AttributeValue::Integer(1)),
        ("ce_string", AttributeValue::String("x")),
        ("ce_bytes", AttributeValue::Bytes(b"x")),
        ("ce_uri", AttributeValue::Uri("x")),
        ("ce_uri_ref", AttributeValue::UriRef("x")),
        ("ce_timestamp", AttributeValue::Timestamp(at)),
    ] {
        let mut writer = EventWriter::new("i", "s", "t");
        writer.attribute("n", value);
        let bytes = writer.finish();
        assert_eq!(first_tag(&bytes[plain..]), number("CloudEvent", "attributes"));
        // Tag and length of the entry, the name in three bytes, tag and length of the value.
        assert_eq!(first_tag(&bytes[plain + 7..]), number("CloudEventAttributeValue", field), "{field}");
    }
}
