//! `publish`: follow-up events. Each topic needs a grant on both sides.
//!
//! Ids, sizes in sum and storage are the core's.

use bugle_core::code::Code;
use bugle_core::event::Class;
use bugle_core::import::{Import, NewEvent, Reply};
use bugle_core::time::Timestamp;

use super::{denied, error, unexpected};
use crate::bindings::bugle::plugin::{publish, types};
use crate::calls::HostCalls;
use crate::state::State;

/// Events of one delivery, as the plugin contract says; one call has no more.
const EVENTS_MAX: usize = 256;
/// Extension attributes of one event.
const ATTRIBUTES_MAX: usize = 64;
/// Name of an extension attribute.
const NAME_BYTES_MAX: usize = 20;
/// Value of an attribute.
const VALUE_BYTES_MAX: usize = 1 << 10;

impl<C: HostCalls> publish::Host for State<C> {
    async fn publish(&mut self, t: types::Ticket, events: Vec<types::NewEvent>) -> Result<Vec<String>, types::Error> {
        self.live(t)?;
        if events.len() > EVENTS_MAX {
            return Err(error(Code::Quota, format!("a delivery publishes {EVENTS_MAX} events at most")));
        }
        for event in &events {
            self.rights.check_publish(&event.topic).map_err(denied)?;
        }
        let events = events.into_iter().map(new_event).collect::<Result<Vec<_>, _>>()?;
        match self.ask(t, Import::Publish(events)).await? {
            Reply::Ids(ids) => Ok(ids),
            other => Err(unexpected(&other)),
        }
    }
}

fn new_event(event: types::NewEvent) -> Result<NewEvent, types::Error> {
    let class = match event.priority.as_deref() {
        None | Some("normal") => Class::Normal,
        Some("critical") => Class::Critical,
        Some("low") => Class::Low,
        Some(_) => return Err(error(Code::Invalid, "priority is `critical`, `normal` or `low`")),
    };
    if event.kind.is_empty() {
        return Err(error(Code::Invalid, "an event needs a `kind` (CloudEvents type)"));
    }
    let given = [&event.subject, &event.key, &event.id, &event.content_type];
    if is_bad(&event.kind) || given.into_iter().flatten().any(|value| is_bad(value)) {
        let problem = format!("an attribute is text without control characters, at most {VALUE_BYTES_MAX} bytes");
        return Err(error(Code::Invalid, problem));
    }
    check_attributes(&event.attributes)?;
    Ok(NewEvent {
        topic: event.topic,
        kind: event.kind,
        subject: event.subject,
        key: event.key,
        id: event.id,
        deliver_at: event.deliver_at.map(Timestamp),
        expires: event.expires.map(Timestamp),
        class,
        content_type: event.content_type,
        attributes: event.attributes,
        data: event.data,
    })
}

fn is_bad(value: &str) -> bool {
    value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control)
}

fn check_attributes(attributes: &[(String, String)]) -> Result<(), types::Error> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(error(Code::TooLarge, format!("an event has {ATTRIBUTES_MAX} extension attributes at most")));
    }
    for (at, (name, value)) in attributes.iter().enumerate() {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_allowed) {
            let problem = format!("names of attributes are a-z and 0-9, at most {NAME_BYTES_MAX} long");
            return Err(error(Code::Invalid, problem));
        }
        if attributes.iter().take(at).any(|(earlier, _)| earlier == name) {
            return Err(error(Code::Invalid, format!("attribute `{name}` is given twice")));
        }
        if is_bad(value) {
            let problem =
                format!("attribute `{name}` must be text without control characters, at most {VALUE_BYTES_MAX} bytes");
            return Err(error(Code::Invalid, problem));
        }
    }
    Ok(())
}
