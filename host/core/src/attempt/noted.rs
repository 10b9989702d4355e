//! Which claim a note of the plugin speaks of, so that the effect is in doubt when nothing follows the note.
//!
//! Knows nothing of what is done about it. Invariant: a note that may speak of one of several claims speaks of none.

use alloc::string::String;

use super::Attempt;
use crate::row::ClaimName;

/// The business keys of which a call knows that an effect under them is done or under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    One(String),
    Several,
}

impl Keys {
    pub(super) fn add(&mut self, key: &str) {
        match self {
            Keys::None => *self = Keys::One(key.into()),
            Keys::One(only) if only == key => {}
            Keys::One(_) | Keys::Several => *self = Keys::Several,
        }
    }
}

impl Attempt {
    /// The claim that a note speaks of: the innermost open one, or else the only one of the call.
    pub(super) fn claim_of_note(&self) -> Option<ClaimName> {
        let open = self.claims.last().map(|open| &open.key);
        let key = open.or(match &self.keys {
            Keys::One(only) => Some(only),
            Keys::None | Keys::Several => None,
        })?;
        Some(ClaimName { scope: self.facts.claim_scope.clone(), key: key.clone() })
    }
}
