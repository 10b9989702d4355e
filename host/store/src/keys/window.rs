//! Keys of done weak claims: by scope and end, so that they are written in order and go as a range.
//!
//! Knows nothing of values. Invariant: marks of a scope are in the order in which they end.

use bugle_core::ids::Name;
use bugle_core::time::Timestamp;

use super::{Fields, Key, Kind};

/// All marks.
pub(crate) fn windows() -> Key {
    Key::of(Kind::Window)
}

/// All marks of a scope.
pub(crate) fn window(scope: &str) -> Key {
    windows().text(scope)
}

pub(crate) fn window_mark(scope: &str, expires: Timestamp, number: u64) -> Key {
    window(scope).u64(expires.0).u64(number)
}

/// Scope, end and number of a key.
pub(crate) fn window_place(key: &[u8]) -> Option<(Name, Timestamp, u64)> {
    let mut fields = Fields::of(key);
    Some((Name::from(fields.text()?), Timestamp(fields.u64()?), fields.u64()?))
}
