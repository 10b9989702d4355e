//! Keys of the index of rows that end by time: the second, then the fields of the row's key.
//!
//! Knows nothing of the rows. Invariant: entries are in the order in which their rows end.

use bugle_core::ids::Name;
use bugle_core::row::{Expiring, ExpiryEntry, Second};

use super::{Fields, Key, Kind};
use crate::family::Family;

/// The index is in the family of its rows.
pub(crate) fn family(of: Expiring) -> Family {
    match of {
        Expiring::Claim => Family::Claim,
        Expiring::Kv => Family::Kv,
    }
}

/// All entries of a kind.
pub(crate) fn expiries(of: Expiring) -> Key {
    Key::of(match of {
        Expiring::Claim => Kind::ClaimExpiry,
        Expiring::Kv => Kind::KvExpiry,
    })
}

/// The entries of one second, and where those of earlier ones end.
pub(crate) fn expiries_at(of: Expiring, second: Second) -> Key {
    expiries(of).u64(second.0)
}

pub(crate) fn expiry(of: Expiring, second: Second, scope: &str, key: &str) -> Key {
    expiries_at(of, second).text(scope).rest(key)
}

/// The entry of a key.
pub(crate) fn expiry_of(of: Expiring, key: &[u8]) -> Option<ExpiryEntry> {
    let mut fields = Fields::of(key);
    let second = Second(fields.u64()?);
    let scope = Name::from(fields.text()?);
    Some(ExpiryEntry { of, second, scope, key: fields.rest()?.to_owned() })
}
