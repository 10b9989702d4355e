//! What one plugin may do in one subscription: the manifest and the operator both said yes.
//!
//! It only answers; the imports ask. Every refusal names the exact line to add and where.
//!
//! Invariant: without a line on both sides the answer is no.

use bugle_core::ids::Name;
use bugle_egress::{HeaderName, HeaderValue, HttpClient, Mailer, Network, Origin, OriginPattern, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::binding::Binding;
use crate::manifest::{Asked, Manifest, SecretUse};
use crate::secret::Secret;
use crate::settings::{self, Settings};
use crate::topic_pattern::TopicPattern;

/// One half of a right.
#[derive(Clone, Copy, Debug)]
struct Halves {
    asked: bool,
    granted: bool,
}

/// A right that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Kv,
    Mail,
    Pause,
    Timers,
}

impl Right {
    fn key(self) -> &'static str {
        match self {
            Right::Kv => "kv",
            Right::Mail => "mail",
            Right::Pause => "pause",
            Right::Timers => "timers",
        }
    }
}

#[derive(Debug)]
struct BoundSecret {
    uses: Vec<SecretUse>,
    value: Option<Secret>,
}

/// The rights, settings and names of one binding.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) subscription: Name,
    pub(crate) plugin: String,
    pub(crate) revision: String,
    pub(crate) settings: Settings,
    pub(crate) business_key: Option<String>,
    pub(crate) uncertain: Option<String>,
    pub(crate) is_ordered: bool,
    pub(crate) http: HttpClient,
    mailer: Option<Arc<Mailer>>,
    kv: Halves,
    mail: Halves,
    pause: Halves,
    timers: Halves,
    publish_asked: Vec<TopicPattern>,
    publish_granted: Vec<TopicPattern>,
    secrets: BTreeMap<String, BoundSecret>,
}

/// Why a binding cannot be used. The operator must change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subscription `{subscription}`, plugin `{plugin}`: {problem}")]
pub struct BindError {
    /// The subscription.
    pub subscription: String,
    /// The plugin.
    pub plugin: String,
    /// What to change.
    pub problem: String,
}

impl Rights {
    /// Puts both halves together.
    pub(crate) fn new(
        manifest: &Manifest,
        revision: String,
        binding: &Binding,
        egress: &bugle_egress::Egress,
    ) -> Result<Rights, BindError> {
        let refuse = |problem: String| BindError {
            subscription: binding.subscription.to_string(),
            plugin: manifest.name.clone(),
            problem,
        };
        let settings = settings::resolve(manifest, &binding.settings).map_err(refuse)?;
        let secrets = bound_secrets(manifest, binding).map_err(refuse)?;
        let policy = policy(manifest, binding, &settings).map_err(refuse)?;
        let halves = |asked: bool, granted: bool| Halves { asked, granted };
        let (asked, granted) = (&manifest.grants, &binding.grants);
        Ok(Rights {
            subscription: Arc::clone(&binding.subscription),
            plugin: manifest.name.clone(),
            revision,
            settings,
            business_key: binding.business_key.clone(),
            uncertain: binding
                .uncertain
                .clone()
                .or_else(|| manifest.dedup.uncertain.map(|uncertain| uncertain.word().to_owned())),
            is_ordered: binding.is_ordered,
            http: egress.http(policy),
            mailer: egress.mailer().cloned(),
            kv: halves(asked.kv, granted.kv),
            mail: halves(asked.mail, granted.mail),
            pause: halves(asked.pause, granted.pause),
            timers: halves(asked.timers, granted.timers),
            publish_asked: asked.publish.clone(),
            publish_granted: granted.publish.clone(),
            secrets,
        })
    }

    fn in_manifest(&self, what: &str, line: &str, section: &str) -> String {
        format!("denied: {what} - add `{line}` to [{section}] in plugin.toml of plugin `{}`", self.plugin)
    }

    fn in_subscription(&self, what: &str, line: &str, section: &str) -> String {
        format!("denied: {what} - add `{line}` to [{section}] of subscription `{}`", self.subscription)
    }

    /// Whether the right is given; the error is the text of `denied`.
    pub(crate) fn check(&self, right: Right) -> Result<(), String> {
        let halves = match right {
            Right::Kv => self.kv,
            Right::Mail => self.mail,
            Right::Pause => self.pause,
            Right::Timers => self.timers,
        };
        let line = format!("{} = true", right.key());
        if !halves.asked {
            return Err(self.in_manifest(right.key(), &line, "grants"));
        }
        if !halves.granted {
            return Err(self.in_subscription(right.key(), &line, "grants"));
        }
        Ok(())
    }

    /// Whether the plugin may publish to the topic.
    pub(crate) fn check_publish(&self, topic: &str) -> Result<(), String> {
        let shown = crate::output::printable(topic);
        let what = format!("publish to `{shown}`");
        let line = format!("publish = [\"{shown}\"]");
        let is_in = |patterns: &[TopicPattern]| patterns.iter().any(|pattern| pattern.allows(topic));
        if !is_in(&self.publish_asked) {
            return Err(self.in_manifest(&what, &line, "grants"));
        }
        if !is_in(&self.publish_granted) {
            return Err(self.in_subscription(&what, &line, "grants"));
        }
        Ok(())
    }

    /// The relay, if mail is granted and the host has one.
    pub(crate) fn mailer(&self) -> Result<Arc<Mailer>, String> {
        self.check(Right::Mail)?;
        let missing = || "denied: mail - the host has no relay; add a [mail] section to its config".to_owned();
        self.mailer.clone().ok_or_else(missing)
    }

    /// The secret for this use. `Err(Some)` is the text of `denied`, `Err(None)` means that there is no value.
    pub(crate) fn secret(&self, name: &str, wanted: SecretUse) -> Result<&Secret, SecretRefusal> {
        let word = match wanted {
            SecretUse::Sign => "sign",
            SecretUse::Reveal => "reveal",
            SecretUse::Header => "header",
        };
        let shown: String = crate::output::printable(name).chars().take(64).collect();
        let section = format!("secrets.{shown}");
        let denied = |line: &str| {
            SecretRefusal::Denied(self.in_manifest(&format!("{word} with secret `{shown}`"), line, &section))
        };
        let bound = self.secrets.get(name).ok_or_else(|| denied(&format!("uses = [\"{word}\"]")))?;
        if !bound.uses.contains(&wanted) {
            return Err(denied(&format!("uses = [\"{word}\"]")));
        }
        bound.value.as_ref().ok_or_else(|| {
            SecretRefusal::NoValue(format!(
                "secret `{shown}` has no value - add `{shown} = {{ file = \"...\" }}` to [grants.secrets] of subscription `{}`",
                self.subscription
            ))
        })
    }
}

/// Why a secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretRefusal {
    Denied(String),
    NoValue(String),
}

fn bound_secrets(manifest: &Manifest, binding: &Binding) -> Result<BTreeMap<String, BoundSecret>, String> {
    if let Some(name) = binding.grants.secrets.keys().find(|name| !manifest.secrets.contains_key(*name)) {
        return Err(format!("`grants.secrets.{name}` is no secret of this plugin; its manifest does not list it"));
    }
    manifest
        .secrets
        .iter()
        .map(|(name, section)| {
            let value = binding.grants.secrets.get(name).cloned();
            if section.required && value.is_none() {
                return Err(format!("secret `{name}` is missing in [grants.secrets]: {}", section.doc));
            }
            Ok((name.clone(), BoundSecret { uses: section.uses.clone(), value }))
        })
        .collect()
}

fn policy(manifest: &Manifest, binding: &Binding, settings: &Settings) -> Result<Policy, String> {
    let mut asked = Vec::new();
    for line in &manifest.egress.allow {
        match line {
            Asked::Pattern(pattern) => asked.push(pattern.clone()),
            Asked::Setting(name) => {
                let Some(url) = settings.get(name) else { continue };
                let origin: Origin = url.parse().map_err(|error| format!("`config.{name}`: {error}"))?;
                asked.push(OriginPattern::from(origin));
            }
        }
    }
    let mut networks = binding.grants.networks.clone();
    networks.extend(binding.grants.egress.iter().flat_map(OriginPattern::networks));
    Ok(Policy {
        plugin: manifest.name.clone(),
        subscription: binding.subscription.to_string(),
        asked,
        granted: binding.grants.egress.clone(),
        networks: dedup(networks),
        injected: injected(manifest, binding)?,
    })
}

fn dedup(networks: Vec<Network>) -> Vec<Network> {
    let mut unique: Vec<Network> = Vec::new();
    for network in networks {
        if !unique.contains(&network) {
            unique.push(network);
        }
    }
    unique
}

/// Headers that carry secrets; only of secrets that have a value.
fn injected(manifest: &Manifest, binding: &Binding) -> Result<Vec<(Origin, HeaderName, HeaderValue)>, String> {
    let mut injected = Vec::new();
    for (name, section) in &manifest.secrets {
        let Some(secret) = binding.grants.secrets.get(name) else { continue };
        for bind in &section.bind {
            let bad = |what: &str| format!("secret `{name}`: {what} of header `{}` is not valid", bind.header);
            let header: HeaderName = bind.header.parse().map_err(|_| bad("the name"))?;
            let secret = std::str::from_utf8(secret.reveal()).map_err(|_| bad("the value"))?;
            let text = bind.value.replace(&format!("{{{name}}}"), secret);
            let mut value = HeaderValue::from_str(&text).map_err(|_| bad("the value"))?;
            value.set_sensitive(true);
            injected.push((bind.origin.clone(), header, value));
        }
    }
    Ok(injected)
}

#[cfg(test)]
mod tests;
