//! Decoding any bytes: never a panic, never a wrong row without an error where a checksum says so.

use bugle_core::row::{
    ChannelRow, ClaimRow, CursorChunk, CursorRow, DeadRow, DeadTotals, HoldRow, IdBlockRow, KvRow, LetGoRow, PausedRow,
    RecordRow, RunRow, UnknownRow, UnknownTotals, WaitingRow,
};
use proptest::prelude::*;

use super::sample;
use crate::codec::{EarlierRow, EpochRow, LossRow, Number, Row, decode_event, decode_ids, encode_event, encode_ids};
use crate::keys::{self, Fields};

/// Decodes as everything there is.
fn decode_all(bytes: &[u8]) {
    let _ = decode_event(sample::at(0), bytes);
    let _ = decode_ids(bytes);
    let _ = CursorRow::decode(bytes);
    let _ = CursorChunk::decode(bytes);
    let _ = WaitingRow::decode(bytes);
    let _ = HoldRow::decode(bytes);
    let _ = PausedRow::decode(bytes);
    let _ = RunRow::decode(bytes);
    let _ = LetGoRow::decode(bytes);
    let _ = ChannelRow::decode(bytes);
    let _ = DeadRow::decode(bytes);
    let _ = DeadTotals::decode(bytes);
    let _ = UnknownRow::decode(bytes);
    let _ = UnknownTotals::decode(bytes);
    let _ = ClaimRow::decode(bytes);
    let _ = KvRow::decode(bytes);
    let _ = RecordRow::decode(bytes);
    let _ = IdBlockRow::decode(bytes);
    let _ = (Number::decode(bytes), EpochRow::decode(bytes), LossRow::decode(bytes), EarlierRow::decode(bytes));
    let mut fields = Fields::of(bytes);
    let _ = (keys::event_offset(bytes), fields.text(), fields.position(), fields.class(), fields.rest());
}

fn encoded<R: Row>(row: &R) -> Vec<u8> {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    bytes
}

fn every_value() -> Vec<Vec<u8>> {
    let (mut event, mut ids) = (Vec::new(), Vec::new());
    encode_event(&sample::event(0), &mut event);
    let mut timed = Vec::new();
    encode_event(&sample::scheduled(0), &mut timed);
    encode_ids(bugle_core::ids::Offset(1), &sample::ids(), &mut ids);
    vec![
        event,
        ids,
        encoded(&sample::cursor()),
        encoded(&sample::chunk()),
        encoded(&sample::waiting()),
        encoded(&sample::hold()),
        encoded(&sample::paused()),
        encoded(&sample::channel()),
        encoded(&sample::dead()),
        encoded(&sample::dead_totals()),
        encoded(&sample::unknown()),
        encoded(&sample::unknown_totals()),
        encoded(&sample::claim()),
        encoded(&sample::kv()),
        encoded(&sample::record()),
        encoded(&sample::id_block()),
        encoded(&sample::fate()),
        encoded(&sample::scheduled_totals()),
        timed,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0_u8..3) {
        if let (1.., Some(first)) = (version, bytes.first_mut()) {
            *first = version;
        }
        decode_all(&bytes);
    }
}

#[test]
fn no_cut_or_flip_of_a_row_makes_a_decoder_panic() {
    for value in every_value() {
        for len in 0..=value.len() {
            decode_all(&value[..len]);
        }
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            decode_all(&flipped);
        }
    }
}

#[test]
fn a_flipped_bit_of_an_event_is_noticed_and_so_is_a_wrong_place() {
    let mut record = Vec::new();
    encode_event(&sample::event(5), &mut record);
    assert_eq!(decode_event(sample::at(5), &record), Ok(sample::event(5)));
    assert!(decode_event(sample::at(6), &record).is_err());
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_event(sample::at(5), &flipped).is_err(), "{bit}");
    }
}

#[test]
fn rows_come_back_as_they_were() {
    assert_eq!(CursorChunk::decode(&encoded(&sample::chunk())), Ok(sample::chunk()));
    assert_eq!(DeadRow::decode(&encoded(&sample::dead())), Ok(sample::dead()));
    assert_eq!(DeadTotals::decode(&encoded(&sample::dead_totals())), Ok(sample::dead_totals()));
    assert_eq!(RecordRow::decode(&encoded(&sample::record())), Ok(sample::record()));
    let bare = KvRow { value: Vec::new(), expires: None, version: u64::MAX };
    assert_eq!(KvRow::decode(&encoded(&bare)), Ok(bare));
}
