//! Subscriptions of the running host: plan, apply, pause, resume, delete, show.
//!
//! A definition is checked with the plugin itself before anything of it is stored.

use bugle_broker::{Applied, ApplySubscription, StartAt, SubscriptionError};
use bugle_core::code::Code;
use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::spec::Subscription;

use super::plugins::DeployError;
use super::status::{position, state};
use super::{Host, locked};
use crate::api::{PauseView, Plan, SubscriptionView};
use crate::catalog::{self, SubscriptionRow};
use crate::definition::{Definition, DefinitionError, Start};

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
    /// The plugin does not take it.
    #[error(transparent)]
    Plugin(#[from] DeployError),
    /// The broker could not.
    #[error(transparent)]
    Bus(#[from] SubscriptionError),
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] bugle_broker::ReadError),
}

impl ApplyError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ApplyError::Definition(_) | ApplyError::Secret(_) => Code::Invalid,
            ApplyError::UnknownTopic { .. } => Code::UnknownTopic,
            ApplyError::Plugin(error) => error.code(),
            ApplyError::Bus(_) => Code::Unavailable,
            ApplyError::Read(_) => Code::StorageFailed,
        }
    }
}

fn start_at(start: Start) -> StartAt {
    match start {
        Start::Latest => StartAt::Latest,
        Start::Earliest => StartAt::Earliest,
        Start::At(position) => StartAt::Offset(position.offset),
    }
}

impl Host {
    fn topic_ids(&self, definition: &Definition) -> Result<Vec<TopicId>, ApplyError> {
        let number = |topic: &String| {
            self.bus()
                .topic(topic)
                .ok_or_else(|| ApplyError::UnknownTopic { subscription: definition.name.clone(), topic: topic.clone() })
        };
        definition.topics.iter().map(number).collect()
    }

    /// What applying a definition would do.
    pub async fn plan(&self, definition: &Definition) -> Result<Plan, ApplyError> {
        definition.check()?;
        let spec = definition.to_core(SubscriptionId(0), self.topic_ids(definition)?);
        let start = position(self.offset_of(definition.start));
        let stored = locked(&self.definitions).get(&definition.name).cloned();
        let action = match &stored {
            None => "create",
            Some(stored) if stored == definition => "none",
            Some(_) => "change",
        };
        let events = match stored {
            Some(_) => 0,
            None => self.bus().count(&spec, start_at(definition.start)).await?.events,
        };
        Ok(Plan { action: action.to_owned(), start, events })
    }

    /// Creates or changes a subscription, durably; says where a new one starts.
    pub async fn apply(&self, mut definition: Definition) -> Result<Option<String>, ApplyError> {
        let _one_at_a_time = self.changes.lock().await;
        definition.check()?;
        let stored = locked(&self.definitions).get(&definition.name).cloned();
        let grants = stored.as_ref().map(|stored| &stored.grants);
        definition.grants.resolve_secrets(grants).map_err(ApplyError::Secret)?;
        let spec = definition.to_core(SubscriptionId(0), self.topic_ids(&definition)?);
        // Bound before the worker runs, so that its first delivery finds the plugin.
        self.bind(&definition).await?;
        let row =
            |spec: &Subscription| catalog::encode(&SubscriptionRow { id: spec.id.0, definition: definition.clone() });
        let apply = ApplySubscription { spec, start: start_at(definition.start), row, also: Vec::new() };
        let applied = match self.bus().apply_subscription(apply).await {
            Ok(applied) => applied,
            Err(error) => {
                self.unbind_or_restore(&definition.name, stored.as_ref()).await;
                return Err(error.into());
            }
        };
        locked(&self.definitions).insert(definition.name.clone(), definition);
        Ok(match applied {
            Applied::Created { floor, .. } => Some(position(floor)),
            Applied::Changed { .. } => None,
        })
    }

    async fn unbind_or_restore(&self, name: &str, stored: Option<&Definition>) {
        let restored = match stored {
            Some(stored) => self.bind(stored).await.is_ok(),
            None => false,
        };
        if !restored {
            self.unbind(name);
        }
    }

    /// Stops delivering, durably.
    pub async fn pause(&self, name: &str, reason: String) -> Result<(), SubscriptionError> {
        let by = "operator".to_owned();
        self.bus().pause(name, by, reason, Vec::new()).await
    }

    /// Delivers again, durably.
    pub async fn resume(&self, name: &str) -> Result<(), SubscriptionError> {
        self.bus().resume(name, Vec::new()).await
    }

    /// Deletes a subscription and its place in the log.
    pub async fn remove(&self, name: &str) -> Result<(), SubscriptionError> {
        let _one_at_a_time = self.changes.lock().await;
        self.bus().delete_subscription(name, Vec::new()).await?;
        self.unbind(name);
        locked(&self.definitions).remove(name);
        Ok(())
    }

    /// One subscription.
    pub async fn subscription(&self, name: &str) -> Option<SubscriptionView> {
        let mut definition = locked(&self.definitions).get(name).cloned()?;
        let status = self.bus().status(name).await?;
        definition.grants = definition.grants.redacted();
        let paused = status.machine.as_ref().and_then(|machine| machine.paused.as_ref());
        Some(SubscriptionView {
            id: status.spec.id.0,
            state: state(&status).to_owned(),
            paused: paused.map(|paused| PauseView { by: paused.by.clone(), reason: paused.reason.clone() }),
            problem: status
                .machine
                .is_none()
                .then(|| "its worker broke; see the log, and start the host again".to_owned()),
            started_at: None,
            status: self.numbers(&status),
            definition,
        })
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
