//! What an operator allows the plugin of one subscription: hosts, mail, secrets, topics.
//!
//! A grant here is one half; the plugin's manifest must ask for the same. Values of secrets are told to nobody: what is listed
//! is [`Grants::redacted`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Rights of a subscription's plugin. Empty means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Origins that `http` may call: `https://api.example.com`, `http://127.0.0.1:8080`, `https://*.example.com`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<String>,
    /// Private networks that names may lead to, such as `10.0.0.0/8`; without it only an origin written as an address or
    /// `localhost` reaches one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Topics that `publish` may use; `orders.*` stands for all that start so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Whether `kv` may be used; the store has the subscription's name.
    pub kv: bool,
    /// Whether the plugin may pause its subscription (for a receiver that says that it is gone).
    pub pause: bool,
    /// Whether the plugin may set timers, by which it is woken up later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timers: bool,
    /// Whether `mail` may be sent over the relay of the host's config.
    pub mail: bool,
    /// Secrets by the name in the manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
}

/// Where a secret comes from. The CLI reads `env` and `file` on its side and sends the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// An environment variable of the CLI.
    Env(String),
    /// A file; a newline at its end is dropped.
    File(PathBuf),
    /// The value itself.
    Value(String),
    /// In listings: the first digits of the value's SHA-256. Applying it keeps the stored value.
    Kept(String),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretSource::Env(name) => write!(f, "Env({name})"),
            SecretSource::File(path) => write!(f, "File({})", path.display()),
            SecretSource::Value(_) => f.write_str("Value(...)"),
            SecretSource::Kept(digest) => write!(f, "Kept({digest})"),
        }
    }
}

impl SecretSource {
    fn redacted(&self) -> SecretSource {
        match self {
            SecretSource::Value(value) => SecretSource::Kept(fingerprint(value)),
            other => other.clone(),
        }
    }

    /// Reads `env` and `file`.
    pub fn read(&self, base: &Path) -> Result<SecretSource, String> {
        match self {
            SecretSource::Env(name) => std::env::var(name)
                .map(SecretSource::Value)
                .map_err(|_| format!("the environment variable `{name}` is not set")),
            SecretSource::File(path) => {
                let path = base.join(path);
                std::fs::read_to_string(&path)
                    .map(|text| SecretSource::Value(text.trim_end_matches('\n').to_owned()))
                    .map_err(|error| format!("could not read `{}`: {error}", path.display()))
            }
            SecretSource::Value(_) | SecretSource::Kept(_) => Ok(self.clone()),
        }
    }

    /// Replaces a mention of a stored value by that value.
    fn resolve(&mut self, stored: Option<&SecretSource>) -> Result<(), String> {
        match (&*self, stored) {
            (SecretSource::Value(_), _) => Ok(()),
            (SecretSource::Kept(digest), Some(SecretSource::Value(value))) if *digest == fingerprint(value) => {
                *self = SecretSource::Value(value.clone());
                Ok(())
            }
            (SecretSource::Kept(_), _) => {
                Err("is not the stored value; give it as `env`, `file` or `value`".to_owned())
            }
            (SecretSource::Env(_) | SecretSource::File(_), _) => {
                Err("must be sent as its value; the host reads no environment or files for others".to_owned())
            }
        }
    }

    /// The value, once resolved.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            SecretSource::Value(value) => Some(value),
            SecretSource::Env(_) | SecretSource::File(_) | SecretSource::Kept(_) => None,
        }
    }
}

fn fingerprint(value: &str) -> String {
    let digest = Sha256::digest(value.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl Grants {
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_origin = |origin: &String| {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']))
        };
        if let Some(bad) = self.egress.iter().find(|origin| !is_origin(origin)) {
            let problem = format!("has `{bad}`; write an origin such as `https://api.example.com`, without path");
            return Err(("grants.egress", problem));
        }
        Ok(())
    }

    fn each_secret(&mut self) -> impl Iterator<Item = (&str, &mut SecretSource)> {
        self.secrets.iter_mut().map(|(name, source)| (name.as_str(), source))
    }

    /// The same without the value of any secret.
    #[must_use]
    pub fn redacted(&self) -> Grants {
        let mut shown = self.clone();
        for (_, source) in shown.each_secret() {
            *source = source.redacted();
        }
        shown
    }

    /// Reads `env` and `file` sources, relative to the definition's folder.
    pub fn read_secrets(&mut self, base: &Path) -> Result<(), String> {
        for (name, source) in self.each_secret() {
            *source = source.read(base).map_err(|problem| format!("secret `{name}`: {problem}"))?;
        }
        Ok(())
    }

    /// Takes over stored values where the new definition only mentions them.
    pub fn resolve_secrets(&mut self, stored: Option<&Grants>) -> Result<(), String> {
        let mut stored = stored.cloned().unwrap_or_default();
        let known: BTreeMap<String, SecretSource> =
            stored.each_secret().map(|(name, source)| (name.to_owned(), source.clone())).collect();
        for (name, source) in self.each_secret() {
            source.resolve(known.get(name)).map_err(|problem| format!("secret `{name}` {problem}"))?;
        }
        Ok(())
    }
}
