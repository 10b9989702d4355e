//! Send records: what became of a notification, and how long that is remembered.
//!
//! Encoding and indexes are the store's, which keeps the latest state of each record beside every state it was in, by time. Knows
//! nothing of who writes a record.
//!
//! Invariant: as of all rows, writing one again changes nothing.

use alloc::string::String;

use crate::ids::{Attempt, Name, Position, SubscriptionId};
use crate::time::{Millis, Timestamp};

/// Status of a send record, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordStatus {
    /// The delivery reached the plugin.
    Accepted,
    /// Waits for its time.
    Scheduled,
    /// Claimed.
    Claimed,
    /// An attempt was made.
    Attempted,
    /// The provider took it.
    Sent,
    /// The provider says that it arrived.
    Delivered,
    /// The provider says that it came back.
    Bounced,
    /// Maybe sent.
    Unknown,
    /// Too late.
    Expired,
    /// Not sent on purpose.
    Suppressed,
    /// Given up.
    Dead,
    /// A person decides.
    Manual,
}

impl RecordStatus {
    /// Every status, in code order.
    pub const ALL: [RecordStatus; 12] = [
        RecordStatus::Accepted,
        RecordStatus::Scheduled,
        RecordStatus::Claimed,
        RecordStatus::Attempted,
        RecordStatus::Sent,
        RecordStatus::Delivered,
        RecordStatus::Bounced,
        RecordStatus::Unknown,
        RecordStatus::Expired,
        RecordStatus::Suppressed,
        RecordStatus::Dead,
        RecordStatus::Manual,
    ];

    /// Whether something has to follow: who waits too long in such a state wants a person, or a compensation.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            RecordStatus::Accepted
            | RecordStatus::Scheduled
            | RecordStatus::Claimed
            | RecordStatus::Attempted
            | RecordStatus::Unknown
            | RecordStatus::Manual => true,
            RecordStatus::Sent
            | RecordStatus::Delivered
            | RecordStatus::Bounced
            | RecordStatus::Expired
            | RecordStatus::Suppressed
            | RecordStatus::Dead => false,
        }
    }

    /// The word in JSON and WIT.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RecordStatus::Accepted => "accepted",
            RecordStatus::Scheduled => "scheduled",
            RecordStatus::Claimed => "claimed",
            RecordStatus::Attempted => "attempted",
            RecordStatus::Sent => "sent",
            RecordStatus::Delivered => "delivered",
            RecordStatus::Bounced => "bounced",
            RecordStatus::Unknown => "unknown",
            RecordStatus::Expired => "expired",
            RecordStatus::Suppressed => "suppressed",
            RecordStatus::Dead => "dead",
            RecordStatus::Manual => "manual",
        }
    }

    /// The status of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<RecordStatus> {
        RecordStatus::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// Names a claim of dedup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimName {
    /// Scope: a subscription or a named channel.
    pub scope: Name,
    /// Business key.
    pub key: String,
}

/// What the host does about a state of a record that nothing follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// Nothing: nothing has to follow it, or the subscription does not have it watched.
    #[default]
    Unwatched,
    /// By then something has to have followed.
    By {
        /// When it is late.
        at: Timestamp,
        /// The claim under which it was sent, if that is known.
        claim: Option<ClaimName>,
    },
    /// Nothing followed in time, and the delivery goes on in a copy.
    HandedOn,
    /// Nothing followed in time, and only a person can say what is to be done.
    ForAPerson,
}

impl Follow {
    /// How long a state that was noted at a time is waited for: not at all if it is an end, or with a person.
    #[must_use]
    pub fn after(
        status: RecordStatus,
        noted: Timestamp,
        late_after: Option<Millis>,
        claim: Option<ClaimName>,
    ) -> Follow {
        let something_follows = match status {
            RecordStatus::Accepted
            | RecordStatus::Scheduled
            | RecordStatus::Claimed
            | RecordStatus::Attempted
            | RecordStatus::Sent => true,
            RecordStatus::Delivered
            | RecordStatus::Bounced
            | RecordStatus::Unknown
            | RecordStatus::Expired
            | RecordStatus::Suppressed
            | RecordStatus::Dead
            | RecordStatus::Manual => false,
        };
        match late_after {
            Some(late_after) if something_follows => Follow::By { at: noted.after(late_after), claim },
            Some(_) | None => Follow::Unwatched,
        }
    }
}

/// A send record: one per (subscription, business key, recipient, event). The host's own record of a delivery has no recipient;
/// those that a plugin notes have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Business key.
    pub business_key: String,
    /// Recipient.
    pub recipient: String,
    /// Latest status.
    pub status: RecordStatus,
    /// Provider.
    pub provider: String,
    /// The provider's reference.
    pub provider_reference: String,
    /// Detail.
    pub detail: String,
    /// Attempt that noted it.
    pub attempt: Attempt,
    /// When it was noted.
    pub at: Timestamp,
    /// The event's `id` attribute.
    pub event_id: String,
    /// What is done when nothing follows.
    pub follow: Follow,
}

/// An entry of the index by which records are found when something should have followed. It proves nothing: the record may have moved on
/// since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateEntry {
    /// When it is late.
    pub at: Timestamp,
    /// Whose record.
    pub subscription: SubscriptionId,
    /// Of which event.
    pub position: Position,
    /// The record's business key.
    pub business_key: String,
    /// The record's recipient.
    pub recipient: String,
}

impl LateEntry {
    /// The entry of a record that something has to follow.
    #[must_use]
    pub fn of(subscription: SubscriptionId, position: Position, row: &RecordRow) -> Option<LateEntry> {
        let Follow::By { at, .. } = row.follow else { return None };
        let (business_key, recipient) = (row.business_key.clone(), row.recipient.clone());
        Some(LateEntry { at, subscription, position, business_key, recipient })
    }

    /// Whether the record as it is now is the one that the entry was made for.
    #[must_use]
    pub fn is_of(&self, row: &RecordRow) -> bool {
        matches!(&row.follow, Follow::By { at, .. } if *at == self.at)
    }
}

impl RecordRow {
    /// Whether something has to follow, and nobody goes on elsewhere.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        match self.follow {
            Follow::Unwatched | Follow::By { .. } => self.status.is_open(),
            Follow::HandedOn => false,
            Follow::ForAPerson => true,
        }
    }
}

/// States older than this are removed, and with the latest of them the record. Bounds the disk that records take.
pub const RECORDS_KEPT: Millis = Millis::from_secs(90 * 24 * 3600);

/// What goes with a state that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// It is the latest one: the record itself.
    Record,
    /// The record was written again later; it has another reference now, so this one is forgotten.
    Reference,
    /// The record was written again later, and what finds it is the same.
    Nothing,
}

/// Whether a state that a record was in is to be removed, and what goes with it. `latest` is the record as it is now.
#[must_use]
pub fn forgets(now: Timestamp, kept: Millis, state: &RecordRow, latest: Option<&RecordRow>) -> Option<Forgotten> {
    if now.since(state.at) <= kept {
        return None;
    }
    let Some(latest) = latest else { return Some(Forgotten::Record) };
    let is_same = |one: &RecordRow, other: &RecordRow| {
        one.provider == other.provider && one.provider_reference == other.provider_reference
    };
    Some(match latest.at <= state.at {
        true => Forgotten::Record,
        false if is_same(state, latest) => Forgotten::Nothing,
        false => Forgotten::Reference,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64, reference: &str) -> RecordRow {
        RecordRow {
            business_key: String::new(),
            recipient: String::new(),
            status: RecordStatus::Sent,
            provider: String::new(),
            provider_reference: reference.into(),
            detail: String::new(),
            attempt: Attempt(1),
            at: Timestamp(at),
            event_id: String::new(),
            follow: Follow::default(),
        }
    }

    #[test]
    fn a_record_goes_with_its_latest_state_and_an_older_state_takes_only_what_is_its_own() {
        let (kept, now) = (Millis(100), Timestamp(201));
        let old = row(100, "m-1");
        assert_eq!(forgets(Timestamp(200), kept, &old, Some(&old)), None, "not old enough");
        assert_eq!(forgets(now, kept, &old, Some(&old)), Some(Forgotten::Record));
        assert_eq!(forgets(now, kept, &old, None), Some(Forgotten::Record), "removed before");
        assert_eq!(forgets(now, kept, &old, Some(&row(150, "m-1"))), Some(Forgotten::Nothing));
        assert_eq!(forgets(now, kept, &old, Some(&row(150, "m-2"))), Some(Forgotten::Reference));
    }
}
