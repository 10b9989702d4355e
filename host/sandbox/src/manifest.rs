//! `plugin.toml`: what a plugin says of itself and what it asks for.
//!
//! Only its form is judged here; whether the operator grants what is asked for is judged by `grants`.
//!
//! Invariant: a [`Manifest`] that parsed has a valid name, this contract's track, and parsed patterns.

use bugle_egress::{Origin, OriginPattern};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::quantity::{Size, Time};
use crate::topic_pattern::TopicPattern;

/// The track of `bugle:plugin` that this host serves.
pub const CONTRACT: &str = "0.1";

/// A checked manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// a-z, 0-9 and `-`.
    pub name: String,
    /// The author's version.
    pub version: String,
    /// The track it was built for.
    pub contract: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Raised when kv data changes shape.
    #[serde(default = "one")]
    pub state_version: u32,
    /// Bounds it asks for.
    #[serde(default)]
    pub limits: Limits,
    /// Origins it wants to call.
    #[serde(default)]
    pub egress: EgressSection,
    /// Other rights it wants.
    #[serde(default)]
    pub grants: GrantsSection,
    /// Secrets it uses.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSection>,
    /// Settings it takes.
    #[serde(default)]
    pub config: BTreeMap<String, Setting>,
    /// Defaults for claims.
    #[serde(default)]
    pub dedup: DedupSection,
    /// Defaults for retries.
    #[serde(default)]
    pub retry: RetrySection,
}

fn one() -> u32 {
    1
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory of one instance.
    pub memory: Option<Size>,
    /// CPU time of an attempt.
    pub cpu: Option<Time>,
    /// Time of an attempt.
    pub wall: Option<Time>,
    /// Calls at once; a hint for the subscription.
    pub in_flight: Option<u32>,
    /// Deliveries per instance.
    pub reuse: Option<u32>,
}

/// `[egress]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressSection {
    /// Origins, or `config:NAME` for the origin of a setting.
    pub allow: Vec<Asked>,
}

/// One line of `[egress] allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// These origins.
    Pattern(OriginPattern),
    /// The origin of this setting of the subscription.
    Setting(String),
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Asked, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("config:") {
            Some(name) => Ok(Asked::Setting(name.to_owned())),
            None => text.parse().map(Asked::Pattern).map_err(serde::de::Error::custom),
        }
    }
}

/// `[grants]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantsSection {
    /// `kv`.
    pub kv: bool,
    /// `mail`.
    pub mail: bool,
    /// `ack.pause-subscription`.
    pub pause: bool,
    /// `timers`.
    pub timers: bool,
    /// Topics for `publish`.
    #[serde(deserialize_with = "topic_patterns")]
    pub publish: Vec<TopicPattern>,
}

fn topic_patterns<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<TopicPattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

/// `[secrets.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretSection {
    /// What it is used for.
    pub uses: Vec<SecretUse>,
    /// Whether the plugin cannot do without.
    pub required: bool,
    /// For people.
    pub doc: String,
    /// Headers the host adds.
    pub bind: Vec<HeaderBinding>,
}

/// One use of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretUse {
    /// `secrets.sign`.
    Sign,
    /// `secrets.reveal`.
    Reveal,
    /// A header that the host adds.
    Header,
}

/// A header that carries a secret to one origin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderBinding {
    /// Where to.
    #[serde(deserialize_with = "origin")]
    pub origin: Origin,
    /// Its name.
    pub header: String,
    /// Its value; `{NAME}` stands for the secret.
    pub value: String,
}

fn origin<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// `[config.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// Whether the subscription must give it.
    #[serde(default)]
    pub required: bool,
    /// What it is when the subscription does not say.
    #[serde(default)]
    pub default: Option<serde_json::Value>,
    /// For people.
    #[serde(default)]
    pub doc: String,
}

/// Type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Text such as `30s`.
    Duration,
    /// A list.
    List,
    /// A table.
    Table,
}

/// `[dedup]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupSection {
    /// What to do about a send that may have happened.
    pub uncertain: Option<Uncertain>,
}

/// What to do about effects that may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uncertain {
    /// Again, with the same idempotency key.
    Resend,
    /// Ask the provider.
    Ask,
    /// Leave it to a person.
    Park,
}

impl Uncertain {
    /// The word in manifests and WIT.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Uncertain::Resend => "resend",
            Uncertain::Ask => "ask",
            Uncertain::Park => "park",
        }
    }
}

/// `[retry]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Attempts in all.
    pub attempts: Option<u32>,
    /// Bound of the first wait.
    pub first: Option<Time>,
    /// Bound of every wait.
    pub cap: Option<Time>,
}

/// Why a manifest is not accepted. The plugin's author must change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML of the right shape.
    #[error("plugin.toml does not parse: {0}")]
    Syntax(String),
    /// A field cannot have this value.
    #[error("plugin.toml: `{field}` {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong and what to write.
        problem: String,
    },
}

/// Longest name of a plugin.
const NAME_BYTES_MAX: usize = 64;
/// Largest manifest: it is read before the plugin is trusted with anything.
const MANIFEST_BYTES_MAX: usize = 64 << 10;

impl Manifest {
    /// Parses and checks.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Syntax(format!("it is larger than {MANIFEST_BYTES_MAX} bytes")));
        }
        let manifest: Manifest = toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let refuse =
            |field: &str, problem: &str| ManifestError::Field { field: field.to_owned(), problem: problem.to_owned() };
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(is_name) {
            return Err(refuse("name", "must be 1 to 64 of a-z, 0-9 and `-`"));
        }
        if self.contract != CONTRACT {
            let problem = format!("is `{}`, but this host serves track `{CONTRACT}`", self.contract);
            return Err(refuse("contract", &problem));
        }
        for asked in &self.egress.allow {
            let Asked::Setting(name) = asked else { continue };
            if !self.config.get(name).is_some_and(|setting| setting.kind == SettingType::String) {
                let problem = format!("names `config:{name}`, which is no setting of type string in [config]");
                return Err(refuse("egress.allow", &problem));
            }
        }
        for (name, secret) in &self.secrets {
            if !secret.bind.is_empty() && !secret.uses.contains(&SecretUse::Header) {
                let problem = "has `bind` but `uses` lacks `header`";
                return Err(refuse(&format!("secrets.{name}"), problem));
            }
            if let Some(bad) = secret.bind.iter().find(|bind| !bind.value.contains(&format!("{{{name}}}"))) {
                let problem = format!("binds header `{}` without `{{{name}}}` in its value", bad.header);
                return Err(refuse(&format!("secrets.{name}.bind"), &problem));
            }
        }
        for (name, setting) in &self.config {
            if let Some(default) = &setting.default {
                crate::settings::text_of(setting.kind, default)
                    .map_err(|problem| refuse(&format!("config.{name}.default"), &problem))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
