//! A delivery in the guest's words, and the guest's verdict in the core's.
//!
//! Invariant: what a guest returned is bounded here, before anyone keeps it.

use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::event::Event;
use bugle_core::time::Millis;

use crate::bindings::bugle::plugin::types;
use crate::calls::HostCalls;
use crate::imports::{bounded_reason, retry};

/// The argument of `handle`; `attribute` as in [`business_key`].
pub(crate) fn delivery<C: HostCalls>(call: &C, attribute: Option<&str>) -> types::Delivery {
    let delivery = call.delivery();
    let stored = &delivery.event;
    let event = &stored.event;
    let mut attributes: Vec<(String, String)> =
        event.others().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    attributes.sort_unstable();
    types::Delivery {
        ticket: delivery.ticket.0,
        event: types::Event {
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            kind: event.kind().to_owned(),
            subject: event.subject().map(str::to_owned),
            topic: call.topic().to_string(),
            position: stored.position.to_string(),
            key: event.key().map(str::to_owned),
            time: event.time().unwrap_or(stored.received).0,
            content_type: event.content_type().map(str::to_owned),
            attributes,
            data: event.data().to_vec(),
        },
        attempt: delivery.attempt.0,
        idempotency_key: delivery.idempotency_key.clone(),
        business_key: business_key(event, attribute),
        deadline: delivery.deadline.0,
        priority: event.class().word().to_owned(),
    }
}

/// What the event is about: the attribute that the subscription names, else `businesskey`, else source and id.
#[must_use]
pub fn business_key(event: &Event, attribute: Option<&str>) -> String {
    business_key_parts(event, attribute).concat()
}

/// [`business_key`] in three parts.
pub(crate) fn business_key_parts<'a>(event: &'a Event, attribute: Option<&str>) -> [&'a str; 3] {
    let named = attribute.and_then(|name| event.attribute(name)).or_else(|| event.attribute("businesskey"));
    named.map_or_else(|| [event.source(), " ", event.id()], |key| [key, "", ""])
}

/// How a call that returned has ended.
pub(crate) fn returned(result: Result<(), types::Failure>) -> CallEnd {
    CallEnd::Returned(result.map_err(|failure| match failure {
        types::Failure::Retry(why) => Failure::Retry(retry(why)),
        types::Failure::Reject(reason) => Failure::Reject(bounded_reason(reason)),
        types::Failure::Defer(millis) => Failure::Defer(Millis(millis)),
        types::Failure::Unknown(reference) => Failure::Unknown(bounded_reason(reference)),
    }))
}
