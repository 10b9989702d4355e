//! Plugins of the running host: deploy, bind to subscriptions, show.
//!
//! A component is verified, compiled and tried with the settings of every subscription that uses it; only then it is stored and
//! swapped in. Knows nothing of what is inside.
//!
//! Invariant: a refused deploy changes nothing; an accepted one is durable before it serves.

use bugle_broker::{ApplySubscription, Definition as Row, StartAt, Stopped};
use bugle_core::code::Code;
use bugle_core::spec::Subscription;
use bugle_core::step::CatalogKind;
use bugle_core::time::Timestamp;
use bugle_sandbox::{BindError, Bound, CheckError, CompileError, LoadPluginError, Plugin, World};
use bytes::Bytes;

use super::{Host, locked};
use crate::api::PluginView;
use crate::catalog::{self, PluginRow};
use crate::definition::{Definition, UncertainSpec};
use crate::wiring::PluginCall;
use crate::{moment, parts};

/// Why a plugin was not deployed, or does not take a subscription.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The caller: nothing of that name.
    #[error(
        "subscription `{subscription}` wants the plugin `{plugin}`, which is not deployed; do it with `bugle plugin deploy {plugin} FILE.wasm`"
    )]
    NotDeployed {
        /// The subscription.
        subscription: String,
        /// The plugin.
        plugin: String,
    },
    /// The plugin's author: the component.
    #[error("could not deploy plugin `{plugin}`")]
    Load {
        /// The plugin.
        plugin: String,
        /// Why.
        source: LoadPluginError,
    },
    /// The operator: the definition's grants.
    #[error("subscription `{subscription}`: {problem}")]
    Grants {
        /// The subscription.
        subscription: String,
        /// What is not understood.
        problem: String,
    },
    /// The operator: a setting of calls that this plugin does not make.
    #[error(
        "subscription `{subscription}`: `batch_max` is only for plugins of world `batch-channel`; plugin `{plugin}` is of world `channel` and takes one delivery per call, so remove the line"
    )]
    NotBatch {
        /// The subscription.
        subscription: String,
        /// The plugin.
        plugin: String,
    },
    /// The operator: a policy that this plugin cannot follow.
    #[error(
        "subscription `{subscription}`: `uncertain = \"ask\"` needs a plugin that exports `reconcile`, and `{plugin}` does not; use `resend` or `park`, or deploy a revision that does"
    )]
    CannotAsk {
        /// The subscription.
        subscription: String,
        /// The plugin.
        plugin: String,
    },
    /// The operator: callbacks that this plugin does not understand.
    #[error(
        "subscription `{subscription}`: `inbound = true` needs a plugin that exports `inbound`, and `{plugin}` does not; remove the line, or deploy a revision that does"
    )]
    CannotReceive {
        /// The subscription.
        subscription: String,
        /// The plugin.
        plugin: String,
    },
    /// The operator: timers that nobody would be woken up by.
    #[error(
        "subscription `{subscription}`: `timers = true` needs a plugin that exports `timer-handler`, and `{plugin}` does not; remove the line, or deploy a revision that does"
    )]
    CannotFire {
        /// The subscription.
        subscription: String,
        /// The plugin.
        plugin: String,
    },
    /// The operator: settings or grants that the manifest does not fit.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The operator or the author: the trial failed.
    #[error("plugin `{plugin}` was tried for {user}")]
    Check {
        /// The plugin.
        plugin: String,
        /// The subscription, or that there is none.
        user: String,
        /// Why.
        source: CheckError,
    },
    /// The host stops.
    #[error("could not keep the plugin")]
    Stopped(#[from] Stopped),
}

impl DeployError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            DeployError::NotDeployed { .. } => Code::NotFound,
            DeployError::Load { source, .. } => match source {
                LoadPluginError::Cache(_)
                | LoadPluginError::Compile(CompileError::Io { .. })
                | LoadPluginError::Panicked => Code::Unavailable,
                LoadPluginError::Verify(_)
                | LoadPluginError::Compile(_)
                | LoadPluginError::Link(_)
                | LoadPluginError::Needs(_)
                | LoadPluginError::Code(_) => Code::Invalid,
            },
            DeployError::Check { source: CheckError::NoSlot | CheckError::Panicked, .. } | DeployError::Stopped(_) => {
                Code::Unavailable
            }
            DeployError::Grants { .. }
            | DeployError::CannotAsk { .. }
            | DeployError::CannotReceive { .. }
            | DeployError::CannotFire { .. }
            | DeployError::NotBatch { .. }
            | DeployError::Bind(_)
            | DeployError::Check { .. } => Code::Invalid,
        }
    }
}

impl Host {
    /// Deploys a component under a name while everything runs; subscriptions that use it go on with it.
    pub async fn deploy(&self, name: &str, component: Bytes) -> Result<PluginView, DeployError> {
        let _one_at_a_time = self.changes.lock().await;
        let loaded = self.parts.sandbox.load(component.to_vec(), None).await;
        let plugin = loaded.map_err(|source| DeployError::Load { plugin: name.to_owned(), source })?;
        let users: Vec<Definition> = {
            let definitions = locked(&self.definitions);
            definitions.values().map(|row| &row.definition).filter(|found| found.plugin == name).cloned().collect()
        };
        let mut bounds = Vec::new();
        for definition in &users {
            bounds.push(self.try_out(name, &plugin, definition).await?);
        }
        if users.is_empty() {
            self.try_alone(name, &plugin).await?;
        }
        let row = PluginRow {
            revision: catalog::digits(&plugin.revision()),
            deployed_at: self.bus().now().0,
            bytes: component.len() as u64,
            version: plugin.manifest().version.clone(),
            description: plugin.manifest().description.clone(),
        };
        self.keep(name, &row, component).await?;
        bounds.iter().for_each(|bound| self.parts.sandbox.activate(bound));
        for definition in &users {
            // A breaker that blamed the old revision need not wait its time out. One that is gone meanwhile needs no probe.
            let _ = self.bus().probe(&definition.name).await;
        }
        let world = plugin.world();
        let before = locked(&self.loaded).insert(name.to_owned(), plugin).map(|before| before.world());
        locked(&self.plugins).insert(name.to_owned(), row.clone());
        if before != Some(world) {
            self.resize_calls(&users).await;
        }
        Ok(self.plugin_view(name, &row))
    }

    /// The plugin of these subscriptions takes another number of deliveries per call than before. Until they know, a call holds one
    /// delivery where several could be, and the other way round: nothing is lost by it.
    async fn resize_calls(&self, users: &[Definition]) {
        for definition in users {
            let stored = locked(&self.definitions).get(&definition.name).cloned();
            let (Some(stored), Ok(spec)) = (stored, self.spec_of(definition)) else { continue };
            let row = |_: &Subscription| catalog::encode(&stored);
            let apply = ApplySubscription { spec, start: StartAt::Latest, row, also: Vec::new() };
            if let Err(error) = self.bus().apply_subscription(apply).await {
                let subscription = &definition.name;
                tracing::warn!(%subscription, %error, "the subscription will know its plugin's new world after a restart only");
            }
        }
    }

    /// Binds and tries a plugin with the real settings.
    async fn try_out(
        &self,
        name: &str,
        plugin: &Plugin,
        definition: &Definition,
    ) -> Result<Bound<PluginCall>, DeployError> {
        if definition.batch_max.is_some() && plugin.world() == World::Channel {
            let subscription = definition.name.clone();
            return Err(DeployError::NotBatch { subscription, plugin: name.to_owned() });
        }
        if definition.uncertain == Some(UncertainSpec::Ask) && !plugin.reconciles() {
            let subscription = definition.name.clone();
            return Err(DeployError::CannotAsk { subscription, plugin: name.to_owned() });
        }
        if definition.inbound && !plugin.receives() {
            let subscription = definition.name.clone();
            return Err(DeployError::CannotReceive { subscription, plugin: name.to_owned() });
        }
        if definition.grants.timers && !plugin.fires() {
            let subscription = definition.name.clone();
            return Err(DeployError::CannotFire { subscription, plugin: name.to_owned() });
        }
        let binding = parts::binding(definition)
            .map_err(|problem| DeployError::Grants { subscription: definition.name.clone(), problem })?;
        let bound = self.parts.sandbox.bind(plugin, &binding)?;
        let tried = self.parts.sandbox.check(&bound).await;
        tried.map(|()| bound).map_err(|source| DeployError::Check {
            plugin: name.to_owned(),
            user: format!("subscription `{}`", definition.name),
            source,
        })
    }

    /// Tries a plugin that nobody uses yet, if it can be had without settings: a component that does not even start is refused
    /// now; what it says of missing settings is for the subscription that brings them.
    async fn try_alone(&self, name: &str, plugin: &Plugin) -> Result<(), DeployError> {
        let Ok(bound) = self.parts.sandbox.bind(plugin, &parts::binding_without_settings(name)) else {
            return Ok(());
        };
        match self.parts.sandbox.check(&bound).await {
            Ok(()) | Err(CheckError::Refused(_) | CheckError::Check(_)) => Ok(()),
            Err(source) => {
                Err(DeployError::Check { plugin: name.to_owned(), user: "no subscription yet".to_owned(), source })
            }
        }
    }

    /// Stores the component and what it is now, in one batch; an older component that nobody uses any more goes.
    async fn keep(&self, name: &str, row: &PluginRow, component: Bytes) -> Result<(), DeployError> {
        let version = row.version.as_str();
        let told = format!("version {version}, revision {}", row.revision);
        let mut also = vec![
            Row { kind: CatalogKind::Component, key: row.revision.clone(), value: Some(component.to_vec()) },
            self.audit("plugin.deploy", name).row(told),
        ];
        {
            let plugins = locked(&self.plugins);
            let old = plugins.get(name).map(|old| old.revision.clone());
            let is_used = |revision: &String| {
                let mut others = plugins.iter().filter(|(other, _)| *other != name);
                *revision == row.revision || others.any(|(_, other)| other.revision == *revision)
            };
            also.extend(old.filter(|revision| !is_used(revision)).map(|key| Row {
                kind: CatalogKind::Component,
                key,
                value: None,
            }));
        }
        let value = Some(catalog::encode(row));
        self.bus().define(CatalogKind::Plugin, name.to_owned(), value, also).await?;
        Ok(())
    }

    /// Tries a definition with its plugin and makes it what the subscription runs.
    pub(super) async fn bind(&self, definition: &Definition) -> Result<(), DeployError> {
        let plugin = locked(&self.loaded).get(&definition.plugin).cloned();
        let plugin = plugin.ok_or_else(|| DeployError::NotDeployed {
            subscription: definition.name.clone(),
            plugin: definition.plugin.clone(),
        })?;
        let bound = self.try_out(&definition.plugin, &plugin, definition).await?;
        self.parts.sandbox.activate(&bound);
        Ok(())
    }

    /// Forgets what a subscription runs.
    pub(super) fn unbind(&self, subscription: &str) {
        self.parts.sandbox.remove(subscription);
    }

    /// Ends the calls under way, each within its deadline.
    pub async fn stop_plugins(&self) {
        self.parts.sandbox.stop().await;
    }

    fn plugin_view(&self, name: &str, row: &PluginRow) -> PluginView {
        let definitions = locked(&self.definitions);
        let users = definitions.values().map(|row| &row.definition).filter(|found| found.plugin == name);
        PluginView {
            name: name.to_owned(),
            revision: row.revision.clone(),
            version: row.version.clone(),
            world: locked(&self.loaded).get(name).map(|plugin| plugin.world().word().to_owned()),
            description: row.description.clone(),
            bytes: row.bytes,
            deployed_at: moment::text(Timestamp(row.deployed_at)),
            subscriptions: users.map(|definition| definition.name.clone()).collect(),
        }
    }

    /// Every plugin, by name.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginView> {
        let plugins = locked(&self.plugins).clone();
        plugins.iter().map(|(name, row)| self.plugin_view(name, row)).collect()
    }
}
