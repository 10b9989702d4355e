//! From settings and an event to a letter: what to write to whom.
//!
//! It sends nothing. A letter without a recipient is never made, and no address has a line break in it.

use bugle_plugin::prelude::*;

/// The settings, parsed.
#[derive(Debug)]
pub(crate) struct Templates {
    to: Template,
    cc: Template,
    from: Option<String>,
    reply_to: Template,
    subject: Template,
    text: Template,
    html: Option<Template>,
}

/// A mail ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: Vec<String>,
    pub(crate) cc: Vec<String>,
    pub(crate) from: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: Option<String>,
}

/// Called at deploy.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    Templates::read(config).map(drop).map_err(|error| error.message)
}

impl Templates {
    pub(crate) fn read(config: &Config) -> Result<Self, HostError> {
        let or = |name: &str, default: &str| match config.get::<Template>(name)? {
            Some(template) => Ok(template),
            None => Ok::<_, HostError>(default.parse().expect("the defaults are templates; a test parses them")),
        };
        Ok(Self {
            to: config.require("to")?,
            cc: or("cc", "")?,
            from: config.get::<String>("from")?.filter(|text| !text.is_empty()),
            reply_to: or("reply_to", "")?,
            subject: or("subject", "{{type}} {{subject}}")?,
            text: or("text", "{{type}} from {{source}} at {{time}}\n\n{{data | truncate: \"20000\"}}\n")?,
            html: config
                .get::<String>("html")?
                .filter(|text| !text.is_empty())
                .map(|_| config.require("html"))
                .transpose()?,
        })
    }

    pub(crate) fn render(&self, event: &Event<Value>) -> Result<Letter, Failure> {
        let to = addresses(&self.to.render(event))?;
        if to.is_empty() {
            return reject("no recipient: the template `to` came out empty for this event");
        }
        Ok(Letter {
            to,
            cc: addresses(&self.cc.render(event))?,
            from: self.from.clone(),
            reply_to: addresses(&self.reply_to.render(event))?.into_iter().next(),
            subject: self.subject.render(event).trim().to_owned(),
            text: self.text.render(event),
            html: self.html.as_ref().map(|html| html.render_html(event)),
        })
    }
}

fn addresses(text: &str) -> Result<Vec<String>, Failure> {
    let parts = text.split(',').map(str::trim).filter(|address| !address.is_empty());
    parts
        .map(|address| match address {
            _ if address.chars().any(char::is_control) => {
                reject("an address has a line break or control character in it")
            }
            _ if !address.contains('@') => reject(format!("`{address}` is not a mail address")),
            _ => Ok(address.to_owned()),
        })
        .collect()
}
