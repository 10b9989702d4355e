//! Which claim a note of the plugin speaks of, so that the effect is in doubt when nothing follows the note.
//!
//! Knows nothing of what is done about it. Invariant: a note that may speak of one of several claims speaks of none.

use alloc::string::String;

use super::Attempt;
use crate::row::{ClaimName, Follow, RecordStatus};
use crate::time::Timestamp;

/// The business keys of which a call knows that an effect under them is done or under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    One(String),
    Several,
}

impl Keys {
    fn add(&mut self, key: &str) {
        match self {
            Keys::None => *self = Keys::One(key.into()),
            Keys::One(only) if only == key => {}
            Keys::One(_) | Keys::Several => *self = Keys::Several,
        }
    }
}

impl Attempt {
    /// The call was told of this key. Where nothing is watched, which is mostly so, nothing is remembered of it.
    pub(super) fn knows_of(&mut self, key: &str) {
        if self.facts.late_after.is_some() {
            self.keys.add(key);
        }
    }

    /// By when something has to follow a note, and the claim that it speaks of.
    pub(super) fn follows(&self, now: Timestamp, status: RecordStatus) -> Follow {
        let late_after = self.facts.late_after;
        Follow::after(status, now, late_after, late_after.and_then(|_| self.claim_of_note()))
    }

    /// The innermost open claim, or else the only one of the call.
    fn claim_of_note(&self) -> Option<ClaimName> {
        let open = self.claims.last().map(|open| &open.key);
        let key = open.or(match &self.keys {
            Keys::One(only) => Some(only),
            Keys::None | Keys::Several => None,
        })?;
        Some(ClaimName { scope: self.facts.claim_scope.clone(), key: key.clone() })
    }
}
