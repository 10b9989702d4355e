//! What dead letters and unknown results have in common: errors, pages, order, and the confirmation of many changes.
//!
//! Both are deliveries that were taken out of the stream and kept for a person. Knows nothing of what may be done with them.
//!
//! Invariant: rows to change are selected in the order of their first events, so that copies of one key come in their old order.

pub(super) mod filter;

use std::fmt;

use bugle_broker::{Bus, ChangeLettersError, HoldLettersError, Letters, ReadError};
use bugle_core::code::Code;
use bugle_core::ids::{KeyGeneration, Position};
use bugle_core::row::{AttemptNote, DeadRow, DeadState, UnknownRow, UnknownState};
use bugle_core::spec::Subscription;
use bugle_core::subscription::{DecideError, ResolveError};

use super::Host;
use crate::api::{AttemptView, KeptFilter};
use crate::moment;
use filter::{Seen, State, Wanted};

/// Rows changed in one batch.
pub(super) const CHANGED_AT_ONCE: usize = 64;
/// Rows read at once.
const PAGE: usize = bugle_broker::LETTERS_PAGE_MAX;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given up.
    Dead,
    /// Maybe sent.
    Unknown,
}

impl Kind {
    fn command(self) -> &'static str {
        match self {
            Kind::Dead => "dead",
            Kind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Dead => "dead letter",
            Kind::Unknown => "unknown result",
        })
    }
}

/// What the state of a row does not allow.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Of a dead letter.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// Of an unknown result.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

/// Why something was not done with dead letters or unknown results.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The caller: the filter, the event or the resolution.
    #[error("{0}")]
    Invalid(String),
    /// The caller: no such row.
    #[error("there is no {kind} of `{subscription}` at {position}; `bugle {} list {subscription}` shows them", kind.command())]
    NotFound {
        /// Of which kind.
        kind: Kind,
        /// The subscription.
        subscription: String,
        /// The place.
        position: Position,
    },
    /// The caller: it would be many.
    #[error("this would {action} {rows} {kind}s of `{subscription}`; confirm that number to do it")]
    Unconfirmed {
        /// What.
        action: &'static str,
        /// How many.
        rows: u64,
        /// Of which kind.
        kind: Kind,
        /// The subscription.
        subscription: String,
    },
    /// The caller: what was decided before, or what goes on just now.
    #[error("the {kind} at {position} was left as it is")]
    Refused {
        /// Of which kind.
        kind: Kind,
        /// The place.
        position: Position,
        /// Why.
        source: Refusal,
    },
    /// The caller: the subscription.
    #[error(transparent)]
    Hold(#[from] HoldLettersError),
    /// The operator: the disk, or the host stops.
    #[error(transparent)]
    Change(#[from] ChangeLettersError),
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl KeptError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            KeptError::Invalid(_) => Code::Invalid,
            KeptError::NotFound { .. } | KeptError::Hold(HoldLettersError::NotFound(_)) => Code::NotFound,
            KeptError::Unconfirmed { .. } | KeptError::Refused { .. } | KeptError::Hold(HoldLettersError::Busy(_)) => {
                Code::Conflict
            }
            KeptError::Change(ChangeLettersError::Stopped(_)) => Code::Unavailable,
            KeptError::Change(ChangeLettersError::Read(_)) | KeptError::Read(_) => Code::StorageFailed,
        }
    }
}

/// A row of one of the two kinds.
pub(super) trait Kept: Sized + Send {
    const KIND: Kind;
    type State: State + Send + Sync;

    fn seen(&self) -> Seen<'_, Self::State>;

    /// Of the idempotency key that it goes out with next.
    fn generation(&self) -> KeyGeneration;

    /// The rows of a subscription after a place.
    fn page(
        bus: &Bus,
        subscription: &str,
        after: Option<Position>,
    ) -> impl Future<Output = Result<Vec<Self>, ReadError>> + Send;

    fn is_wanted(&self, wanted: &Wanted<Self::State>) -> bool {
        wanted.selects(&self.seen())
    }

    fn not_found(subscription: &str, position: Position) -> KeptError {
        KeptError::NotFound { kind: Self::KIND, subscription: subscription.to_owned(), position }
    }

    fn refused(position: Position, why: impl Into<Refusal>) -> KeptError {
        KeptError::Refused { kind: Self::KIND, position, source: why.into() }
    }

    /// Refuses to change many rows of which nobody said how many they are.
    fn confirm(
        selected: &[Selected],
        confirm: Option<u64>,
        action: &'static str,
        subscription: &str,
    ) -> Result<(), KeptError> {
        let rows = selected.len() as u64;
        if rows > 1 && confirm.is_none_or(|confirmed| confirmed < rows) {
            let subscription = subscription.to_owned();
            return Err(KeptError::Unconfirmed { action, rows, kind: Self::KIND, subscription });
        }
        Ok(())
    }
}

impl Kept for DeadRow {
    const KIND: Kind = Kind::Dead;
    type State = DeadState;

    fn seen(&self) -> Seen<'_, DeadState> {
        let DeadRow { event, cause, revision, at, state, .. } = self;
        Seen { event, cause, revision: revision.as_ref(), at: *at, state: *state }
    }

    fn generation(&self) -> KeyGeneration {
        self.generation
    }

    async fn page(bus: &Bus, subscription: &str, after: Option<Position>) -> Result<Vec<DeadRow>, ReadError> {
        Ok(bus.dead(subscription, after, PAGE).await?.into_iter().map(|entry| entry.row).collect())
    }
}

impl Kept for UnknownRow {
    const KIND: Kind = Kind::Unknown;
    type State = UnknownState;

    fn seen(&self) -> Seen<'_, UnknownState> {
        let UnknownRow { event, revision, at, state, .. } = self;
        Seen { event, cause: "", revision: revision.as_ref(), at: *at, state: *state }
    }

    fn generation(&self) -> KeyGeneration {
        self.generation
    }

    async fn page(bus: &Bus, subscription: &str, after: Option<Position>) -> Result<Vec<UnknownRow>, ReadError> {
        Ok(bus.unknown(subscription, after, PAGE).await?.into_iter().map(|entry| entry.row).collect())
    }
}

/// A row that was selected to be changed, in the order of its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selected {
    origin: Position,
    pub(super) position: Position,
}

impl Host {
    pub(super) fn wanted<S: State>(&self, filter: &KeptFilter) -> Result<Wanted<S>, KeptError> {
        Wanted::parse(filter, self.bus().now()).map_err(KeptError::Invalid)
    }

    /// Rows of one subscription or all that a filter selects, oldest first.
    pub(super) async fn kept<R: Kept>(
        &self,
        subscription: Option<&str>,
        filter: &KeptFilter,
        limit: usize,
    ) -> Result<Vec<(Subscription, R)>, KeptError> {
        let wanted = self.wanted(filter)?;
        let mut found = Vec::new();
        for spec in self.bus().subscriptions() {
            if subscription.is_some_and(|wanted| *wanted != *spec.name) {
                continue;
            }
            let (mut after, mut count) = (None, 0);
            while count < limit {
                let page = R::page(self.bus(), &spec.name, after).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.seen().event.position);
                let rows = page.into_iter().filter(|row| row.is_wanted(&wanted));
                let rows: Vec<_> = rows.take(limit - count).map(|row| (spec.clone(), row)).collect();
                count += rows.len();
                found.extend(rows);
            }
        }
        found.sort_by_key(|(_, row)| row.seen().at);
        found.truncate(limit);
        Ok(found)
    }

    /// The rows of a subscription that are wanted, in the order in which they are to be changed.
    pub(super) async fn select<R: Kept>(
        &self,
        subscription: &str,
        letters: &Letters,
        wanted: &Wanted<R::State>,
    ) -> Result<Vec<Selected>, ReadError> {
        let (mut selected, mut after) = (Vec::new(), None);
        loop {
            let page = R::page(self.bus(), subscription, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.seen().event.position);
            for row in page.iter().filter(|row| row.is_wanted(wanted)) {
                let event = row.seen().event;
                let origin = letters.origin(event, row.generation()).position;
                selected.push(Selected { origin, position: event.position });
            }
        }
        selected.sort_unstable();
        Ok(selected)
    }

    pub(super) fn spec(&self, subscription: &str) -> Option<Subscription> {
        self.bus().subscriptions().into_iter().find(|spec| *spec.name == *subscription)
    }
}

pub(super) fn attempt(note: AttemptNote) -> AttemptView {
    AttemptView { attempt: note.attempt.0, at: moment::text(note.at), reason: note.reason }
}
