//! The in-app channel: keeps each event as a message in the inbox of one user, in the plugin's kv store.
//!
//! It serves nobody: an app reads and changes the entries through the host's generic kv API. Invariant: a
//! message is unread exactly as long as its marker exists, so the number of markers is the unread count.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod layout;

use bugle_plugin::prelude::*;
use layout::{Layout, Message};

#[channel(check = check)]
fn inbox(cx: &Cx, event: Event<Value>) -> Outcome {
    let settings = Settings::read(&cx.config())?;
    let user = settings.user.render(&event);
    let Some(layout) = Layout::new(user.trim(), event.time(), cx.idempotency_key()) else {
        return reject("no user: the template `user` came out empty, or longer than 140 bytes, for this event");
    };
    let link = settings.link.render(&event);
    let message = Message {
        title: settings.title.render(&event),
        body: settings.body.render(&event),
        link: (!link.is_empty()).then_some(link),
        time: event.time_text(),
        kind: event.kind().to_owned(),
        source: event.source().to_owned(),
        event: event.id().to_owned(),
    };
    // All three land with the ack or not at all; no claim is needed, since nothing leaves the host.
    cx.kv().put_json(&layout.message(), &message, settings.ttl)?;
    cx.kv().put(&layout.unread(), b"", settings.ttl)?;
    cx.kv().add(&layout.received(), 1, None)?;
    cx.note(user.trim(), "delivered").provider("inbox").reference(layout.message()).save()?;
    Ok(())
}

struct Settings {
    user: Template,
    title: Template,
    body: Template,
    link: Template,
    ttl: Option<Duration>,
}

impl Settings {
    fn read(config: &Config) -> Result<Self, HostError> {
        /// The manifest's default, for a host that fills none in.
        const TTL: Duration = Duration::from_secs(90 * 86_400);
        let or = |name: &str, default: &str| match config.get::<Template>(name)? {
            Some(template) => Ok(template),
            None => Ok::<_, HostError>(default.parse().expect("the defaults are templates; a test parses them")),
        };
        Ok(Self {
            user: config.require("user")?,
            title: or("title", "{{type}}")?,
            body: or("body", "{{subject}}")?,
            link: or("link", "")?,
            ttl: Some(config.duration("ttl")?.unwrap_or(TTL)).filter(|ttl| !ttl.is_zero()),
        })
    }
}

/// Called at deploy.
fn check(config: &Config) -> Result<(), String> {
    Settings::read(config).map(drop).map_err(|error| error.message)
}

#[cfg(test)]
mod tests;
