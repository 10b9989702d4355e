//! Topic names and numbers, for whoever looks a name up: follow-ups, subscriptions, operators.
//!
//! A copy for reading; the committer's admission decides. Invariant: a topic is here only after its row is durable.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use bugle_core::ids::{Name, TopicId};
use bugle_core::spec::Topic;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Topics(RwLock<BTreeMap<Name, TopicId>>);

impl Topics {
    pub(crate) fn new(topics: &[Topic]) -> Topics {
        Topics(RwLock::new(topics.iter().map(|topic| (topic.name.clone(), topic.id)).collect()))
    }

    pub(crate) fn add(&self, topic: &Topic) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(topic.name.clone(), topic.id);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(crate) fn number(&self, name: &str) -> Option<TopicId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// The name of a number; a short walk, since topics are few.
    pub(crate) fn name(&self, id: TopicId) -> Option<Name> {
        let topics = self.0.read().unwrap_or_else(PoisonError::into_inner);
        topics.iter().find(|(_, number)| **number == id).map(|(name, _)| name.clone())
    }

    /// One number per name, in order.
    pub(crate) fn numbers(&self, names: &[String]) -> Vec<Option<TopicId>> {
        names.iter().map(|name| self.number(name)).collect()
    }

    pub(crate) fn all(&self) -> Vec<Topic> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, id)| Topic { id: *id, name: name.clone() })
            .collect()
    }
}
