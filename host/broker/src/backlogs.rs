//! Subscriptions whose backlog is over its cap and whose policy is to refuse publishing meanwhile.
//!
//! Written by workers when their machines say so, read by the committer for each batch. Knows nothing of what a backlog is.
//!
//! Invariant: without such a subscription, asking costs one atomic read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bugle_core::ids::{Name, SubscriptionId, TopicId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    count: AtomicUsize,
    full: Mutex<BTreeMap<SubscriptionId, (Name, Vec<TopicId>)>>,
}

impl Backlogs {
    /// The backlog of a subscription is full.
    pub(crate) fn add(&self, subscription: SubscriptionId, name: &Name, topics: Vec<TopicId>) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.insert(subscription, (Name::clone(name), topics));
        self.count.store(full.len(), Ordering::Relaxed);
    }

    /// It is not, or the subscription is gone.
    pub(crate) fn remove(&self, subscription: SubscriptionId) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.remove(&subscription);
        self.count.store(full.len(), Ordering::Relaxed);
    }

    /// Whether there is one.
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// A subscription that covers the topic and is full.
    pub(crate) fn of_topic(&self, topic: Option<TopicId>) -> Option<Name> {
        if !self.is_any() {
            return None;
        }
        let topic = topic?;
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.values().find(|(_, topics)| topics.contains(&topic)).map(|(name, _)| Name::clone(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_backlog_closes_the_topics_of_its_subscription_only() {
        let backlogs = Backlogs::default();
        assert_eq!(backlogs.of_topic(Some(TopicId(1))), None);
        let name = Name::from("mail");
        backlogs.add(SubscriptionId(7), &name, vec![TopicId(1), TopicId(2)]);
        assert_eq!(backlogs.of_topic(Some(TopicId(2))), Some(name));
        assert_eq!((backlogs.of_topic(Some(TopicId(3))), backlogs.of_topic(None)), (None, None));
        backlogs.remove(SubscriptionId(7));
        assert!(!backlogs.is_any() && backlogs.of_topic(Some(TopicId(1))).is_none());
    }
}
