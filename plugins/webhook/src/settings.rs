//! The subscription's settings of this channel, checked at deploy and read for each delivery.
//!
//! The same code does both, so what passed the check is what runs.

use bugle_plugin::prelude::*;
use std::collections::BTreeMap;
use std::str::FromStr;

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) format: Format,
    pub(crate) sign: bool,
    pub(crate) timeout: Duration,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) pause_on_gone: bool,
}

/// How an event becomes a request (CloudEvents HTTP binding).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Structured,
    Binary,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "structured" => Ok(Self::Structured),
            "binary" => Ok(Self::Binary),
            other => Err(format!("`{other}` is not a format; there are structured and binary")),
        }
    }
}

impl Settings {
    pub(crate) fn read(config: &Config) -> Result<Self, HostError> {
        Ok(Self {
            url: config.require("url")?,
            format: config.get_or("format", Format::Structured)?,
            sign: config.get_or("sign", true)?,
            timeout: config.duration("timeout")?.unwrap_or(Duration::from_secs(15)),
            headers: config.structured("headers")?.unwrap_or_default(),
            pause_on_gone: config.get_or("pause_on_gone", true)?,
        })
    }

    /// The URL without its query, which may hold a token: it is shown in send records.
    pub(crate) fn recipient(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}

/// Called at deploy.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    let settings = Settings::read(config).map_err(|error| error.message)?;
    if !["https://", "http://"].iter().any(|scheme| settings.url.starts_with(scheme)) {
        return Err(format!("config `url`: `{}` does not start with https:// or http://", settings.url));
    }
    if let Some(name) = settings.headers.keys().find(|name| is_reserved(name)) {
        return Err(format!("config `headers`: `{name}` is set by the channel itself"));
    }
    if settings.sign {
        bugle_plugin::sign("signing", Mac::HmacSha256, b"").map_err(|error| {
            format!("{}; give the secret `signing` (whsec_ and base64), or set `sign = false`", error.message)
        })?;
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "content-type" || name.starts_with("webhook-") || name.starts_with("ce-")
}
