//! Private topics: one per subscription, for copies of events that come to it a second time (docs/decisions/0010).
//!
//! Made in the batch that makes the subscription, and at the start for subscriptions from before there were any. Deleted with
//! it, so that one of the same name made later gets a new number and nothing of the old one.
//!
//! Invariant: a subscription that runs has its private topic, and that topic's row is durable.

use bugle_core::ids::{Name, TopicId};
use bugle_core::origin::private_topic;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::step::{CatalogKind, Write};
use bugle_store::{Durability, Store};

use super::recover::StartError;
use super::topics::{NEXT_TOPIC, next_number};
use crate::reads::ReadError;

/// Makes the catalog row of a topic, whose form is the server's.
pub type TopicRow = fn(&Topic) -> Vec<u8>;

/// A private topic to make.
pub(super) struct NewPrivate {
    pub(super) topic: Topic,
    pub(super) writes: Vec<Write>,
}

/// The private topic of a new subscription and its rows.
pub(super) fn new_private(store: &Store, subscription: &str, row: TopicRow) -> Result<NewPrivate, ReadError> {
    let (number, counter) = next_number(store, NEXT_TOPIC)?;
    let topic = Topic { id: TopicId(number), name: Name::from(private_topic(subscription)) };
    let definition = Write::Catalog { kind: CatalogKind::Topic, key: topic.name.to_string(), value: Some(row(&topic)) };
    Ok(NewPrivate { writes: vec![counter, definition], topic })
}

/// Deletes the private topic of a subscription that is deleted. Its events stay in the log until that is trimmed.
pub(super) fn deleted(subscription: &str) -> Write {
    Write::Catalog { kind: CatalogKind::Topic, key: private_topic(subscription), value: None }
}

/// Gives each stored subscription its private topic; makes the missing ones.
pub(super) fn complete(
    store: &Store,
    topics: &mut Vec<Topic>,
    subscriptions: &mut [Subscription],
    row: TopicRow,
) -> Result<(), StartError> {
    for spec in subscriptions {
        let name = private_topic(&spec.name);
        let known = topics.iter().find(|topic| *topic.name == *name).map(|topic| topic.id);
        let id = match known {
            Some(id) => id,
            None => {
                let NewPrivate { topic, writes } = new_private(store, &spec.name, row)?;
                let mut batch = store.batch(64);
                writes.iter().for_each(|write| batch.push(write));
                store.commit(batch, Durability::Synced)?;
                topics.push(topic.clone());
                topic.id
            }
        };
        spec.redelivery = Some(id);
    }
    Ok(())
}
