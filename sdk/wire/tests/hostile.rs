//! Any bytes give a frame or an error: no panic, no large allocation, and what was encoded comes back.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use bugle_wire::schema::*;
use bugle_wire::{EventView, Frame, FrameBuffer, PublishBody, PublishHead, limits};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads a stream to its end or first error, in pieces of `piece` bytes, touching everything a host would touch.
fn consume(stream: &[u8], piece: usize) {
    let mut buffer = FrameBuffer::new(limits::FRAME_BYTES_MAX);
    for part in stream.chunks(piece.max(1)) {
        buffer.extend(part);
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => touch(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn touch(frame: &Bytes) {
    let _ = Frame::decode_from_host(frame);
    if let Ok(Frame::Publish(publish)) = Frame::decode_from_client(frame) {
        assert!(!publish.topic().is_empty());
        assert_eq!(publish.events().count(), publish.event_count());
        for event in publish.events() {
            let _ = EventView::parse(&event);
        }
    }
}

fn publish_bytes(head: PublishHead, topic: &str, events: &[Vec<u8>]) -> BytesMut {
    let mut body = PublishBody::new(topic, 0);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(body.push(event), index);
    }
    let mut out = BytesMut::new();
    head.encode(body.bytes_len(), &mut out);
    out.extend_from_slice(&body.finish());
    out
}

proptest! {
    #[test]
    fn no_stream_panics(stream in vec(any::<u8>(), 0..400), piece in 1_usize..50) {
        consume(&stream, piece);
    }

    #[test]
    fn no_frame_body_panics(kind in 0_u8..16, body in vec(any::<u8>(), 0..200)) {
        let mut message = vec![kind << 3 | 2, u8::try_from(body.len() & 0x7f).unwrap()];
        message.extend_from_slice(&body);
        touch(&Bytes::from(message));
    }

    #[test]
    fn no_damaged_publish_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), piece in 1_usize..50) {
        let event = b"\x0a\x01i\x12\x01s\x1a\x031.0\x22\x01t\x2a\x0b\x0a\x01x\x12\x06\x1a\x04text".to_vec();
        let head = PublishHead { stream: 3, sequence: 70_000, retry: false };
        let mut stream = publish_bytes(head, "orders", &[event.clone(), event]).to_vec();
        let at = at.index(stream.len());
        stream[at] = byte;
        consume(&stream, piece);
    }

    #[test]
    fn a_batch_comes_back(
        stream in any::<u32>(), sequence in any::<u64>(), retry in any::<bool>(),
        topic in "[a-z.]{1,255}", events in vec(vec(any::<u8>(), 0..300), 1..40),
    ) {
        let bytes = publish_bytes(PublishHead { stream, sequence, retry }, &topic, &events);
        let mut buffer = FrameBuffer::new(limits::FRAME_BYTES_MAX);
        buffer.extend(&bytes);
        let frame = Frame::decode_from_client(&buffer.next_frame().unwrap().unwrap()).unwrap();
        prop_assert!(!buffer.is_inside_frame());
        prop_assert_eq!(frame.to_bytes(), bytes.freeze());
        let Frame::Publish(publish) = frame else { panic!("a publish frame was encoded") };
        prop_assert_eq!((publish.stream, publish.sequence, publish.retry), (stream, sequence, retry));
        prop_assert_eq!(publish.topic(), topic);
        prop_assert_eq!(publish.events().map(Vec::from).collect::<Vec<_>>(), events);
    }

    #[test]
    fn receipts_come_back(
        counts in vec((any::<u32>(), any::<u64>(), any::<u32>(), any::<Option<u64>>()), 0..20), detail in "\\PC{0,40}",
    ) {
        let receipts = counts.into_iter().map(|(stream, offset, index, retry_after_ms)| Receipt {
            stream,
            sequence: offset,
            slot: 0,
            first_offset: offset,
            count: index,
            duplicates: vec![Duplicate { index, slot: stream, offset }],
            refusals: vec![Refusal { index, code: stream, retry_after_ms, detail: detail.clone() }],
            refused: None,
        });
        let frame = Frame::Receipts(Receipts { receipts: receipts.collect() });
        prop_assert_eq!(Frame::decode_from_host(&frame.to_bytes().slice(4..)), Ok(frame));
    }
}

#[test]
fn a_frame_full_of_empty_events_is_refused_without_building_them() {
    let head = PublishHead { stream: 1, sequence: 1, retry: false };
    let mut bytes = publish_bytes(head, "t", &vec![Vec::new(); limits::BATCH_EVENTS_MAX + 1]);
    let error = Frame::decode_from_client(&bytes.split_off(4).freeze()).unwrap_err();
    assert_eq!(error.code().to_string(), "invalid-batch");
}

#[test]
fn long_texts_in_client_frames_are_refused() {
    let check = |frame: Frame| {
        let error = Frame::decode_from_client(&frame.to_bytes().slice(4..)).unwrap_err();
        assert_eq!(error.code().to_string(), "invalid", "{error}");
    };
    let long = |max: usize| "x".repeat(max + 1);
    let hello = Hello { producer: "p".into(), ..Default::default() };
    check(Frame::Hello(Hello { producer: long(limits::NAME_BYTES_MAX), ..Default::default() }));
    check(Frame::Hello(Hello { token: long(limits::TOKEN_BYTES_MAX), ..hello.clone() }));
    check(Frame::Hello(Hello { versions: vec![1; limits::VERSIONS_MAX + 1], ..hello }));
    let query = Query { request: 1, topic: "t".into(), source: "s".into(), id: "i".into() };
    check(Frame::Query(Query { topic: long(limits::TOPIC_BYTES_MAX), ..query.clone() }));
    check(Frame::Query(Query { id: String::new(), ..query }));
    let abandon = Abandon { topic: "t".into(), ..Default::default() };
    check(Frame::Abandon(Abandon { topic: String::new(), ..abandon.clone() }));
    check(Frame::Abandon(Abandon { source: long(limits::ATTRIBUTE_BYTES_MAX), ..abandon.clone() }));
    check(Frame::Abandon(Abandon { id: long(limits::ATTRIBUTE_BYTES_MAX), ..abandon.clone() }));
    // An event that could not be read has no name.
    let nameless = Frame::Abandon(abandon);
    assert_eq!(Frame::decode_from_client(&nameless.to_bytes().slice(4..)), Ok(nameless));
}
