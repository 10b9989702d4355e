//! Golden frames: the files under `golden/` that every client and host implementation is tested against.
//!
//! Each `.hex` file is one frame with its length, as hexadecimal digits; lines that begin with `#` are notes. Good
//! frames must encode to exactly these bytes and decode back; bad ones must be refused with the code in their name.
//! `BUGLE_WRITE_GOLDEN=1` writes the files of new frames; an existing file never changes.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bugle_wire::schema::*;
use bugle_wire::{
    AttributeValue, EventView, EventWriter, Frame, FrameBuffer, FrameError, PublishBody, PublishHead, Timestamp, limits,
};
use bytes::{Bytes, BytesMut};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.hex"))
}

fn read(name: &str) -> Bytes {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("golden file `{name}`: {error}"));
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let bytes =
        digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    bytes.collect()
}

fn write_if_asked(name: &str, note: &str, bytes: &[u8]) {
    if std::env::var_os("BUGLE_WRITE_GOLDEN").is_none() || path(name).exists() {
        return;
    }
    let lines: Vec<String> =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    fs::write(path(name), format!("# {note}\n{}\n", lines.join("\n"))).unwrap();
}

fn event() -> Bytes {
    let mut writer =
        EventWriter::new("01938f5e-7d4a-7c3e-9b1a-2f6d8e4c5a70", "https://shop.example/orders", "order.paid");
    writer.attribute("subject", AttributeValue::String("order/7"));
    writer.attribute("time", AttributeValue::Timestamp(Timestamp::new(1_795_256_100, 250_000_000).unwrap()));
    writer.attribute("datacontenttype", AttributeValue::String("application/json"));
    writer.attribute("partitionkey", AttributeValue::String("user-42"));
    writer.attribute("priority", AttributeValue::String("critical"));
    writer.text_data("{\"order\":7,\"amount\":1299}");
    writer.finish()
}

fn publish(sequence: u64, retry: bool) -> Frame {
    let mut body = PublishBody::new("orders", 0);
    body.push(&event());
    body.push(&EventWriter::new("a", "b", "c").finish());
    let mut out = BytesMut::new();
    PublishHead { stream: 1, sequence, retry }.encode(body.bytes_len(), &mut out);
    out.extend_from_slice(&body.finish());
    Frame::decode_from_client(&out.split_off(4).freeze()).unwrap()
}

fn refusal(index: u32, code: u32, retry_after_ms: Option<u64>, detail: &str) -> Refusal {
    Refusal { index, code, retry_after_ms, detail: detail.to_owned() }
}

fn receipts() -> Frame {
    let first = Receipt { stream: 1, sequence: 300, slot: 0, first_offset: 70_000, count: 2, ..Default::default() };
    let second = Receipt {
        stream: 2,
        sequence: 1,
        slot: 0,
        first_offset: 70_002,
        count: 1,
        duplicates: vec![Duplicate { index: 1, slot: 0, offset: 12 }],
        refusals: vec![refusal(2, 41, Some(1500), "quota of producer `shop` is used up")],
        refused: None,
    };
    let third = Receipt {
        stream: 2,
        sequence: 3,
        refused: Some(refusal(0, 20, None, "expected sequence 2")),
        ..Default::default()
    };
    Frame::Receipts(Receipts { receipts: vec![first, second, third] })
}

fn good() -> Vec<(&'static str, Frame)> {
    let key = || ("orders".to_owned(), "https://shop.example/orders".to_owned(), "7".to_owned());
    let (topic, source, id) = key();
    let query = Query { request: 9, topic, source, id };
    let (topic, source, id) = key();
    let abandon = Abandon { stream: 1, topic, source, id };
    let (topic, source, id) = key();
    let abandoned = Abandoned { stream: 1, topic, source, id };
    let hello = Hello {
        versions: vec![1],
        client: "bugle-client/0.1.0".to_owned(),
        producer: "shop".to_owned(),
        group: String::new(),
        epoch: None,
        token: "secret".to_owned(),
    };
    let welcome = Welcome {
        version: 1,
        session: 77,
        epoch: 3,
        incarnation: Bytes::from_static(&[0xab; 16]),
        limits: Some(Limits {
            frame_bytes: 1_048_576,
            event_bytes: 262_144,
            credit_bytes: 4_194_304,
            batch_events: 4096,
            streams: 8,
        }),
        streams: vec![StreamPosition { stream: 1, sequence: 299 }],
    };
    let resumed = Hello { epoch: Some(3), ..hello.clone() };
    let stored = QueryResult { request: 9, status: QueryStatus::Stored.into(), slot: 0, offset: 12, refused: None };
    let unknown_topic = refusal(0, 21, None, "topic `orders` does not exist");
    vec![
        ("hello-new", Frame::Hello(hello)),
        ("hello-resume", Frame::Hello(resumed)),
        ("welcome", Frame::Welcome(welcome)),
        (
            "refused",
            Frame::Refused(Refused { code: 3, detail: "this host speaks version 1".to_owned(), retry_after_ms: None }),
        ),
        ("publish-first", publish(300, false)),
        ("publish-retry", publish(300, true)),
        ("receipts", receipts()),
        ("query", Frame::Query(query)),
        ("query-result-stored", Frame::QueryResult(stored)),
        (
            "query-result-refused",
            Frame::QueryResult(QueryResult { request: 9, refused: Some(unknown_topic), ..Default::default() }),
        ),
        ("go-away", Frame::GoAway(GoAway { code: 7, detail: "the host is restarting".to_owned(), grace_ms: 5000 })),
        (
            "error",
            Frame::Error(Error {
                code: 1,
                detail: "a `publish` frame could not be decoded".to_owned(),
                stream: 1,
                sequence: 4,
            }),
        ),
        ("abandon", Frame::Abandon(abandon)),
        ("abandoned", Frame::Abandoned(abandoned)),
    ]
}

fn bad() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let framed = |message: &[u8]| [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    let receipts = receipts().to_bytes();
    vec![
        ("bad-malformed-frame-empty", "a frame of no bytes", vec![0, 0, 0, 0]),
        ("bad-malformed-frame-garbage", "bytes that are not protobuf", framed(&[0xff; 8])),
        ("bad-malformed-frame-cut", "a publish message longer than its frame", framed(&[0x22, 0x7f, 0x08, 0x01])),
        ("bad-malformed-frame-two", "two messages in one frame", framed(&[0x32, 0x00, 0x32, 0x00])),
        ("bad-malformed-frame-group", "a protobuf group", framed(&[0x0b, 0x0c])),
        ("bad-frame-too-long", "an announced length of 1 MiB + 1", vec![0x00, 0x10, 0x00, 0x01]),
        ("bad-unexpected-frame-unknown", "a kind that does not exist", framed(&[0xfa, 0x06, 0x00])),
        ("bad-unexpected-frame-direction", "receipts sent by a client", receipts.to_vec()),
        ("bad-invalid-batch-empty", "a batch without events", framed(&[0x22, 0x07, 0x08, 1, 0x10, 1, 0x22, 1, b't'])),
        ("bad-invalid-no-topic", "a batch without topic", framed(&[0x22, 0x07, 0x08, 1, 0x10, 1, 0x2a, 1, b'e'])),
        ("bad-invalid-no-producer", "a hello without producer name", framed(&[0x0a, 0x02, 0x08, 0x01])),
    ]
}

/// Decodes a golden file as the side that may receive it would.
fn decode(bytes: &[u8], from_client: bool) -> Result<Frame, FrameError> {
    let mut buffer = FrameBuffer::new(limits::FRAME_BYTES_MAX);
    buffer.extend(bytes);
    let frame = buffer.next_frame()?.expect("a golden file has one whole frame");
    if from_client { Frame::decode_from_client(&frame) } else { Frame::decode_from_host(&frame) }
}

#[test]
fn good_frames_are_as_committed() {
    for (name, frame) in good() {
        write_if_asked(name, &format!("good frame `{name}`"), &frame.to_bytes());
        assert_eq!(frame.to_bytes(), read(name), "{name}");
        let from_client = matches!(frame, Frame::Hello(_) | Frame::Publish(_) | Frame::Query(_) | Frame::Abandon(_));
        let decoded = decode(&read(name), from_client).unwrap();
        assert_eq!(decoded.to_bytes(), read(name), "{name}");
        assert!(matches!(decode(&read(name), !from_client), Err(FrameError::Unexpected { .. })), "{name}");
    }
}

#[test]
fn events_of_a_golden_batch_are_slices_of_it() {
    let Ok(Frame::Publish(publish)) = decode(&read("publish-retry"), true) else {
        panic!("publish-retry is a publish frame");
    };
    assert_eq!((publish.stream, publish.sequence, publish.retry), (1, 300, true));
    assert_eq!((publish.topic(), publish.event_count()), ("orders", 2));
    let events: Vec<Bytes> = publish.events().collect();
    assert_eq!(events, [event(), EventWriter::new("a", "b", "c").finish()]);
    let view = EventView::parse(&events[0]).unwrap();
    assert_eq!(view.partition_key, Some("user-42"));
    assert_eq!(view.data.bytes(), b"{\"order\":7,\"amount\":1299}");
}

#[test]
fn bad_frames_are_refused_with_their_code() {
    for (name, note, bytes) in bad() {
        write_if_asked(name, &format!("bad frame: {note}"), &bytes);
        assert_eq!(read(name), bytes, "{name}");
        let error = decode(&read(name), true).unwrap_err();
        assert!(name.starts_with(&format!("bad-{}", error.code())), "{name}: {error}");
    }
}

#[test]
fn every_golden_file_is_tested() {
    let tested: BTreeSet<PathBuf> =
        good().iter().map(|(name, _)| path(name)).chain(bad().iter().map(|(name, ..)| path(name))).collect();
    let present: BTreeSet<PathBuf> = fs::read_dir(path("x").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    assert_eq!(tested, present);
}
