//! The identity of a lane: a stable hash of ordering key and class, small enough to be kept for millions of keys.
//!
//! It is written to disk, so it must never change: the keys of the hash are fixed. Two keys with the same hash share a lane,
//! which makes them wait for each other and does nothing else, so it need not be secret; tables are placed by a seeded mix of
//! it (`Placement`), so that nobody can aim at one bucket. See docs/decisions/0015-waiting-deliveries-on-disk.md.
//!
//! Invariant: the same key and class have the same hash in every process, on every machine, for ever.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use crate::event::Class;

/// Fixed for ever: `bugle la`, `ne hash 1`.
const KEYS: (u64, u64) = (0x6275_676c_6520_6c61, 0x6e65_2068_6173_6831);

/// The highest bits are the class itself, so that only keys of one class can collide.
const KEY_BITS: u32 = 62;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneHash(pub u64);

impl LaneHash {
    /// The lane of an ordering key in a class.
    #[must_use]
    pub fn of(key: &str, class: Class) -> LaneHash {
        let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
        hasher.write(key.as_bytes());
        let key = hasher.finish() & (u64::MAX >> (u64::BITS - KEY_BITS));
        LaneHash(u64::from(class.code()) << KEY_BITS | key)
    }

    /// The same with so many bits of its key only: tests keep a few, so that keys collide.
    #[must_use]
    pub(crate) fn truncated(self, bits: u32) -> LaneHash {
        let kept = u64::MAX >> (u64::BITS - bits.clamp(1, KEY_BITS));
        LaneHash(self.0 >> KEY_BITS << KEY_BITS | self.0 & kept)
    }
}

/// What a waiting row says of its lane, so that a restart need not read its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneMark {
    /// Nothing: an older row, or one of a subscription without ordering. The event tells.
    #[default]
    Unknown,
    /// The event has no ordering key.
    Unkeyed,
    /// Its lane.
    Keyed(LaneHash),
}

/// Where lanes lie in a table of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement(u64);

impl Placement {
    pub(crate) fn new(seed: u64) -> Placement {
        Placement(seed)
    }

    /// The seeded mix: both halves of a product.
    pub(crate) fn of(self, lane: LaneHash) -> u64 {
        let product = u128::from(lane.0 ^ self.0) * u128::from(self.0.rotate_left(32) | 1);
        (product >> 64) as u64 ^ product as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneHash, Placement};
    use crate::event::Class;

    #[test]
    fn the_hash_of_a_lane_never_changes() {
        assert_eq!(LaneHash::of("user:42", Class::Normal), LaneHash(8_690_636_690_351_345_421));
        assert_eq!(LaneHash::of("", Class::Low), LaneHash(12_530_862_190_726_899_340));
    }

    #[test]
    fn classes_and_keys_have_lanes_of_their_own() {
        let lanes = [
            LaneHash::of("a", Class::Normal),
            LaneHash::of("a", Class::Critical),
            LaneHash::of("a", Class::Low),
            LaneHash::of("b", Class::Normal),
            LaneHash::of("", Class::Normal),
        ];
        for (index, lane) in lanes.iter().enumerate() {
            assert!(!lanes[..index].contains(lane));
        }
    }

    #[test]
    fn placement_depends_on_the_seed_and_spreads() {
        let lanes = (0..1_000u64).map(LaneHash);
        let places = |seed| lanes.clone().map(move |lane| Placement::new(seed).of(lane) % 64);
        assert!(places(1).zip(places(2)).any(|(one, other)| one != other));
        for seed in [1, 0x9e37_79b9_7f4a_7c15] {
            let used = (0..64).filter(|place| places(seed).any(|used| used == *place)).count();
            assert!(used > 32, "1,000 lanes lie in {used} of 64 places");
        }
    }
}
