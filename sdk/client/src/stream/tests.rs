//! The publish stream's queue against a host that is played by hand.

use super::*;
use crate::batch::PendingReceipt;
use crate::outcome::{Outcome, Receipt};
use bugle_wire::{Frame, Position, Publish};
use futures_util::FutureExt;

const CREDIT: usize = 1024 * 1024;

fn later(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn event(len: usize) -> Vec<u8> {
    vec![b'e'; len]
}

fn append(stream: &mut Stream, topic: &str, len: usize) -> PendingReceipt {
    let (batch, index) = stream.append(topic, &event(len), len, || later(60));
    PendingReceipt::in_batch(batch, index)
}

/// Writes the next frame and reads it as the host would.
fn write(stream: &mut Stream) -> Option<Publish> {
    let outgoing = stream.next_frame(CREDIT, false)?;
    let bytes = Bytes::from([outgoing.head, outgoing.body].concat());
    match Frame::decode_from_client(&bytes.slice(4..)) {
        Ok(Frame::Publish(publish)) => Some(publish),
        other => panic!("not a publish frame: {other:?}"),
    }
}

fn stored(sequence: u64, first_offset: u64, count: u32) -> schema::Receipt {
    schema::Receipt { stream: 1, sequence, first_offset, count, ..Default::default() }
}

fn refused(sequence: u64, code: Code) -> schema::Receipt {
    let refused = Some(schema::Refusal { code: code.number(), ..Default::default() });
    schema::Receipt { stream: 1, sequence, refused, ..Default::default() }
}

fn settle(stream: &mut Stream, receipt: schema::Receipt) {
    let settled = stream.apply(receipt).unwrap();
    settled.into_iter().for_each(|settled| settled.batch.resolve(settled.resolution));
}

fn confirmed_at(offset: u64) -> Option<Outcome> {
    let position = Position { slot: 0, offset };
    Some(Outcome::Confirmed(Receipt { position, duplicate: false }))
}

fn code_of(outcome: Option<Outcome>) -> Code {
    match outcome {
        Some(Outcome::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_first_event_leaves_alone_and_the_next_ones_together() {
    let mut stream = Stream::new(1);
    let first = append(&mut stream, "t", 10);
    assert_eq!(write(&mut stream).unwrap().event_count(), 1);
    let others: Vec<_> = (0..5).map(|_| append(&mut stream, "t", 10)).collect();
    assert!(write(&mut stream).is_none(), "a receipt is pending and little waits");
    settle(&mut stream, stored(1, 40, 1));
    assert_eq!(first.now_or_never(), confirmed_at(40));
    let batch = write(&mut stream).unwrap();
    assert_eq!((batch.sequence, batch.event_count(), batch.retry), (2, 5, false));
    settle(&mut stream, stored(2, 50, 5));
    for (offset, pending) in (50..).zip(others) {
        assert_eq!(pending.now_or_never(), confirmed_at(offset));
    }
    assert!(stream.is_empty());
}

#[test]
fn a_full_batch_leaves_without_waiting_for_a_receipt() {
    let mut stream = Stream::new(1);
    append(&mut stream, "t", 10).now_or_never();
    write(&mut stream).unwrap();
    for _ in 0..=FLUSH_BYTES / 1000 {
        append(&mut stream, "t", 1000).now_or_never();
    }
    assert!(stream.wants_write());
    assert!(write(&mut stream).unwrap().event_count() >= FLUSH_BYTES / 1000);
}

#[test]
fn batches_have_one_topic_and_bounded_size() {
    let mut stream = Stream::new(1);
    for topic in ["a", "b", "a"] {
        append(&mut stream, topic, 10).now_or_never();
    }
    append(&mut stream, "a", 200 * 1024).now_or_never();
    append(&mut stream, "a", 10).now_or_never();
    let mut seen = Vec::new();
    for sequence in 1.. {
        let Some(batch) = write(&mut stream) else { break };
        seen.push((batch.topic().to_owned(), batch.event_count()));
        settle(&mut stream, stored(sequence, 0, u32::try_from(batch.event_count()).unwrap()));
    }
    let expected = [("a", 2), ("b", 1), ("a", 1), ("a", 1)].map(|(topic, count)| (topic.to_owned(), count));
    assert_eq!(seen, expected, "the large event is alone, and the one after it stays after it");
}

#[test]
fn credit_limits_what_is_unanswered() {
    let mut stream = Stream::new(1);
    append(&mut stream, "t", 40_000).now_or_never();
    append(&mut stream, "t", 40_000).now_or_never();
    assert!(stream.next_frame(50_000, false).is_some());
    assert!(stream.next_frame(50_000, false).is_none(), "over the credit");
    settle(&mut stream, stored(1, 0, 1));
    assert!(stream.next_frame(50_000, false).is_some());
}

#[test]
fn a_new_session_sends_everything_unanswered_again_with_the_same_numbers() {
    let mut stream = Stream::new(1);
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(append(&mut stream, "t", 40_000));
        write(&mut stream).unwrap();
    }
    settle(&mut stream, stored(1, 7, 1));
    // The host decided 2, but its receipt was lost.
    stream.begin_session(2);
    let again: Vec<_> = std::iter::from_fn(|| write(&mut stream)).map(|batch| (batch.sequence, batch.retry)).collect();
    assert_eq!(again, [(2, true), (3, true)]);
    settle(&mut stream, stored(2, 8, 1));
    settle(&mut stream, stored(3, 9, 1));
    for (offset, pending) in (7..).zip(pending) {
        assert_eq!(pending.now_or_never(), confirmed_at(offset));
    }
    append(&mut stream, "t", 10).now_or_never();
    assert_eq!(write(&mut stream).map(|batch| (batch.sequence, batch.retry)), Some((4, false)));
}

#[test]
fn a_new_epoch_counts_from_one() {
    let mut stream = Stream::new(1);
    for _ in 0..2 {
        append(&mut stream, "t", 40_000).now_or_never();
        write(&mut stream).unwrap();
    }
    settle(&mut stream, stored(1, 7, 1));
    stream.forget_numbers();
    stream.begin_session(0);
    assert_eq!(write(&mut stream).map(|batch| (batch.sequence, batch.retry)), Some((1, true)));
}

#[test]
fn a_refused_batch_does_not_stop_those_behind_it() {
    let mut stream = Stream::new(1);
    let pending: Vec<_> = (0..3)
        .map(|_| {
            let pending = append(&mut stream, "t", 40_000);
            write(&mut stream).unwrap();
            pending
        })
        .collect();
    settle(&mut stream, refused(1, Code::QUOTA));
    settle(&mut stream, refused(2, Code::GAP));
    assert!(stream.needs_new_epoch(), "until 3 is answered, nobody knows where the count stands");
    append(&mut stream, "t", 10).now_or_never();
    assert!(write(&mut stream).is_none());
    settle(&mut stream, refused(3, Code::GAP));
    assert!(!stream.needs_new_epoch());
    let again: Vec<_> = std::iter::from_fn(|| write(&mut stream)).map(|batch| (batch.sequence, batch.retry)).collect();
    assert_eq!(again, [(1, true), (2, true)], "what waits behind them stays");
    settle(&mut stream, stored(1, 5, 1));
    settle(&mut stream, stored(2, 6, 1));
    let outcomes: Vec<_> = pending.into_iter().map(FutureExt::now_or_never).collect();
    assert_eq!(code_of(outcomes[0].clone()), Code::QUOTA);
    assert_eq!(outcomes[1..], [confirmed_at(5), confirmed_at(6)]);
    assert_eq!(write(&mut stream).map(|batch| batch.sequence), Some(3));
}

#[test]
fn a_gap_out_of_nowhere_ends_the_session() {
    let mut stream = Stream::new(1);
    append(&mut stream, "t", 10).now_or_never();
    write(&mut stream).unwrap();
    assert_eq!(stream.apply(refused(1, Code::GAP)).unwrap_err(), StreamError::LostCount { stream: 1 });
}

#[test]
fn receipts_that_do_not_fit_are_refused() {
    let mut stream = Stream::new(1);
    append(&mut stream, "t", 10).now_or_never();
    let wrong = StreamError::Receipt { stream: 1 };
    assert_eq!(stream.apply(stored(1, 0, 1)).unwrap_err(), wrong, "nothing was written yet");
    write(&mut stream).unwrap();
    assert_eq!(stream.apply(stored(2, 0, 1)).unwrap_err(), wrong, "never sent");
    assert_eq!(stream.apply(stored(1, 0, 2)).unwrap_err(), wrong, "too many events");
    settle(&mut stream, stored(1, 0, 1));
    assert_eq!(stream.apply(stored(1, 0, 1)).unwrap_err(), wrong, "answered before");
}

#[test]
fn past_the_deadline_unsent_is_refused_and_sent_is_unknown() {
    let mut stream = Stream::new(1);
    let sent = append(&mut stream, "t", 10);
    write(&mut stream).unwrap();
    let waiting = append(&mut stream, "t", 10);
    assert!(stream.next_deadline().is_some());
    let mut settled = Vec::new();
    stream.expire(later(61), &mut settled);
    settled.drain(..).for_each(|settled| settled.batch.resolve(settled.resolution));
    assert_eq!(sent.now_or_never(), Some(Outcome::Unknown));
    assert_eq!(code_of(waiting.now_or_never()), Code::UNAVAILABLE);
    assert_eq!(stream.next_deadline(), None);
    // A late answer is recognised, in the same session.
    assert!(stream.apply(stored(1, 0, 1)).unwrap().is_some_and(|settled| settled.permits == 10));
    assert!(stream.is_empty());
}

#[test]
fn letting_go_of_an_expired_batch_asks_for_a_new_epoch() {
    let mut stream = Stream::new(1);
    append(&mut stream, "t", 10).now_or_never();
    write(&mut stream).unwrap();
    let mut settled = Vec::new();
    stream.expire(later(61), &mut settled);
    stream.drop_expired(&mut settled);
    assert!(stream.needs_new_epoch() && stream.is_empty());
    assert_eq!(settled.iter().map(|settled| settled.permits).sum::<usize>(), 10);
    assert_eq!(settled.iter().map(|settled| settled.event_count).sum::<usize>(), 1, "counted once");
}

#[test]
fn the_end_leaves_nobody_waiting() {
    let mut stream = Stream::new(1);
    let sent = append(&mut stream, "t", 10);
    write(&mut stream).unwrap();
    let waiting = append(&mut stream, "t", 10);
    let mut settled = Vec::new();
    stream.end(Code::UNAUTHENTICATED, "no", &mut settled);
    settled.drain(..).for_each(|settled| settled.batch.resolve(settled.resolution));
    assert_eq!(sent.now_or_never(), Some(Outcome::Unknown));
    assert_eq!(code_of(waiting.now_or_never()), Code::UNAUTHENTICATED);
    assert!(stream.is_empty());
}

#[test]
fn a_place_behind_what_is_queued_is_reached_when_that_is_written() {
    let mut stream = Stream::new(1);
    assert_eq!((stream.queued_through(), stream.written_through()), (0, 0), "nothing is in the way");
    append(&mut stream, "t", 10).now_or_never();
    let first = stream.queued_through();
    assert!(stream.written_through() < first);
    write(&mut stream).unwrap();
    assert!(stream.written_through() >= first);
    append(&mut stream, "t", 10).now_or_never();
    let second = stream.queued_through();
    assert!((first..second).contains(&stream.written_through()), "it waits for the first receipt");
    settle(&mut stream, stored(1, 0, 1));
    write(&mut stream).unwrap();
    assert!(stream.written_through() >= second);
    // In a new session everything unanswered is written again first.
    stream.begin_session(1);
    assert!((first..second).contains(&stream.written_through()));
    write(&mut stream).unwrap();
    assert!(stream.written_through() >= second);
    // What was given up at its deadline does not have to be written.
    append(&mut stream, "t", 10).now_or_never();
    let third = stream.queued_through();
    stream.expire(later(61), &mut Vec::new());
    assert!(stream.written_through() >= third);
}
