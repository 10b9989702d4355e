//! The lanes whose head waits on disk only: 13 bytes for each slot of a hash table, and where each lane's later events begin.
//!
//! The table is in parts of unequal size, so that they double one after the other: the room in use grows smoothly, and no step
//! waits for a million entries to move. Knows nothing of deliveries.
//!
//! Invariant: a lane is in the table once at most.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::ids::Offset;
use crate::lane_hash::{LaneHash, Placement};
use crate::row::CHUNK_OFFSETS;

/// Where the parts end, in 256ths of all places: each is a twelfth to a sixth of them, growing by the eighth root of two.
const PARTS: [u8; 8] = [22, 46, 73, 101, 133, 167, 209, 255];
/// Parts that use less than one place in this many give room back.
const SPARE_PARTS: usize = 8;
/// Room below which nothing is given back.
const SPARE_MIN: usize = 1_024;
/// Instead of a chunk number: no later event of the lane was read.
const NOTHING_BEHIND: u32 = u32::MAX;

/// One lane: 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Its hash, in halves so that no padding follows.
    hash: [u32; 2],
    /// The chunk of its first later event: where a rescan for it begins.
    behind: u32,
}

impl Head {
    fn new(LaneHash(hash): LaneHash, behind: Option<Offset>) -> Head {
        Head { hash: [(hash >> 32) as u32, hash as u32], behind: behind.map_or(NOTHING_BEHIND, chunk_of) }
    }

    fn lane(&self) -> LaneHash {
        LaneHash(u64::from(self.hash[0]) << 32 | u64::from(self.hash[1]))
    }
}

/// Chunk numbers fit: a log of 2^44 events is years of a million a second.
fn chunk_of(offset: Offset) -> u32 {
    u32::try_from(offset.0 / CHUNK_OFFSETS).map_or(NOTHING_BEHIND - 1, |chunk| chunk.min(NOTHING_BEHIND - 1))
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Heads {
    parts: [HashTable<Head>; PARTS.len()],
    placement: Placement,
    len: usize,
    /// Lanes with later events.
    followed: usize,
}

impl Heads {
    pub(crate) fn new(seed: u64) -> Heads {
        let parts = core::array::from_fn(|_| HashTable::new());
        Heads { parts, placement: Placement::new(seed), len: 0, followed: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Lanes with later events.
    pub(crate) fn followed(&self) -> usize {
        self.followed
    }

    /// The part a lane is in, and its place there.
    fn place(&self, lane: LaneHash) -> (usize, u64) {
        let place = self.placement.of(lane);
        // Bits that neither the place within the part nor its tag depend on.
        let share = (place >> 40) as u8;
        (PARTS.iter().position(|end| share <= *end).unwrap_or(0), place)
    }

    /// Adds a lane, with the first later event of it that was read; false if it was there before.
    pub(crate) fn insert(&mut self, lane: LaneHash, behind: Option<Offset>) -> bool {
        let (part, place) = self.place(lane);
        let placement = self.placement;
        let is_it = |head: &Head| head.lane() == lane;
        match self.parts[part].entry(place, is_it, |head| placement.of(head.lane())) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Head::new(lane, behind));
                self.len += 1;
                self.followed += usize::from(behind.is_some());
                true
            }
        }
    }

    pub(crate) fn contains(&self, lane: LaneHash) -> bool {
        let (part, place) = self.place(lane);
        self.parts[part].find(place, |head| head.lane() == lane).is_some()
    }

    /// Notes a later event of a lane; false if the lane is not here.
    pub(crate) fn follow(&mut self, lane: LaneHash, offset: Offset) -> bool {
        if self.len == 0 {
            return false;
        }
        let (part, place) = self.place(lane);
        let Some(head) = self.parts[part].find_mut(place, |head| head.lane() == lane) else { return false };
        if head.behind == NOTHING_BEHIND {
            head.behind = chunk_of(offset);
            self.followed += 1;
        }
        true
    }

    /// Takes a lane out. If it has later events: where they begin, at or after `from`.
    pub(crate) fn remove(&mut self, lane: LaneHash, from: Offset) -> Option<Offset> {
        let (part, place) = self.place(lane);
        let placement = self.placement;
        let table = &mut self.parts[part];
        let (head, _) = table.find_entry(place, |head| head.lane() == lane).ok()?.remove();
        if table.capacity() > SPARE_MIN && table.len() < table.capacity() / SPARE_PARTS {
            table.shrink_to(2 * table.len(), |head| placement.of(head.lane()));
        }
        self.len -= 1;
        if head.behind == NOTHING_BEHIND {
            return None;
        }
        self.followed -= 1;
        Some(Offset(u64::from(head.behind) * CHUNK_OFFSETS).max(from))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{Heads, PARTS};
    use crate::ids::Offset;
    use crate::lane_hash::LaneHash;

    #[test]
    fn remembers_where_later_events_begin_to_a_chunk() {
        let mut heads = Heads::new(1);
        assert!(heads.insert(LaneHash(7), None) && !heads.insert(LaneHash(7), Some(Offset(1))));
        assert!(!heads.follow(LaneHash(8), Offset(9)));
        assert!(heads.follow(LaneHash(7), Offset(10_000)) && heads.follow(LaneHash(7), Offset(20_000)));
        assert_eq!((heads.len(), heads.followed()), (1, 1));
        assert_eq!(heads.remove(LaneHash(7), Offset(3)), Some(Offset(8_192)));
        assert_eq!(heads.remove(LaneHash(7), Offset(3)), None);
        assert!(heads.insert(LaneHash(7), Some(Offset(5_000))));
        assert_eq!(heads.remove(LaneHash(7), Offset(4_999)), Some(Offset(4_999)), "nothing before it is behind it");
        assert_eq!((heads.len(), heads.followed()), (0, 0));
    }

    #[test]
    fn a_part_is_found_by_every_lane_and_gives_its_room_back() {
        let mut heads = Heads::new(3);
        let lanes: Vec<LaneHash> =
            (0..50_000).map(|n| LaneHash::of(&std::format!("{n}"), Default::default())).collect();
        assert!(lanes.iter().all(|lane| heads.insert(*lane, None)));
        let room = |heads: &Heads| heads.parts.iter().map(hashbrown::HashTable::capacity).sum::<usize>();
        assert!(room(&heads) < 2 * 50_000, "{} places for 50,000", room(&heads));
        assert!(heads.parts.iter().all(|part| part.len() > 50_000 / (2 * PARTS.len())));
        assert!(lanes.iter().all(|lane| heads.follow(*lane, Offset(1))));
        assert!(lanes.iter().all(|lane| heads.remove(*lane, Offset(0)) == Some(Offset(0))));
        assert!(heads.len() == 0 && room(&heads) < 20_000, "{} places for nothing", room(&heads));
    }
}
