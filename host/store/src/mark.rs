//! The commit mark: how far the store had come, told by a file outside the write-ahead log.
//!
//! At open the recovered store is compared with it, so a log that lost confirmed events cannot pass for a shorter one. Written
//! about once a second; two places in turn, each with its own checksum, so that a write torn by a power cut leaves the other.
//!
//! Invariant: a mark is written only for what was synced before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use bugle_core::ids::Offset;

/// Each place has a disk sector of its own.
const PLACE_BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"BUGLEMRK";
const VERSION: u8 = 1;
/// Magic, version, count, incarnation, sequence, next offset.
const BODY_BYTES: usize = 8 + 1 + 8 + 16 + 8 + 8;

/// How far the store had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Grows with each write of the file.
    pub(crate) count: u64,
    pub(crate) incarnation: [u8; 16],
    /// RocksDB's sequence number.
    pub(crate) sequence: u64,
    /// Offset of the next event then; names a lost range.
    pub(crate) next: Offset,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: File,
    last: Mark,
}

/// What the file said at open.
#[derive(Debug)]
pub(crate) enum Found {
    Mark(MarkFile),
    /// There is no file.
    Missing,
    /// Neither place holds a valid mark.
    Damaged,
}

impl MarkFile {
    /// Makes the file, durably.
    pub(crate) fn create(path: &Path, incarnation: [u8; 16]) -> io::Result<MarkFile> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let last = Mark { count: 0, incarnation, sequence: 0, next: Offset(0) };
        let mut both = encode(last).to_vec();
        both.extend_from_slice(&encode(last));
        file.write_all_at(&both, 0)?;
        file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(MarkFile { file, last })
    }

    pub(crate) fn open(path: &Path) -> io::Result<Found> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(error),
        };
        Ok(read_last(&mut file)?.map_or(Found::Damaged, |last| Found::Mark(MarkFile { file, last })))
    }

    /// What the file says, without a right to change it; nothing if it is damaged.
    pub(crate) fn look(path: &Path) -> io::Result<Option<Mark>> {
        read_last(&mut File::open(path)?)
    }

    pub(crate) fn last(&self) -> Mark {
        self.last
    }

    /// Writes and syncs a newer mark; nothing if nothing moved.
    pub(crate) fn write(&mut self, sequence: u64, next: Offset) -> io::Result<()> {
        if (sequence, next) == (self.last.sequence, self.last.next) {
            return Ok(());
        }
        let mark = Mark { count: self.last.count + 1, sequence, next, ..self.last };
        let place = mark.count % 2 * PLACE_BYTES as u64;
        self.file.write_all_at(&encode(mark), place)?;
        self.file.sync_data()?;
        self.last = mark;
        Ok(())
    }
}

fn read_last(file: &mut File) -> io::Result<Option<Mark>> {
    let mut bytes = Vec::new();
    Read::by_ref(file).take(2 * PLACE_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes.chunks(PLACE_BYTES).filter_map(decode).max_by_key(|mark| mark.count))
}

fn encode(mark: Mark) -> [u8; PLACE_BYTES] {
    let mut body = Vec::with_capacity(PLACE_BYTES);
    body.extend_from_slice(MAGIC);
    body.push(VERSION);
    body.extend_from_slice(&mark.count.to_be_bytes());
    body.extend_from_slice(&mark.incarnation);
    body.extend_from_slice(&mark.sequence.to_be_bytes());
    body.extend_from_slice(&mark.next.0.to_be_bytes());
    let sum = crc32c::crc32c(&body);
    body.extend_from_slice(&sum.to_be_bytes());
    let mut place = [0; PLACE_BYTES];
    for (to, from) in place.iter_mut().zip(body) {
        *to = from;
    }
    place
}

fn decode(place: &[u8]) -> Option<Mark> {
    let body = place.get(..BODY_BYTES)?;
    let (sum, _) = place.get(BODY_BYTES..)?.split_first_chunk::<4>()?;
    let rest = body.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let (incarnation, rest) = rest.split_first_chunk::<16>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (next, _) = rest.split_first_chunk::<8>()?;
    Some(Mark {
        count: u64::from_be_bytes(*count),
        incarnation: *incarnation,
        sequence: u64::from_be_bytes(*sequence),
        next: Offset(u64::from_be_bytes(*next)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path) -> Option<Mark> {
        match MarkFile::open(path).unwrap() {
            Found::Mark(file) => Some(file.last()),
            Found::Missing | Found::Damaged => None,
        }
    }

    #[test]
    fn a_mark_torn_anywhere_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::create(&path, [7; 16]).unwrap();
        file.write(10, Offset(3)).unwrap();
        let before = std::fs::read(&path).unwrap();
        file.write(20, Offset(5)).unwrap();
        let after = std::fs::read(&path).unwrap();
        for cut in 0..PLACE_BYTES {
            // The second write went to the first place; its first `cut` bytes arrived.
            let mut torn = before.clone();
            torn[..cut].copy_from_slice(&after[..cut]);
            std::fs::write(&path, &torn).unwrap();
            let sequence = found(&path).unwrap().sequence;
            assert!(sequence == 10 || (sequence == 20 && torn[..64] == after[..64]), "{cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_never_a_higher_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::create(&path, [7; 16]).unwrap();
        file.write(10, Offset(3)).unwrap();
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(found(&path).unwrap().sequence <= 10, "{bit}");
        }
    }
}
