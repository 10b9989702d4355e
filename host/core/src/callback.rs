//! What a provider says later of what was sent to it: whether that moves the send record, and who is told.
//!
//! Callbacks come late, twice and in any order, and so do the notes of a plugin that runs again after its provider has spoken. So a
//! record has a standing, which only rises, and both compare before they write. Knows nothing of HTTP, signatures and indexes.
//!
//! Invariant: what a provider said of a reference is not taken back by anything said of the same reference; to say it again changes nothing.

use alloc::string::String;
use alloc::vec::Vec;

use crate::event::StoredEvent;
use crate::ids::Position;
use crate::row::{Follow, RecordRow, RecordStatus};
use crate::seeded::{Bug, is_planted};
use crate::spec::Subscription;
use crate::step::Write;
use crate::subscription::{Told, tell};
use crate::time::Timestamp;

/// What a provider says of one send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// Its own id of the message, as the plugin noted it.
    pub reference: String,
    /// Of this recipient; none: of each one that has the reference.
    pub recipient: Option<String>,
    /// What became of it. A word of a state in which something has to follow tells nothing new.
    pub status: RecordStatus,
    /// When, as the provider says.
    pub at: Option<Timestamp>,
    /// For people.
    pub detail: String,
}

/// How far a send has come. It only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Something has to follow.
    Open,
    /// With the provider.
    Sent,
    /// Arrived, as far as anybody knows.
    Delivered,
    /// It came back, or was given up. A mail can come back after it had arrived.
    Ended,
}

impl RecordStatus {
    /// How far a send with this status has come.
    #[must_use]
    pub fn progress(self) -> Progress {
        match self {
            RecordStatus::Accepted
            | RecordStatus::Scheduled
            | RecordStatus::Claimed
            | RecordStatus::Attempted
            | RecordStatus::Unknown
            | RecordStatus::Manual => Progress::Open,
            RecordStatus::Sent => Progress::Sent,
            RecordStatus::Delivered => Progress::Delivered,
            RecordStatus::Bounced | RecordStatus::Expired | RecordStatus::Suppressed | RecordStatus::Dead => {
                Progress::Ended
            }
        }
    }
}

/// A record of which a provider speaks.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Whose it is.
    pub spec: &'a Subscription,
    /// Of which event.
    pub position: Position,
    /// That event, if outcomes are told and the log still has it.
    pub event: Option<&'a StoredEvent>,
    /// The record as it is, with everything that is written before.
    pub current: &'a RecordRow,
}

/// The record after a callback, with its writes; none if it tells nothing new, or is of another reference by now.
pub fn heard(now: Timestamp, found: Found<'_>, change: &StatusChange, writes: &mut Vec<Write>) -> Option<RecordRow> {
    let current = found.current;
    let rises = change.status.progress() > current.status.progress() || is_planted(Bug::CallbackGoesBack);
    if !rises || current.provider_reference != change.reference {
        return None;
    }
    let follow = match &current.follow {
        Follow::By { claim, .. } => Follow::after(change.status, now, found.spec.late_after, claim.clone()),
        Follow::Unwatched | Follow::HandedOn | Follow::ForAPerson => Follow::Unwatched,
    };
    let row = RecordRow {
        status: change.status,
        follow,
        // Not before the state that it follows, or late records and old ones would be looked for at the wrong time.
        at: change.at.unwrap_or(now).min(now).max(current.at),
        detail: match change.detail.as_str() {
            "" => "callback".into(),
            detail => alloc::format!("callback: {detail}"),
        },
        ..current.clone()
    };
    writes.push(Write::Record { subscription: found.spec.id, position: found.position, row: row.clone() });
    if row.status.progress() > Progress::Sent
        && let Some(event) = found.event
    {
        let recipient = Some(row.recipient.as_str());
        let told = Told { status: row.status, attempt: row.attempt, detail: &row.detail, recipient };
        writes.extend(tell(found.spec, event, told));
    }
    Some(row)
}

/// A plugin's note as it is to be written where providers call back; none if the provider has said more of the same send.
#[must_use]
pub fn noted(current: Option<&RecordRow>, note: RecordRow) -> Option<RecordRow> {
    let said_more = current.is_some_and(|current| {
        let is_same = current.provider_reference == note.provider_reference && current.provider == note.provider;
        let (before, after) = (current.status.progress(), note.status.progress());
        is_same && !note.provider_reference.is_empty() && before > Progress::Sent && after < before
    });
    (!said_more || is_planted(Bug::NoteOverCallback)).then_some(note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, Offset, Slot, SubscriptionId, TopicId};
    use alloc::vec;

    fn row(status: RecordStatus, reference: &str) -> RecordRow {
        RecordRow {
            business_key: "order:7".into(),
            recipient: "user:42".into(),
            status,
            provider: "p".into(),
            provider_reference: reference.into(),
            detail: String::new(),
            attempt: Attempt(2),
            at: Timestamp(100),
            event_id: "e".into(),
            follow: Follow::default(),
        }
    }

    fn change(status: RecordStatus) -> StatusChange {
        StatusChange { reference: "m-1".into(), recipient: None, status, at: None, detail: String::new() }
    }

    fn after(current: &RecordRow, change: &StatusChange) -> Option<RecordRow> {
        let spec = Subscription::new(SubscriptionId(1), "sms", "sms", vec![TopicId(1)]);
        let position = Position { slot: Slot(0), offset: Offset(3) };
        let mut writes = Vec::new();
        let moved = heard(Timestamp(500), Found { spec: &spec, position, event: None, current }, change, &mut writes);
        let written = moved.clone().map(|row| Write::Record { subscription: spec.id, position, row });
        assert_eq!(writes, Vec::from_iter(written));
        moved
    }

    #[test]
    fn any_order_of_callbacks_comes_to_the_same_progress_and_never_falls() {
        for first in RecordStatus::ALL {
            for second in RecordStatus::ALL {
                let start = row(RecordStatus::Sent, "m-1");
                let mut now = start.clone();
                for status in [first, second, first, second] {
                    let before = now.status.progress();
                    now = after(&now, &change(status)).unwrap_or(now);
                    assert!(now.status.progress() >= before, "{status:?} after {now:?}");
                }
                let highest = first.progress().max(second.progress()).max(start.status.progress());
                assert_eq!(now.status.progress(), highest, "{first:?}, {second:?}");
            }
        }
    }

    #[test]
    fn a_late_delivered_does_not_take_a_bounce_back_and_a_repeat_is_nothing() {
        let bounced = after(&row(RecordStatus::Sent, "m-1"), &change(RecordStatus::Bounced)).unwrap();
        assert_eq!((bounced.status, bounced.attempt), (RecordStatus::Bounced, Attempt(2)));
        assert_eq!(bounced.detail, "callback");
        assert_eq!(after(&bounced, &change(RecordStatus::Delivered)), None);
        assert_eq!(after(&bounced, &change(RecordStatus::Bounced)), None);
        let delivered = after(&row(RecordStatus::Sent, "m-1"), &change(RecordStatus::Delivered)).unwrap();
        assert_eq!(after(&delivered, &change(RecordStatus::Bounced)).unwrap().status, RecordStatus::Bounced);
        assert_eq!(after(&row(RecordStatus::Sent, "m-2"), &change(RecordStatus::Delivered)), None, "another send");
    }

    #[test]
    fn the_providers_time_counts_within_reason() {
        for (told, at) in [(Some(300), 300), (Some(50), 100), (Some(9_000), 500), (None, 500)] {
            let change = StatusChange { at: told.map(Timestamp), ..change(RecordStatus::Delivered) };
            assert_eq!(after(&row(RecordStatus::Sent, "m-1"), &change).unwrap().at, Timestamp(at));
        }
    }

    #[test]
    fn a_note_does_not_take_back_what_the_provider_said_of_the_same_send() {
        let delivered = row(RecordStatus::Delivered, "m-1");
        assert_eq!(noted(Some(&delivered), row(RecordStatus::Sent, "m-1")), None);
        assert_eq!(noted(Some(&delivered), row(RecordStatus::Attempted, "m-1")), None);
        for note in [row(RecordStatus::Bounced, "m-1"), row(RecordStatus::Sent, "m-2"), row(RecordStatus::Sent, "")] {
            assert_eq!(noted(Some(&delivered), note.clone()), Some(note.clone()));
            assert_eq!(noted(None, note.clone()), Some(note));
        }
        let sent = row(RecordStatus::Sent, "m-1");
        assert_eq!(noted(Some(&sent), sent.clone()), Some(sent.clone()), "as before, where nobody has spoken");
    }
}
