//! Dead letters of the running host: list, show, edit, dismiss, purge; the replay is in `replay`.
//!
//! The core decides what may be done with a letter; here they are selected and told of. Every change leaves its audit row in the
//! same batch. Knows nothing of HTTP.
//!
//! Invariant: what changes many letters was confirmed by somebody who knew how many.

mod replay;

use bugle_broker::Changed;
use bugle_core::event::Event;
use bugle_core::ids::Position;
use bugle_core::origin::{LATE_ATTRIBUTE, ORIGIN_ATTRIBUTE, Origin};
use bugle_core::row::DeadRow;
use bugle_core::spec::Subscription;
use bugle_core::subscription::Decision;
use serde_json::{Map, Value};

use super::Host;
use super::kept::{CHANGED_AT_ONCE, Kept as _, KeptError, attempt};
use crate::api::{DeadChanged, DeadRequest, DeadView, KeptFilter};
use crate::{catalog, encode, event_json, moment};

pub use replay::ReplayJob;

impl Host {
    /// Dead letters of one subscription or all that a filter selects, oldest first.
    pub async fn dead(
        &self,
        subscription: Option<&str>,
        filter: &KeptFilter,
        limit: usize,
    ) -> Result<Vec<DeadView>, KeptError> {
        let found = self.kept(subscription, filter, limit).await?;
        Ok(found.into_iter().map(|(spec, row)| self.dead_view(&spec, row)).collect())
    }

    /// One dead letter.
    pub async fn dead_letter(&self, subscription: &str, position: Position) -> Result<DeadView, KeptError> {
        let none = || DeadRow::not_found(subscription, position);
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
    ) -> Result<DeadView, KeptError> {
        let given = given_event(event).map_err(KeptError::Invalid)?;
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
    pub async fn dismiss(&self, request: &DeadRequest) -> Result<DeadChanged, KeptError> {
        self.change_many(request, "dismiss", "dead.dismiss", Decision::Dismiss).await
    }

    /// Removes letters.
    pub async fn purge(&self, request: &DeadRequest) -> Result<DeadChanged, KeptError> {
        self.change_many(request, "purge", "dead.purge", Decision::Purge).await
    }

    async fn change_many(
        &self,
        request: &DeadRequest,
        verb: &'static str,
        action: &'static str,
        decision: Decision,
    ) -> Result<DeadChanged, KeptError> {
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
        let selected = self.select::<DeadRow>(subscription, &letters, &wanted).await?;
        DeadRow::confirm(&selected, *confirm, verb, subscription)?;
        let audit = self.audit(action, subscription);
        let mut done = DeadChanged::default();
        for chunk in selected.chunks(CHANGED_AT_ONCE) {
            let positions = chunk.iter().map(|letter| letter.position).collect();
            let choose = |row: &DeadRow| row.is_wanted(&wanted).then(|| decision.clone());
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

fn one_change(subscription: &str, position: Position, changed: &[Changed]) -> Result<(), KeptError> {
    match changed.first() {
        Some(Changed::Done) => Ok(()),
        Some(Changed::Refused(why)) => Err(DeadRow::refused(position, *why)),
        Some(Changed::Gone | Changed::Skipped) | None => Err(DeadRow::not_found(subscription, position)),
    }
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
