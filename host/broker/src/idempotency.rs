//! The idempotency key that goes out with each external call of a delivery, and the text form of its 128 bits.
//!
//! It depends only on (store incarnation, subscription, position, key generation), so it is the same on each attempt, after a
//! crash, after a restart and under a new plugin revision. The incarnation is that under which the event was stored, so it is
//! the same after a restore too, while an event that gets an offset anew after it has another key. Another store, subscription, event or an edited replay (a new
//! generation) gets another one. A keyed 128-bit hash: two deliveries of one store share a key with a chance of about
//! n^2 / 2^129.

use std::hash::Hasher;

use bugle_core::ids::Offset;
use bugle_core::origin::Origin;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Digits of Crockford's base 32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits at 5 bits each.
const DIGITS_LEN: usize = 26;

/// The maker of keys of one store.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKeys {
    incarnation: [u8; 16],
    /// Earlier ones, each for events below its offset, oldest first.
    earlier: Vec<([u8; 16], Offset)>,
}

impl IdempotencyKeys {
    /// Keys of the store with this incarnation, and with earlier ones for events below an offset each, oldest first.
    #[must_use]
    pub(crate) fn new(incarnation: [u8; 16], earlier: Vec<([u8; 16], Offset)>) -> IdempotencyKeys {
        IdempotencyKeys { incarnation, earlier }
    }

    /// The key of a delivery, or of the one it continues, such as `msg_3Z9VQ0M2K7S1T8B4XH6C5D0EFG`.
    #[must_use]
    pub(crate) fn key(&self, origin: &Origin) -> String {
        let mut hasher = SipHasher24::new_with_key(self.incarnation_of(origin.position.offset));
        hasher.write_u32(origin.subscription.0);
        hasher.write_u16(origin.position.slot.0);
        hasher.write_u64(origin.position.offset.0);
        hasher.write_u32(origin.generation.0);
        text(hasher.finish128().as_u128())
    }

    fn incarnation_of(&self, offset: Offset) -> &[u8; 16] {
        let earlier = self.earlier.iter().find(|(_, end)| offset < *end);
        earlier.map_or(&self.incarnation, |(incarnation, _)| incarnation)
    }
}

fn text(mut bits: u128) -> String {
    let mut digits = [0_u8; DIGITS_LEN];
    for digit in digits.iter_mut().rev() {
        let low = (bits & 31) as usize;
        *digit = DIGITS.get(low).copied().unwrap_or(b'0');
        bits >>= 5;
    }
    let mut key = String::with_capacity(4 + DIGITS_LEN);
    key.push_str("msg_");
    key.extend(digits.iter().map(|&digit| char::from(digit)));
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use bugle_core::ids::{KeyGeneration, Position, Slot, SubscriptionId, TopicId};
    use std::collections::BTreeSet;

    fn origin(subscription: u32, offset: u64, generation: u32) -> Origin {
        Origin {
            may_resend: false,
            late: 0,
            subscription: SubscriptionId(subscription),
            position: Position { slot: Slot(0), offset: Offset(offset) },
            generation: KeyGeneration(generation),
            topic: TopicId(1),
        }
    }

    /// The value is pinned: a change would give every delivery in flight at an upgrade a new key, so a repeat.
    #[test]
    fn the_key_of_a_delivery_never_changes() {
        let keys = IdempotencyKeys::new([7; 16], Vec::new());
        let key = keys.key(&origin(1, 42, 0));
        assert_eq!(key, keys.key(&Origin { topic: TopicId(2), ..origin(1, 42, 0) }));
        assert_eq!(key.len(), 30);
        assert_eq!(key, PINNED);
    }

    const PINNED: &str = "msg_77JCKPQQPQA16EYGS20ARH9Z55";

    #[test]
    fn each_part_makes_another_key() {
        let keys = IdempotencyKeys::new([7; 16], Vec::new());
        let other = IdempotencyKeys::new([8; 16], Vec::new());
        let mut seen = BTreeSet::new();
        for offset in 0..1000 {
            assert!(seen.insert(keys.key(&origin(1, offset, 0))));
            assert!(seen.insert(keys.key(&origin(2, offset, 0))));
            assert!(seen.insert(keys.key(&origin(1, offset, 1))));
            assert!(seen.insert(other.key(&origin(1, offset, 0))));
        }
    }

    #[test]
    fn a_restore_keeps_the_keys_of_what_was_stored_before_and_gives_others_after() {
        let first = IdempotencyKeys::new([7; 16], Vec::new());
        let second = IdempotencyKeys::new([8; 16], vec![([7; 16], Offset(100))]);
        let third = IdempotencyKeys::new([9; 16], vec![([7; 16], Offset(100)), ([8; 16], Offset(150))]);
        let key = |keys: &IdempotencyKeys, offset| keys.key(&origin(1, offset, 0));
        assert_eq!(key(&second, 99), key(&first, 99));
        assert_ne!(key(&second, 100), key(&first, 100));
        assert_eq!([key(&third, 99), key(&third, 149)], [key(&first, 99), key(&second, 149)]);
        assert_ne!(key(&third, 150), key(&second, 150));
    }
}
