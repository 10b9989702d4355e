//! Reads RocksDB's write-ahead log before RocksDB does, to notice what its recovery passes over in silence.
//!
//! Each commit is synced before the next one is written, so a complete record proves that every sequence number before it was
//! confirmed. A gap between two complete records is therefore a loss of confirmed data, never a torn tail; RocksDB would skip
//! a zeroed stretch and go on behind it. Knows the form of the log's records and of the batches in them, nothing of rows but
//! the keys of events. Changes nothing.
//!
//! Invariant: a log that a power cut can have left behind has no hole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bugle_core::ids::Offset;

use crate::codec::Reader;
use crate::keys;

/// Records do not cross blocks; longer ones are cut into fragments.
const BLOCK_BYTES: usize = 32 << 10;
/// Masked CRC32C, length, type.
const HEADER_BYTES: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Sequence number and count of a batch.
const BATCH_HEADER_BYTES: usize = 12;

/// Confirmed data is missing inside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// The last sequence number before it.
    pub(super) before: u64,
    /// One that was confirmed behind it.
    pub(super) behind: u64,
    /// First event that can be missing, and one past the last; equal if no event is known to be.
    pub(super) from: Offset,
    pub(super) to: Offset,
}

/// The first hole of the log of the database in `db_dir`.
pub(super) fn find_hole(db_dir: &Path) -> io::Result<Option<Hole>> {
    let mut scan = Scan::default();
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for path in files(db_dir)? {
        let mut file = File::open(path)?;
        scan.is_damaged = false;
        loop {
            block.clear();
            file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            scan.block(&block);
        }
        // A record does not go on in the next file.
        scan.fragments = None;
    }
    Ok(scan.hole)
}

/// The files of the log, oldest first.
pub(super) fn files(db_dir: &Path) -> io::Result<Vec<PathBuf>> {
    if !db_dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(db_dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|extension| extension.to_str())) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

#[derive(Default)]
struct Scan {
    /// Of the record being put together; the first one can be empty, when just a header fitted into its block.
    fragments: Option<Vec<u8>>,
    /// Bytes of this file were not a record.
    is_damaged: bool,
    /// The sequence number expected next.
    next: Option<u64>,
    next_event: Offset,
    hole: Option<Hole>,
}

impl Scan {
    fn block(&mut self, block: &[u8]) {
        let mut at = 0;
        while at + HEADER_BYTES <= block.len() {
            match fragment(&block[at..]) {
                Some((kind, payload)) => {
                    self.fragment(kind, payload);
                    at += HEADER_BYTES + payload.len();
                }
                None => {
                    // Looks for the next record byte by byte: a damaged length must not hide what is behind it.
                    self.is_damaged = true;
                    self.fragments = None;
                    at += 1;
                }
            }
        }
    }

    fn fragment(&mut self, kind: u8, payload: &[u8]) {
        match kind {
            FULL => self.record(payload),
            FIRST => self.fragments = Some(payload.to_vec()),
            // Without its beginning a record is not complete.
            MIDDLE => {
                if let Some(fragments) = &mut self.fragments {
                    fragments.extend_from_slice(payload);
                }
            }
            LAST => {
                if let Some(mut record) = self.fragments.take() {
                    record.extend_from_slice(payload);
                    self.record(&record);
                }
            }
            _ => {}
        }
    }

    fn record(&mut self, record: &[u8]) {
        let Some((sequence, count)) = batch_header(record) else { return };
        let events = event_offsets(record);
        let is_gap = match self.next {
            Some(next) => sequence > next,
            None => self.is_damaged,
        };
        if is_gap && self.hole.is_none() {
            let from = self.next_event;
            let to = events.map_or(from, |(first, _)| first).max(from);
            let before = self.next.map_or(0, |next| next - 1);
            self.hole = Some(Hole { before, behind: sequence - 1, from, to });
        }
        self.next = Some(self.next.unwrap_or(0).max(sequence + u64::from(count)));
        if let Some((_, last)) = events {
            self.next_event = self.next_event.max(last.next());
        }
    }
}

/// Type and payload of the fragment at the front, if it is whole.
fn fragment(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (sum, rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (kind, _) = rest.split_first()?;
    let payload = rest.get(1..1 + usize::from(u16::from_le_bytes(*len)))?;
    let is_known = *kind != 0;
    let is_whole = is_known && unmask(u32::from_le_bytes(*sum)) == crc32c::crc32c(rest.get(..=payload.len())?);
    is_whole.then_some((*kind, payload))
}

/// RocksDB stores checksums turned and shifted.
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_right(17)
}

fn batch_header(record: &[u8]) -> Option<(u64, u32)> {
    let (sequence, rest) = record.split_first_chunk::<8>()?;
    let (count, _) = rest.split_first_chunk::<4>()?;
    let sequence = u64::from_le_bytes(*sequence);
    (sequence > 0).then_some((sequence, u32::from_le_bytes(*count)))
}

/// First and last offset of the events a batch puts.
fn event_offsets(record: &[u8]) -> Option<(Offset, Offset)> {
    let mut rows = Reader::new(record.get(BATCH_HEADER_BYTES..)?);
    let mut found: Option<(Offset, Offset)> = None;
    // Ends at the first row that is not understood, or at the end.
    while let Some(key) = next_key(&mut rows) {
        if let Some(offset) = keys::event_offset(key) {
            found = Some(found.map_or((offset, offset), |(first, last)| (first.min(offset), last.max(offset))));
        }
    }
    found
}

/// The key of the next row: a put, a delete or a range delete, in a family or in the default one.
fn next_key<'a>(rows: &mut Reader<'a>) -> Option<&'a [u8]> {
    let (has_family, has_value) = match rows.u8().ok()? {
        0x00 => (false, false),
        0x01 | 0x0f => (false, true),
        0x04 => (true, false),
        0x05 | 0x0e => (true, true),
        _ => return None,
    };
    if has_family {
        rows.varint().ok()?;
    }
    let key = rows.bytes().ok()?;
    if has_value {
        rows.bytes().ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment_of(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut summed = vec![kind];
        summed.extend_from_slice(payload);
        let masked = crc32c::crc32c(&summed).rotate_right(15).wrapping_add(0xa282_ead8);
        let len = u16::try_from(payload.len()).unwrap();
        [&masked.to_le_bytes()[..], &len.to_le_bytes(), &summed].concat()
    }

    fn batch(sequence: u64, bytes: usize) -> Vec<u8> {
        let mut batch = [&sequence.to_le_bytes()[..], &1u32.to_le_bytes()].concat();
        batch.resize(bytes, 0xff);
        batch
    }

    fn hole_in(log: &[u8]) -> Option<Hole> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("000004.log"), log).unwrap();
        find_hole(dir.path()).unwrap()
    }

    #[test]
    fn record_whose_first_fragment_is_only_a_header_is_no_hole() {
        let filling = fragment_of(FULL, &batch(1, BLOCK_BYTES - 2 * HEADER_BYTES));
        let first = fragment_of(FIRST, b"");
        let rest = [fragment_of(LAST, &batch(2, 20)), fragment_of(FULL, &batch(3, 20))].concat();
        assert_eq!(filling.len() + first.len(), BLOCK_BYTES);
        assert_eq!(hole_in(&[&filling[..], &first, &rest].concat()), None);
        let hole = hole_in(&[&filling[..], &[0; HEADER_BYTES], &rest].concat()).unwrap();
        assert_eq!((hole.before, hole.behind), (1, 2));
    }
}
