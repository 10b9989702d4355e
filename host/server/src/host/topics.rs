//! Topics of the running host.

use bugle_broker::{CreateTopicError, DeleteTopicError};
use bugle_core::ids::Name;
use bugle_core::origin::is_reserved;
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};

use super::Host;
use super::retention::{DEFAULT, RetainError};
use crate::api::TopicView;
use crate::catalog;

impl Host {
    /// Topics by name; those of the host only if they are asked for.
    #[must_use]
    pub fn topics(&self, with_reserved: bool) -> Vec<TopicView> {
        let mut topics = self.bus().topics();
        topics.retain(|topic| with_reserved || !is_reserved(&topic.name));
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        topics.iter().map(|topic| self.topic_view(topic)).collect()
    }

    fn topic_view(&self, topic: &Topic) -> TopicView {
        let covers = |spec: &Subscription| spec.covered().contains(&topic.id);
        let subscriptions = self.bus().subscriptions().into_iter().filter(covers);
        TopicView {
            name: topic.name.to_string(),
            id: topic.id.0,
            is_reserved: is_reserved(&topic.name),
            subscriptions: subscriptions.map(|spec| spec.name.to_string()).collect(),
            scheduled: self.scheduled_counts(topic.id),
            kept: self.kept_of(topic.id),
        }
    }

    /// One topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicView> {
        self.bus().topics().iter().find(|topic| *topic.name == *name).map(|topic| self.topic_view(topic))
    }

    /// Creates a topic, durably; one that exists is left as it is.
    pub async fn create_topic(&self, name: &str, retention: Option<&str>) -> Result<TopicView, NewTopicError> {
        let retention = retention.unwrap_or(DEFAULT);
        let shelf = Shelf::new(self.known_class(retention)?);
        let detail = if retention == DEFAULT { String::new() } else { format!("retention {retention}") };
        let also = vec![self.audit("topic.create", name).row(detail)];
        let row = |topic: &Topic| catalog::topic_row_on(topic.id, shelf);
        match self.bus().create_topic(Name::from(name), shelf, row, also).await {
            Ok(topic) | Err(CreateTopicError::Exists(topic)) => Ok(self.topic_view(&topic)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Host {
    /// Deletes a topic, durably.
    pub async fn delete_topic(&self, name: &str) -> Result<(), DeleteTopicError> {
        // Not while a subscription that names it is being applied, nor while its row is written for another reason.
        let _one_at_a_time = self.changes.lock().await;
        let also = vec![self.audit("topic.delete", name).row(String::new())];
        self.bus().delete_topic(name, also).await
    }
}

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
pub enum NewTopicError {
    /// Its retention.
    #[error(transparent)]
    Retention(#[from] RetainError),
    /// The rest.
    #[error(transparent)]
    Create(#[from] CreateTopicError),
}
