//! Prints what walking one 256-byte event costs: `cargo run -p bugle-wire --example walk_speed`.
//!
//! A measurement, not a test: it prints and asserts nothing. The budget is 0.2 us for walk and duplicate check together.

use std::hint::black_box;
use std::time::Duration;

use bugle_wire::{AttributeValue, EventView, EventWriter, Frame, PublishBody, PublishHead, Timestamp};
use bytes::BytesMut;

const ROUNDS: u32 = 5;
const BATCHES: u32 = 2_000;
const EVENTS: u32 = 200;

fn main() {
    let id = "01938f5e-7d4a-7c3e-9b1a-2f6d8e4c5a70";
    let mut writer = EventWriter::new(id, "https://shop.example/orders", "order.paid");
    let time = Timestamp::from_unix_ms(1_795_256_100_250).expect("a time of this century");
    writer.attribute("time", AttributeValue::Timestamp(time));
    writer.attribute("partitionkey", AttributeValue::String("user-42"));
    writer.binary_data(&[b'x'; 112]);
    let event = writer.finish();
    let mut body = PublishBody::new("orders", 0);
    for _ in 0..EVENTS {
        body.push(&event);
    }
    let mut frame = BytesMut::new();
    PublishHead { stream: 1, sequence: 1, retry: false }.encode(body.bytes_len(), &mut frame);
    frame.extend_from_slice(&body.finish());
    let frame = frame.split_off(4).freeze();
    println!("event {} bytes, frame {} bytes", event.len(), frame.len());
    for _ in 0..ROUNDS {
        let start = cpu();
        for _ in 0..BATCHES * EVENTS {
            black_box(EventView::parse(black_box(&event)).is_ok());
        }
        let walk = (cpu() - start) / (BATCHES * EVENTS);
        let start = cpu();
        for _ in 0..BATCHES {
            if let Ok(Frame::Publish(publish)) = Frame::decode_from_client(black_box(&frame)) {
                for event in publish.events() {
                    black_box(&event);
                }
            }
        }
        println!("walk {walk:?} per event, frame {:?} per event", (cpu() - start) / (BATCHES * EVENTS));
    }
}

/// CPU time of this thread so far; other processes on the machine hardly change it.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
