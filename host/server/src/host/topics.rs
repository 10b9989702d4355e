//! Topics of the running host.

use bugle_broker::CreateTopicError;
use bugle_core::ids::Name;
use bugle_core::spec::Topic;

use super::Host;
use crate::api::TopicView;
use crate::catalog::{self, TopicRow};

impl Host {
    /// Every topic, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicView> {
        let mut topics = self.bus().topics();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        topics.iter().map(|topic| self.topic_view(topic)).collect()
    }

    fn topic_view(&self, topic: &Topic) -> TopicView {
        let covers = |spec: &bugle_core::spec::Subscription| spec.topics.contains(&topic.id);
        let subscriptions = self.bus().subscriptions().into_iter().filter(covers);
        TopicView {
            name: topic.name.to_string(),
            id: topic.id.0,
            subscriptions: subscriptions.map(|spec| spec.name.to_string()).collect(),
        }
    }

    /// Creates a topic, durably; one that exists is left as it is.
    pub async fn create_topic(&self, name: &str) -> Result<TopicView, CreateTopicError> {
        let row = |topic: &Topic| catalog::encode(&TopicRow { id: topic.id.0 });
        match self.bus().create_topic(Name::from(name), row, Vec::new()).await {
            Ok(topic) | Err(CreateTopicError::Exists(topic)) => Ok(self.topic_view(&topic)),
            Err(error) => Err(error),
        }
    }
}
