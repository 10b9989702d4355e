//! Topics of the running host.

use bugle_broker::CreateTopicError;
use bugle_core::ids::Name;
use bugle_core::origin::is_reserved;
use bugle_core::spec::{Subscription, Topic};
use bugle_store::EpochFigures;

use super::Host;
use super::status::position;
use crate::api::{KeptView, TopicView};
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
            kept: self.kept(),
        }
    }

    /// What is kept of the log, and who keeps more than the retention asks for.
    pub(super) fn kept(&self) -> KeptView {
        let (epochs, pinned) = (self.bus().store().epochs(), self.bus().pinned());
        let by = pinned.by.and_then(|id| self.bus().subscriptions().into_iter().find(|spec| spec.id == id));
        let is_pinned = |epoch: &&EpochFigures| by.is_some() && epoch.first < pinned.allowed_below;
        KeptView {
            from: position(self.bus().floor()),
            bytes: epochs.iter().map(|epoch| epoch.bytes).sum(),
            epochs: epochs.len() as u64,
            pinned_bytes: epochs.iter().filter(is_pinned).map(|epoch| epoch.bytes).sum(),
            pinned_by: by.map(|spec| spec.name.to_string()),
        }
    }

    /// Creates a topic, durably; one that exists is left as it is.
    pub async fn create_topic(&self, name: &str) -> Result<TopicView, CreateTopicError> {
        let also = vec![self.audit("topic.create", name).row(String::new())];
        match self.bus().create_topic(Name::from(name), catalog::topic_row, also).await {
            Ok(topic) | Err(CreateTopicError::Exists(topic)) => Ok(self.topic_view(&topic)),
            Err(error) => Err(error),
        }
    }
}
