//! Creating and deleting topics. Their rows are the server's; their numbers are given here and never reused.

use bugle_core::ids::{Name, TopicId};
use bugle_core::origin::{SETTLED_TOPIC, is_reserved};
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::step::{CatalogKind, Write};
use bugle_store::Store;

use std::sync::PoisonError;

use super::{Bus, Definition};
use crate::queue::{Stopped, Writes};
use crate::reads::ReadError;
use crate::worker::Operator;

/// Key of the row that holds the number of the next topic, in decimal.
pub(super) const NEXT_TOPIC: &str = "next-topic";

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTopicError {
    /// The caller: it is there.
    #[error("topic `{}` exists already", .0.name)]
    Exists(Topic),
    /// The caller: the name.
    #[error("topic `{0}` would be the host's: names that begin with `bugle.` are reserved; use another one")]
    Reserved(Name),
    /// The operator: the disk.
    #[error("could not read the number of the next topic")]
    Read(#[source] ReadError),
    /// The host stops.
    #[error("could not create the topic")]
    Stopped(#[source] Stopped),
}

/// Why a topic was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteTopicError {
    /// The caller: no such name.
    #[error("there is no topic `{0}`")]
    NotFound(Name),
    /// The caller: the name.
    #[error("topic `{0}` is the host's; it goes with what it belongs to")]
    Reserved(Name),
    /// The caller: somebody would not get what is in it.
    #[error(
        "subscription `{subscription}` covers topic `{topic}`, by name or by a pattern: apply it with other `topics`, or delete it, first"
    )]
    Covered {
        /// The topic.
        topic: Name,
        /// The first that does.
        subscription: Name,
    },
    /// The caller: they would be delivered to nobody.
    #[error(
        "{waiting} scheduled events of topic `{topic}` wait for their time; cancel them first (`bugle scheduled list {topic}`)"
    )]
    Scheduled {
        /// The topic.
        topic: Name,
        /// How many.
        waiting: u64,
    },
    /// The operator: the disk.
    #[error("could not read what waits in the topic")]
    Read(#[from] ReadError),
    /// The host stops.
    #[error("could not delete the topic")]
    Stopped(#[source] Stopped),
}

impl Bus {
    /// Every topic, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        self.inside.shared.topics.all()
    }

    /// The number of a topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicId> {
        self.inside.shared.topics.number(name)
    }

    /// Creates a topic whose events go to the class of the shelf; returns when it is durable. `row` makes the catalog row from the numbered topic.
    pub async fn create_topic(
        &self,
        name: Name,
        shelf: Shelf,
        row: impl FnOnce(&Topic) -> Vec<u8>,
        also: Vec<Definition>,
    ) -> Result<Topic, CreateTopicError> {
        if is_reserved(&name) {
            return Err(CreateTopicError::Reserved(name));
        }
        let _one_at_a_time = self.inside.definitions.lock().await;
        if let Some(id) = self.topic(&name) {
            return Err(CreateTopicError::Exists(Topic { id, name }));
        }
        self.make_topic(name, shelf, row, also).await
    }

    /// Deletes a topic that nobody covers and in which nothing is scheduled; returns when that is durable. Nothing is stored under the name
    /// from then on, and a topic that is made under it later is another one: numbers are never given again. The events that are in the
    /// log go by the retention they were stored under.
    pub async fn delete_topic(&self, name: &str, also: Vec<Definition>) -> Result<(), DeleteTopicError> {
        let name = Name::from(name);
        if is_reserved(&name) {
            return Err(DeleteTopicError::Reserved(name));
        }
        let _one_at_a_time = self.inside.definitions.lock().await;
        let Some(id) = self.topic(&name) else { return Err(DeleteTopicError::NotFound(name)) };
        if let Some(spec) = self.subscriptions().into_iter().find(|spec| spec.covered().contains(&id)) {
            return Err(DeleteTopicError::Covered { topic: name, subscription: spec.name });
        }
        let waiting = self.scheduled_totals(id)?.waiting;
        if waiting > 0 {
            return Err(DeleteTopicError::Scheduled { topic: name, waiting });
        }
        let mut writes = vec![Write::Catalog { kind: CatalogKind::Topic, key: name.to_string(), value: None }];
        writes.extend(also.into_iter().map(Definition::into_write));
        // Before it is durable, so that no follow-up is given a place in it any more; a host that dies in between has it still.
        self.inside.shared.topics.remove(&name);
        self.inside
            .commit_item(Writes { writes, topic_gone: Some(name), ..Writes::default() })
            .await
            .map_err(DeleteTopicError::Stopped)?;
        Ok(())
    }

    /// The topic of outcomes; it is made when it is first asked for.
    pub async fn settled_topic(&self) -> Result<TopicId, CreateTopicError> {
        let _one_at_a_time = self.inside.definitions.lock().await;
        if let Some(id) = self.topic(SETTLED_TOPIC) {
            return Ok(id);
        }
        Ok(self.make_topic(SETTLED_TOPIC.into(), Shelf::default(), self.inside.topic_row, Vec::new()).await?.id)
    }

    async fn make_topic(
        &self,
        name: Name,
        shelf: Shelf,
        row: impl FnOnce(&Topic) -> Vec<u8>,
        also: Vec<Definition>,
    ) -> Result<Topic, CreateTopicError> {
        let (number, counter) = next_number(&self.inside.shared.store, NEXT_TOPIC).map_err(CreateTopicError::Read)?;
        let topic = Topic { id: TopicId(number), name };
        // Before anybody can publish to it.
        self.inside.shared.retained.set_shelf(&self.inside.shared.store, topic.id, shelf);
        self.inside.cover_by_pattern(&topic).await;
        let mut writes = vec![
            counter,
            Write::Catalog { kind: CatalogKind::Topic, key: topic.name.to_string(), value: Some(row(&topic)) },
        ];
        writes.extend(also.into_iter().map(Definition::into_write));
        self.inside
            .commit_item(Writes { writes, topic: Some(topic.clone()), ..Writes::default() })
            .await
            .map_err(CreateTopicError::Stopped)?;
        self.inside.shared.topics.add(&topic);
        Ok(topic)
    }
}

/// Adds the topics that match a pattern of the subscription.
pub(super) fn cover(spec: &mut Subscription, topics: &[Topic]) {
    for topic in topics {
        if spec.has_pattern_for(&topic.name) && !spec.topics.contains(&topic.id) {
            spec.topics.push(topic.id);
        }
    }
}

impl super::Inside {
    /// Has every subscription with a matching pattern cover a topic before it is created. Nobody can publish to it before that,
    /// and a restart finds the same by the patterns, so its first event is covered, crash or not.
    async fn cover_by_pattern(&self, topic: &Topic) {
        for name in self.with_pattern_for(&topic.name) {
            // A worker that has broken covers it after the restart that it needs anyway.
            if self.operate(&name, Operator::Cover(topic.id), Vec::new()).await.is_ok() {
                let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(running) = running.get_mut(&name) {
                    cover(&mut running.spec, std::slice::from_ref(topic));
                }
            }
        }
    }

    fn with_pattern_for(&self, topic: &str) -> Vec<Name> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let covers = running.iter().filter(|(_, running)| running.spec.has_pattern_for(topic));
        covers.map(|(name, _)| Name::clone(name)).collect()
    }
}

/// The next number of a counter and the row that uses it up.
pub(super) fn next_number(store: &Store, counter: &str) -> Result<(u32, Write), ReadError> {
    let next = store
        .catalog(CatalogKind::Counter, counter)?
        .and_then(|row| String::from_utf8(row).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_u32);
    let row = Write::Catalog {
        kind: CatalogKind::Counter,
        key: counter.to_owned(),
        value: Some((next + 1).to_string().into_bytes()),
    };
    Ok((next, row))
}
