//! What became of a delivery, as an event: for subscriptions that want to tell others.
//!
//! One event in the topic of outcomes for each delivery that a row tells the end of, in the batch of that row, and one more when a
//! person said later what became of an unknown one. Its ordering key is that of the event it is about. Knows nothing of how events
//! are encoded.
//!
//! Invariant: what is delivered from the topic of outcomes has no outcome, and a chain of events that came of each other ends.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use super::Machine;
use super::records::Became;
use crate::attempt::HOPS_MAX;
use crate::event::StoredEvent;
use crate::ids::Attempt;
use crate::import::NewEvent;
use crate::origin::{HOPS_ATTRIBUTE, Origin, SETTLED_TOPIC};
use crate::row::RecordStatus;
use crate::seeded::{Bug, is_planted};
use crate::spec::Subscription;
use crate::step::{Step, Write};

/// Longest cause and longest recipient, in bytes: half of what an attribute may have.
const TEXT_BYTES_MAX: usize = 512;

/// What is told of an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) status: RecordStatus,
    pub(crate) attempt: Attempt,
    pub(crate) detail: &'a str,
    /// Whom it is about, if a provider told it; none if it is how the delivery ended.
    pub(crate) recipient: Option<&'a str>,
}

impl Machine {
    /// Tells the end of a delivery to whoever covers the topic of outcomes. A key that waits for a person has not ended.
    pub(super) fn outcome(&mut self, event: &StoredEvent, became: &Became, step: &mut Step) {
        if !is_end(became.status) {
            return;
        }
        let Became { status, attempt, detail } = became;
        let told = Told { status: *status, attempt: *attempt, detail, recipient: None };
        let Some(outcome) = tell(&self.spec, event, told) else { return };
        if is_planted(Bug::OutcomeAfterSettled) {
            self.held_back[0].push(outcome);
        } else {
            step.writes.push(outcome);
        }
    }
}

/// The event that tells what became of a delivery, or of one recipient of it; none where nobody wants to know.
pub(crate) fn tell(spec: &Subscription, event: &StoredEvent, told: Told<'_>) -> Option<Write> {
    let topic = spec.settled?;
    let origin = Origin::of(spec.id, spec.redelivery, event);
    let hops = event.event.attribute(HOPS_ATTRIBUTE).and_then(|hops| hops.parse::<u32>().ok()).unwrap_or(0);
    if event.topic == topic || origin.topic == topic || hops >= HOPS_MAX {
        return None;
    }
    let (word, position, name) = (told.status.word(), event.position, &spec.name);
    let mut attributes = vec![
        ("outcome".to_string(), word.to_string()),
        ("subscription".to_string(), name.to_string()),
        ("eventid".to_string(), event.event.id().to_string()),
        ("eventsource".to_string(), event.event.source().to_string()),
        ("eventtype".to_string(), event.event.kind().to_string()),
        ("eventposition".to_string(), position.to_string()),
        ("attempts".to_string(), told.attempt.to_string()),
    ];
    let named = spec.business_key.as_deref().and_then(|name| event.event.attribute(name));
    // Not as `businesskey`: outcomes of several subscriptions would be one and the same to a plugin that does a thing once.
    let business_key = named.or_else(|| event.event.attribute("businesskey")).map(str::to_string);
    let subject = event.event.attribute("subject").map(str::to_string);
    let text = |text: &str| Some(text_of(text)).filter(|text| !text.is_empty());
    let recipient = told.recipient.and_then(text);
    let known = [
        ("eventsubject", subject),
        ("eventbusinesskey", business_key),
        ("eventrecipient", recipient.clone()),
        ("cause", text(told.detail)),
    ];
    attributes.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))));
    let mut id = format!("{name}/{position}/{word}");
    if let Some(recipient) = &recipient {
        id = format!("{id}/{recipient}");
    }
    let event = NewEvent {
        topic: SETTLED_TOPIC.to_string(),
        kind: SETTLED_TOPIC.to_string(),
        subject: Some(event.event.id().to_string()),
        key: event.event.key().map(str::to_string),
        // A delivery ends once, and once more when a person says what became of an unknown one; a recipient when its provider says so.
        id: Some(id),
        deliver_at: None,
        expires: None,
        class: event.event.class(),
        content_type: None,
        attributes,
        data: vec![],
    };
    Some(Write::Outcome { topic, subscription: name.clone(), hops: hops + 1, event })
}

fn is_end(status: RecordStatus) -> bool {
    match status {
        RecordStatus::Sent
        | RecordStatus::Delivered
        | RecordStatus::Bounced
        | RecordStatus::Unknown
        | RecordStatus::Expired
        | RecordStatus::Suppressed
        | RecordStatus::Dead => true,
        RecordStatus::Accepted
        | RecordStatus::Scheduled
        | RecordStatus::Claimed
        | RecordStatus::Attempted
        | RecordStatus::Manual => false,
    }
}

/// A text as an attribute may have it.
fn text_of(text: &str) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text.trim().to_string()
}
