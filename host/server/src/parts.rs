//! Turns the config and definitions into what each part wants to be given.
//!
//! The only place that knows both forms; it opens the store and the sandbox because their errors want a hint from the config's
//! side. Decides nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use bugle_core::admission::WindowSize;
use bugle_core::ids::Name;
use bugle_egress::{Egress, Options as EgressOptions, Relay, RelayPassword, RelayTls};
use bugle_ingress::{CertificateSource, Config as ListenerConfig, TokenHash};
use bugle_sandbox::{
    Binding, Compiler, Grants as SandboxGrants, Limits, Options as SandboxOptions, Sandbox, Secret, Tighter, World,
};
use bugle_store::{IncarnationId, OnLoss, Opened, Store};
use tokio::runtime::Handle;

use crate::catalog;
use crate::config::{Config, Security};
use crate::data_dir::DataDir;
use crate::definition::{Definition, Grants, LimitsSpec, OrderingSpec, UncertainSpec};
use crate::wiring::PluginCall;

/// Opens the store.
pub(crate) fn store(config: &Config, dir: &Path, on_loss: OnLoss) -> anyhow::Result<(Store, Opened)> {
    let options = bugle_store::Options { on_loss, epoch_bytes: config.storage.epoch.0 };
    Store::open(dir, options).map_err(|error| match &error {
        bugle_store::OpenError::LossDetected { .. } => anyhow::Error::new(error)
            .context("the store is not served; `bugle serve --accept-loss` serves what is left"),
        _ => anyhow::Error::new(error).context("could not open the store"),
    })
}

/// What the broker is told.
#[must_use]
pub(crate) fn bus(config: &Config) -> bugle_broker::Options {
    bugle_broker::Options {
        ring_bytes_max: config.storage.tail_ring.len(),
        window: WindowSize { ids: config.publish.id_window_ids, time: config.publish.id_window.0 },
        records_kept: config.storage.records.0,
        ..bugle_broker::Options::default()
    }
}

/// What the door is told.
pub(crate) fn listener(config: &Config, data: &DataDir, incarnation: IncarnationId) -> anyhow::Result<ListenerConfig> {
    let certificate = match (&config.quic.certificate, &config.quic.key) {
        (Some(certificate), Some(key)) => {
            CertificateSource::Files { certificate: certificate.clone(), key: key.clone() }
        }
        _ => CertificateSource::Development { dir: data.certificate() },
    };
    let hash = |token: &String| catalog::from_digits(token).map(TokenHash);
    let tokens: Option<Vec<TokenHash>> = config.quic.tokens.iter().map(hash).collect();
    Ok(ListenerConfig {
        listen: config.quic.listen,
        certificate,
        tokens: tokens.context("`quic.tokens` holds something else than SHA-256 digits")?,
        incarnation: incarnation.0.to_vec(),
        sessions_max: usize::try_from(config.quic.sessions)?,
        ..ListenerConfig::development(data.certificate())
    })
}

/// What the ways out are told.
pub(crate) fn egress(config: &Config) -> anyhow::Result<EgressOptions> {
    Ok(EgressOptions {
        extra_roots_pem: config.egress.extra_roots.as_deref().map(read).transpose()?.unwrap_or_default(),
        relay: relay(config)?,
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()))
}

fn relay(config: &Config) -> anyhow::Result<Option<Relay>> {
    let mail = &config.mail;
    let (Some(host), Some(sender)) = (&mail.host, &mail.sender) else {
        return Ok(None);
    };
    let login = match (&mail.username, &mail.password_file) {
        (Some(user), Some(file)) => {
            let password = std::fs::read_to_string(file)
                .with_context(|| format!("could not read the relay's password `{}`", file.display()))?;
            Some((user.clone(), RelayPassword(password.trim_end_matches('\n').to_owned())))
        }
        _ => None,
    };
    Ok(Some(Relay {
        host: host.clone(),
        port: mail.port,
        tls: match mail.security {
            Security::Starttls => RelayTls::StartTls,
            Security::Tls => RelayTls::Tls,
            Security::None => RelayTls::None,
        },
        login,
        ca_pem: mail.ca_file.as_deref().map(read).transpose()?.unwrap_or_default(),
        sender: sender.clone(),
        senders: mail.senders.clone(),
        domain: mail.domain.clone(),
    }))
}

/// Deliveries per call of a plugin that takes several, if the definition does not say.
const BATCH_MAX: u32 = 16;

/// Deliveries per call of the plugin at most, for a definition that was tried with it.
#[must_use]
pub(crate) fn batch_max(definition: &Definition, world: World) -> u32 {
    match world {
        World::Channel => 1,
        World::BatchChannel => definition.batch_max.unwrap_or(BATCH_MAX),
    }
}

/// Starts the sandbox; called where guests can be spawned.
pub(crate) fn sandbox(
    config: &Config,
    data: &DataDir,
    guest: Handle,
    guest_threads: usize,
    egress: Egress,
) -> anyhow::Result<Sandbox<PluginCall>> {
    Sandbox::new(SandboxOptions {
        guest,
        guest_threads,
        cache: data.compiled(),
        compiler: Compiler::Child(None),
        egress,
        limits: limits(config),
    })
    .context("could not start the sandbox")
}

fn limits(config: &Config) -> Limits {
    let sandbox = &config.sandbox;
    Limits {
        slots: sandbox.instances,
        memory_bytes: sandbox.memory.0,
        cpu: sandbox.cpu.std(),
        wall: sandbox.wall.std(),
        reuse: sandbox.reuse,
        component_bytes: sandbox.component.len(),
    }
}

/// What a subscription gives its plugin, or which of its grants is not understood.
pub(crate) fn binding(definition: &Definition) -> Result<Binding, String> {
    Ok(Binding {
        subscription: Name::from(definition.name.as_str()),
        concurrency: definition.concurrency,
        settings: definition.config.clone(),
        grants: grants(&definition.grants)?,
        limits: tighter(definition.limits),
        business_key: definition.business_key.clone(),
        uncertain: definition.uncertain.map(UncertainSpec::word).map(str::to_owned),
        is_ordered: definition.ordering == OrderingSpec::ByKey,
    })
}

/// For a trial of a plugin that nobody uses yet.
#[must_use]
pub(crate) fn binding_without_settings(plugin: &str) -> Binding {
    Binding {
        subscription: Name::from(plugin),
        concurrency: 1,
        settings: BTreeMap::new(),
        grants: SandboxGrants::default(),
        limits: Tighter::default(),
        business_key: None,
        uncertain: None,
        is_ordered: false,
    }
}

fn tighter(limits: LimitsSpec) -> Tighter {
    Tighter {
        memory_bytes: limits.memory.map(|size| size.0),
        cpu: limits.cpu.map(|time| time.std()),
        wall: limits.wall.map(|time| time.std()),
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(field: &str, texts: &[String]) -> Result<Vec<T>, String> {
    let parse = |text: &String| text.parse().map_err(|error| format!("`grants.{field}`: {error}"));
    texts.iter().map(parse).collect()
}

fn grants(grants: &Grants) -> Result<SandboxGrants, String> {
    let secrets = grants.secrets.iter().map(|(name, source)| {
        let value = source.value().ok_or_else(|| format!("the secret `{name}` has no value"))?;
        Ok((name.clone(), Secret::from(value)))
    });
    Ok(SandboxGrants {
        egress: parsed("egress", &grants.egress)?,
        networks: parsed("networks", &grants.networks)?,
        publish: parsed("publish", &grants.publish)?,
        kv: grants.kv,
        pause: grants.pause,
        timers: grants.timers,
        mail: grants.mail,
        secrets: secrets.collect::<Result<BTreeMap<_, _>, String>>()?,
    })
}
