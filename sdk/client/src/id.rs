//! Event ids for callers who give none: UUID version 7, unique and ordered by time to the millisecond.
//!
//! Knows nothing of events. Randomness is drawn from the system in blocks, since a system call per event would cost
//! more than sending it.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Random bytes of one UUID version 7.
const RANDOM_BYTES: usize = 10;
/// Ids per draw: a system call of about 300 ns shared by 64.
const BLOCK_BYTES: usize = 64 * RANDOM_BYTES;

struct Block {
    bytes: [u8; BLOCK_BYTES],
    used: usize,
}

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK_BYTES], used: BLOCK_BYTES }) };
}

/// A new id.
pub(crate) fn new_id() -> Uuid {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let random = BLOCK.with_borrow_mut(take);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(unix_ms).unwrap_or(u64::MAX), &random).into_uuid()
}

fn take(block: &mut Block) -> [u8; RANDOM_BYTES] {
    if block.used == BLOCK_BYTES {
        getrandom::fill(&mut block.bytes).expect("the system has a source of randomness");
        block.used = 0;
    }
    let mut random = [0; RANDOM_BYTES];
    let unused = block.bytes.iter().skip(block.used);
    random.iter_mut().zip(unused).for_each(|(to, from)| *to = *from);
    block.used += RANDOM_BYTES;
    random
}

#[cfg(test)]
mod tests {
    use super::new_id;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_version_7() {
        let ids: HashSet<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
