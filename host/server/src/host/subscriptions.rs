//! Subscriptions of the running host: plan, apply, pause, resume, delete, show.
//!
//! A definition is checked with the plugin itself before anything of it is stored.

use bugle_broker::{Applied, ApplySubscription, CreateTopicError, ReadError, StartAt, Stopped, SubscriptionError};
use bugle_core::code::Code;
use bugle_core::ids::{Offset, SubscriptionId, TopicId};
use bugle_core::origin::{SETTLED_TOPIC, private_topic};
use bugle_core::spec::Subscription;
use bugle_core::step::CatalogKind;

use super::plugins::DeployError;
use super::runs::{drain_view, let_go_view};
use super::status::{position, state};
use super::{Host, locked};
use crate::api::{PauseView, Plan, SubscriptionView};
use crate::catalog::{self, SubscriptionRow};
use crate::definition::{Definition, DefinitionError, Start};
use crate::parts;

/// Why a definition was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The caller: the definition itself.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The caller: a secret.
    #[error("{0}")]
    Secret(String),
    /// The caller: a topic that does not exist.
    #[error(
        "subscription `{subscription}` covers the topic `{topic}`, which does not exist; make it with `bugle topic create {topic}`"
    )]
    UnknownTopic {
        /// The subscription.
        subscription: String,
        /// The topic.
        topic: String,
    },
    /// The caller: a subscription that does not exist.
    #[error(
        "subscription `{subscription}`: `degrade` reroutes to `{target}`, which does not exist; apply that one first"
    )]
    UnknownTarget {
        /// The subscription.
        subscription: String,
        /// The other one.
        target: String,
    },
    /// The plugin does not take it.
    #[error(transparent)]
    Plugin(#[from] DeployError),
    /// The broker could not.
    #[error(transparent)]
    Bus(#[from] SubscriptionError),
    /// The host stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The topic of outcomes could not be made.
    #[error(transparent)]
    Topic(#[from] CreateTopicError),
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ApplyError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ApplyError::Definition(_) | ApplyError::Secret(_) | ApplyError::UnknownTarget { .. } => Code::Invalid,
            ApplyError::UnknownTopic { .. } => Code::UnknownTopic,
            ApplyError::Plugin(error) => error.code(),
            ApplyError::Bus(SubscriptionError::StillEnding(_) | SubscriptionError::OtherChannel(_)) => Code::Conflict,
            ApplyError::Bus(_) | ApplyError::Stopped(_) => Code::Unavailable,
            ApplyError::Read(_) | ApplyError::Topic(CreateTopicError::Read(_)) => Code::StorageFailed,
            ApplyError::Topic(_) => Code::Unavailable,
        }
    }
}

/// Why a subscription was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The caller: another one needs it.
    #[error("`{source_name}` reroutes events to `{name}`; apply `{source_name}` without that rule first")]
    IsTarget {
        /// The subscription.
        name: String,
        /// The one with the rule.
        source_name: String,
    },
    /// The broker could not.
    #[error(transparent)]
    Bus(#[from] SubscriptionError),
}

impl Host {
    /// `latest` stays what it is: only the commit knows where that is.
    async fn start_at(&self, start: Start) -> Result<StartAt, ReadError> {
        match start {
            Start::Latest => Ok(StartAt::Latest),
            Start::Earliest => Ok(StartAt::Earliest),
            Start::At(_) | Start::Since(_) | Start::Ago(_) => self.offset_of(start).await.map(StartAt::Offset),
        }
    }

    fn topic_ids(&self, definition: &Definition) -> Result<Vec<TopicId>, ApplyError> {
        let number = |topic: &String| {
            self.bus()
                .topic(topic)
                .ok_or_else(|| ApplyError::UnknownTopic { subscription: definition.name.clone(), topic: topic.clone() })
        };
        definition.named_topics().map(number).collect()
    }

    /// Nobody can create the topic of outcomes, so it is there as soon as somebody names it.
    async fn make_settled_topic(&self, definition: &Definition) -> Result<(), ApplyError> {
        if definition.needs_settled_topic() {
            self.bus().settled_topic().await?;
        }
        Ok(())
    }

    /// What the core would run for a definition that was checked, but for its number.
    pub(super) fn spec_of(&self, definition: &Definition) -> Result<Subscription, ApplyError> {
        let mut spec = definition.to_core(SubscriptionId(0), self.topic_ids(definition)?);
        if let Some(plugin) = locked(&self.loaded).get(&definition.plugin) {
            spec.batch_max = parts::batch_max(definition, plugin.world());
        }
        spec.settled = definition.settled_events.then(|| self.bus().topic(SETTLED_TOPIC)).flatten();
        let private = |target: &str| self.bus().topic(&private_topic(target));
        spec.protection.degrade = definition
            .degrade_rules(private)
            .map_err(|target| ApplyError::UnknownTarget { subscription: definition.name.clone(), target })?;
        Ok(spec)
    }

    /// What applying a definition would do.
    pub async fn plan(&self, definition: &Definition) -> Result<Plan, ApplyError> {
        definition.check()?;
        self.make_settled_topic(definition).await?;
        let spec = self.spec_of(definition)?;
        let start = position(self.offset_of(definition.start).await?);
        let stored = locked(&self.definitions).get(&definition.name).cloned();
        let action = match &stored {
            None => "create",
            Some(stored) if stored.definition == *definition => "none",
            Some(_) => "change",
        };
        let events = match stored {
            Some(_) => 0,
            None => self.bus().count(&spec, self.start_at(definition.start).await?).await?.events,
        };
        Ok(Plan { action: action.to_owned(), start, events })
    }

    /// Creates or changes a subscription, durably.
    pub async fn apply(&self, mut definition: Definition) -> Result<(), ApplyError> {
        let _one_at_a_time = self.changes.lock().await;
        definition.check()?;
        let stored = locked(&self.definitions).get(&definition.name).cloned();
        let grants = stored.as_ref().map(|stored| &stored.definition.grants);
        definition.grants.resolve_secrets(grants).map_err(ApplyError::Secret)?;
        self.make_settled_topic(&definition).await?;
        let spec = self.spec_of(&definition)?;
        let start = self.start_at(definition.start).await?;
        // Bound before the worker runs, so that its first delivery finds the plugin.
        self.bind(&definition).await?;
        let verb = if stored.is_some() { "changed" } else { "created" };
        let told = format!("{verb}, plugin {}", definition.plugin);
        let started_at = stored.as_ref().and_then(|stored| stored.started_at);
        let row = |id: SubscriptionId, started_at: Option<u64>| SubscriptionRow {
            id: id.0,
            definition: definition.clone(),
            started_at,
        };
        let apply = ApplySubscription {
            spec,
            start,
            row: |spec: &Subscription| catalog::encode(&row(spec.id, started_at)),
            also: vec![self.audit("subscription.apply", &definition.name).row(told)],
        };
        let row = match self.bus().apply_subscription(apply).await {
            // Only the commit tells where `latest` was, so the place is added by a second one.
            Ok(Applied::Created { spec, floor }) => {
                let row = row(spec.id, Some(floor.0));
                let (name, value) = (definition.name.clone(), Some(catalog::encode(&row)));
                self.bus().define(CatalogKind::Subscription, name, value, Vec::new()).await?;
                row
            }
            Ok(Applied::Changed { spec }) => row(spec.id, started_at),
            Err(error) => {
                self.unbind_or_restore(&definition.name, stored.as_ref()).await;
                return Err(error.into());
            }
        };
        locked(&self.definitions).insert(definition.name.clone(), row);
        Ok(())
    }

    async fn unbind_or_restore(&self, name: &str, stored: Option<&SubscriptionRow>) {
        let restored = match stored {
            Some(stored) => self.bind(&stored.definition).await.is_ok(),
            None => false,
        };
        if !restored {
            self.unbind(name);
        }
    }

    /// The first offset a subscription looked at, if it is known.
    #[must_use]
    pub fn started_at(&self, name: &str) -> Option<Offset> {
        locked(&self.definitions).get(name)?.started_at.map(Offset)
    }

    /// Stops delivering, durably.
    pub async fn pause(&self, name: &str, reason: String) -> Result<(), SubscriptionError> {
        let by = "operator".to_owned();
        let also = vec![self.audit("subscription.pause", name).row(reason.clone())];
        self.bus().pause(name, by, reason, also).await
    }

    /// Delivers again, durably.
    pub async fn resume(&self, name: &str) -> Result<(), SubscriptionError> {
        let also = vec![self.audit("subscription.resume", name).row(String::new())];
        self.bus().resume(name, also).await
    }

    /// Deletes a subscription and its place in the log.
    pub async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        let _one_at_a_time = self.changes.lock().await;
        let source = locked(&self.definitions).values().find(|row| row.definition.reroutes_to(name)).cloned();
        if let Some(source) = source {
            return Err(RemoveError::IsTarget { name: name.to_owned(), source_name: source.definition.name });
        }
        let also = vec![self.audit("subscription.delete", name).row(String::new())];
        self.bus().delete_subscription(name, also).await?;
        self.unbind(name);
        locked(&self.definitions).remove(name);
        Ok(())
    }

    /// One subscription.
    pub async fn subscription(&self, name: &str) -> Option<SubscriptionView> {
        let SubscriptionRow { mut definition, started_at, .. } = locked(&self.definitions).get(name).cloned()?;
        let status = self.bus().status(name).await?;
        definition.grants = definition.grants.redacted();
        let machine = status.machine.as_ref();
        let paused = machine.and_then(|machine| machine.paused.as_ref());
        Some(SubscriptionView {
            id: status.spec.id.0,
            state: state(&status).to_owned(),
            paused: paused.map(|paused| PauseView { by: paused.by.clone(), reason: paused.reason.clone() }),
            problem: status
                .machine
                .is_none()
                .then(|| "its worker broke; see the log, and start the host again".to_owned()),
            started_at: started_at.map(|offset| position(Offset(offset))),
            drain: drain_view(status.unsettled, status.pace),
            drain_to: machine.and_then(|machine| machine.run.drain_to).map(position),
            boost: machine.and_then(|machine| machine.run.boost).map(|boost| boost.factor),
            places: machine.map_or(0, |machine| machine.places as u64),
            timers: self.timers(&status.spec),
            let_go: machine.and_then(|machine| machine.let_go.as_ref()).map(let_go_view),
            status: self.numbers(&status),
            definition,
        })
    }

    /// Timers of the plugin of a subscription that wait; none if the disk does not say.
    fn timers(&self, spec: &Subscription) -> u64 {
        let totals = spec.redelivery.map(|topic| self.bus().scheduled_totals(topic));
        totals.and_then(Result::ok).unwrap_or_default().waiting
    }

    /// Every subscription, by name.
    pub async fn subscriptions(&self) -> Vec<SubscriptionView> {
        let names: Vec<String> = locked(&self.definitions).keys().cloned().collect();
        let mut views = Vec::new();
        for name in names {
            views.extend(self.subscription(&name).await);
        }
        views
    }
}
