//! Packs results into `Receipts` frames: one for all that one commit decided, more only where one would be too long.
//!
//! Knows sizes and nothing of what the results say.

use bugle_core::publish::BatchResult;
use bugle_wire::schema::{Receipt, Receipts};
use bugle_wire::{Frame, limits};
use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::convert;

/// Tags and lengths around one receipt, and around all of them, at most.
const ENVELOPE_BYTES: usize = 16;

/// The frames for these results, in order.
pub(crate) fn frames(results: Vec<BatchResult>) -> Bytes {
    let mut out = BytesMut::new();
    let mut receipts = Vec::with_capacity(results.len());
    let mut frame_bytes = ENVELOPE_BYTES;
    for result in results {
        let receipt = convert::receipt(result);
        let bytes = receipt.encoded_len() + ENVELOPE_BYTES;
        if frame_bytes + bytes > limits::FRAME_BYTES_MAX && !receipts.is_empty() {
            encode(std::mem::take(&mut receipts), &mut out);
            frame_bytes = ENVELOPE_BYTES;
        }
        frame_bytes += bytes;
        receipts.push(receipt);
    }
    encode(receipts, &mut out);
    out.freeze()
}

fn encode(receipts: Vec<Receipt>, out: &mut BytesMut) {
    if !receipts.is_empty() {
        Frame::Receipts(Receipts { receipts }).encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::frames;
    use bugle_core::code::Code;
    use bugle_core::ids::{Sequence, StreamId};
    use bugle_core::publish::{BatchOutcome, BatchResult, Refusal};
    use bugle_wire::{Frame, FrameBuffer, limits};

    fn all_refused(sequence: u64) -> BatchResult {
        let refusal = Refusal { code: Code::Quota, retry_after: None, detail: "x".repeat(600) };
        let refused = (0..4096).map(|index| (index, refusal.clone())).collect();
        let outcome = BatchOutcome::Stored { first: None, stored: 0, duplicates: Vec::new(), refused };
        BatchResult { stream: StreamId(1), sequence: Sequence(sequence), outcome }
    }

    #[test]
    fn the_longest_receipts_are_split_into_frames_within_the_limit() {
        let mut buffer = FrameBuffer::new(limits::FRAME_BYTES_MAX);
        buffer.extend(&frames((1..=3).map(all_refused).collect()));
        let mut sequences = Vec::new();
        while let Some(frame) = buffer.next_frame().unwrap() {
            let Ok(Frame::Receipts(receipts)) = Frame::decode_from_host(&frame) else { panic!("receipts are written") };
            sequences.extend(receipts.receipts.iter().map(|receipt| receipt.sequence));
        }
        assert_eq!(sequences, [1, 2, 3]);
        assert!(!buffer.is_inside_frame());
    }

    #[test]
    fn no_results_are_no_frame() {
        assert!(frames(Vec::new()).is_empty());
    }
}
