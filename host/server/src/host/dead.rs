//! Dead letters of the running host: list, show, edit, dismiss, purge; the replay is in `replay`.
//!
//! The core decides what may be done with a letter; here they are selected and told of. Every change leaves its audit row in the
//! same batch. Knows nothing of HTTP.
//!
//! Invariant: what changes many letters was confirmed by somebody who knew how many.

pub(super) mod filter;
mod replay;

use bugle_broker::{ChangeLettersError, Changed, HoldLettersError, Letters, ReadError};
use bugle_core::code::Code;
use bugle_core::event::Event;
use bugle_core::ids::Position;
use bugle_core::origin::{LATE_ATTRIBUTE, ORIGIN_ATTRIBUTE, Origin};
use bugle_core::row::{AttemptNote, DeadRow};
use bugle_core::spec::Subscription;
use bugle_core::subscription::{DecideError, Decision};
use serde_json::{Map, Value};

use super::Host;
use crate::api::{AttemptView, DeadChanged, DeadFilter, DeadRequest, DeadView};
use crate::{catalog, encode, event_json, moment};

use filter::Wanted;
pub use replay::ReplayJob;

/// Letters changed in one batch.
const CHANGED_AT_ONCE: usize = 64;

/// Why something was not done with dead letters.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// The caller: the filter or the event.
    #[error("{0}")]
    Invalid(String),
    /// The caller: no such letter.
    #[error("there is no dead letter of `{subscription}` at {position}; `bugle dead list {subscription}` shows them")]
    NotFound {
        /// The subscription.
        subscription: String,
        /// The place.
        position: Position,
    },
    /// The caller: it would be many.
    #[error("this would {action} {letters} dead letters of `{subscription}`; confirm that number to do it")]
    Unconfirmed {
        /// What.
        action: &'static str,
        /// The subscription.
        subscription: String,
        /// How many.
        letters: u64,
    },
    /// The caller: what the letter's state does not allow.
    #[error("the dead letter at {position} was left as it is: {source}")]
    Refused {
        /// The place.
        position: Position,
        /// Why.
        source: DecideError,
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

impl DeadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            DeadError::Invalid(_) => Code::Invalid,
            DeadError::NotFound { .. } | DeadError::Hold(HoldLettersError::NotFound(_)) => Code::NotFound,
            DeadError::Unconfirmed { .. } | DeadError::Refused { .. } | DeadError::Hold(HoldLettersError::Busy(_)) => {
                Code::Conflict
            }
            DeadError::Change(ChangeLettersError::Stopped(_)) => Code::Unavailable,
            DeadError::Change(ChangeLettersError::Read(_)) | DeadError::Read(_) => Code::StorageFailed,
        }
    }
}

/// A letter that was selected, in the order of its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Selected {
    origin: Position,
    position: Position,
}

impl Host {
    /// Dead letters of one subscription or all that a filter selects, oldest first.
    pub async fn dead(
        &self,
        subscription: Option<&str>,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Vec<DeadView>, DeadError> {
        let wanted = self.wanted(filter)?;
        let mut found: Vec<(Subscription, DeadRow)> = Vec::new();
        for spec in self.bus().subscriptions() {
            if subscription.is_some_and(|wanted| *wanted != *spec.name) {
                continue;
            }
            let (mut after, mut count) = (None, 0);
            loop {
                let page = self.bus().dead(&spec.name, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.position);
                let rows = page.into_iter().map(|entry| entry.row).filter(|row| wanted.matches(row));
                let rows: Vec<_> = rows.take(limit - count).map(|row| (spec.clone(), row)).collect();
                count += rows.len();
                found.extend(rows);
                if count >= limit {
                    break;
                }
            }
        }
        found.sort_by_key(|(_, row)| row.at);
        found.truncate(limit);
        Ok(found.into_iter().map(|(spec, row)| self.dead_view(&spec, row)).collect())
    }

    /// One dead letter.
    pub async fn dead_letter(&self, subscription: &str, position: Position) -> Result<DeadView, DeadError> {
        let none = || DeadError::NotFound { subscription: subscription.to_owned(), position };
        let spec = self.spec(subscription).ok_or_else(none)?;
        let row = self.bus().letter(subscription, position).await?.ok_or_else(none)?;
        Ok(self.dead_view(&spec, row))
    }

    /// Puts another event in the place of a letter's; the next replay has a new idempotency key.
    pub async fn edit_letter(
        &self,
        subscription: &str,
        position: Position,
        event: Map<String, Value>,
    ) -> Result<DeadView, DeadError> {
        let given = given_event(event).map_err(DeadError::Invalid)?;
        let mut letters = self.bus().hold_letters(subscription)?;
        let audit = self.audit("dead.edit", &format!("{subscription} {position}"));
        let choose = |row: &DeadRow| Some(Decision::Edit(with_host_attributes(&given, &row.event.event)));
        let also = |_| vec![audit.row(format!("id {}", given.id()))];
        let changed = letters.change(vec![position], choose, also).await?;
        drop(letters);
        one_change(subscription, position, &changed)?;
        self.dead_letter(subscription, position).await
    }

    /// Gives letters up for good.
    pub async fn dismiss(&self, request: &DeadRequest) -> Result<DeadChanged, DeadError> {
        self.change_many(request, "dismiss", "dead.dismiss", Decision::Dismiss).await
    }

    /// Removes letters.
    pub async fn purge(&self, request: &DeadRequest) -> Result<DeadChanged, DeadError> {
        self.change_many(request, "purge", "dead.purge", Decision::Purge).await
    }

    async fn change_many(
        &self,
        request: &DeadRequest,
        verb: &'static str,
        action: &'static str,
        decision: Decision,
    ) -> Result<DeadChanged, DeadError> {
        let DeadRequest { subscription, filter, confirm } = request;
        let wanted = self.wanted(filter)?;
        let wanted = if decision == Decision::Purge { wanted } else { wanted.undecided() };
        let mut letters = self.bus().hold_letters(subscription)?;
        if let Some(position) = wanted.position {
            let audit = self.audit(action, &format!("{subscription} {position}"));
            let also = |_| vec![audit.row(String::new())];
            // The state of a letter named by its place is judged by the core, which says what is wrong with it.
            let changed = letters.change(vec![position], |_| Some(decision.clone()), also).await?;
            one_change(subscription, position, &changed)?;
            return Ok(DeadChanged { changed: 1, skipped: 0 });
        }
        let selected = select(&letters, &wanted).await?;
        let count = selected.len() as u64;
        if count > 1 && confirm.is_none_or(|confirmed| confirmed < count) {
            let subscription = subscription.clone();
            return Err(DeadError::Unconfirmed { action: verb, subscription, letters: count });
        }
        let audit = self.audit(action, subscription);
        let mut done = DeadChanged::default();
        for chunk in selected.chunks(CHANGED_AT_ONCE) {
            let positions = chunk.iter().map(|letter| letter.position).collect();
            let choose = |row: &DeadRow| wanted.matches(row).then(|| decision.clone());
            let before = done.changed;
            let also = |more| vec![audit.row(format!("{} letters; {wanted}", before + more as u64))];
            for change in letters.change(positions, choose, also).await? {
                match change {
                    Changed::Done => done.changed += 1,
                    Changed::Gone | Changed::Skipped | Changed::Refused(_) => done.skipped += 1,
                }
            }
        }
        Ok(done)
    }

    fn wanted(&self, filter: &DeadFilter) -> Result<Wanted, DeadError> {
        Wanted::parse(filter, self.bus().now()).map_err(DeadError::Invalid)
    }

    pub(super) fn spec(&self, subscription: &str) -> Option<Subscription> {
        self.bus().subscriptions().into_iter().find(|spec| *spec.name == *subscription)
    }

    fn dead_view(&self, spec: &Subscription, row: DeadRow) -> DeadView {
        let origin = Origin::of(spec.id, spec.redelivery, &row.event);
        let origin = Origin { generation: row.generation, may_resend: false, ..origin };
        let event = &row.event.event;
        DeadView {
            subscription: spec.name.to_string(),
            position: row.event.position.to_string(),
            state: row.state.word().to_owned(),
            holds_key: row.holds_key,
            decided: row.decided.map(moment::text),
            trace: event.attribute("traceparent").map(str::to_owned),
            revision: row.revision.as_ref().map(catalog::digits),
            idempotency_key: self.bus().idempotency_key(&origin),
            key_generation: row.generation.0,
            event: event_json::view(&row.event, &self.topic_name(origin.topic)),
            cause: row.cause,
            reason: row.reason,
            attempts: row.attempts,
            channel_faults: row.channel,
            plugin_faults: row.plugin,
            at: moment::text(row.at),
            history: row.notes.into_iter().map(attempt).collect(),
        }
    }
}

/// Letters read at once.
const PAGE: usize = bugle_broker::LETTERS_PAGE_MAX;

/// The letters that are wanted, in the order of their first events, so that copies of one key come in their old order.
async fn select(letters: &Letters, wanted: &Wanted) -> Result<Vec<Selected>, ReadError> {
    let mut selected = Vec::new();
    let mut after = None;
    loop {
        let page = letters.page(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        let rows = page.iter().filter(|entry| wanted.matches(&entry.row));
        selected.extend(
            rows.map(|entry| Selected { origin: letters.origin(&entry.row).position, position: entry.position }),
        );
    }
    selected.sort_unstable();
    Ok(selected)
}

fn one_change(subscription: &str, position: Position, changed: &[Changed]) -> Result<(), DeadError> {
    match changed.first() {
        Some(Changed::Done) => Ok(()),
        Some(Changed::Refused(source)) => Err(DeadError::Refused { position, source: *source }),
        Some(Changed::Gone | Changed::Skipped) | None => {
            Err(DeadError::NotFound { subscription: subscription.to_owned(), position })
        }
    }
}

pub(super) fn attempt(note: AttemptNote) -> AttemptView {
    AttemptView { attempt: note.attempt.0, at: moment::text(note.at), reason: note.reason }
}

/// Attributes that say where a copy comes from: they are the host's, so an edit neither changes nor removes them.
const OF_THE_HOST: [&str; 3] = [ORIGIN_ATTRIBUTE, LATE_ATTRIBUTE, bugle_broker::HOPS_ATTRIBUTE];

/// The event a person gave, checked as at the door.
fn given_event(mut event: Map<String, Value>) -> Result<Event, String> {
    for name in OF_THE_HOST {
        event.remove(name);
    }
    for name in ["id", "source", "type"] {
        if !event.contains_key(name) {
            return Err(format!("the event has no `{name}`; give the whole event, as `bugle dead show` prints it"));
        }
    }
    let text = Value::Object(event).to_string();
    let event = bugle_client::Event::from_json(&text).map_err(|error| error.to_string())?;
    bugle_ingress::decode_event(event.bytes().clone()).map_err(|refusal| refusal.detail)
}

fn with_host_attributes(given: &Event, old: &Event) -> Event {
    let kept: Vec<(&str, &str)> =
        OF_THE_HOST.into_iter().filter_map(|name| Some((name, old.attribute(name)?))).collect();
    if kept.is_empty() { given.clone() } else { encode::stamp(given, &kept) }
}
