//! Retentions: how long events of a class are kept, and which class a topic's events go to. Durable when a change returns.
//!
//! Knows nothing of names; their rows are the server's. Invariant: a topic's first event goes to the class it was created with.

use std::sync::Arc;

use bugle_core::ids::{Offset, TopicId};
use bugle_core::retention::{KeepClass, Retention, Shelf};
use bugle_store::{EpochFigures, UpkeepError};

use super::{Bus, Definition};
use crate::queue::Stopped;
use crate::retention::Pinned;

/// Why a retention was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The operator: the disk.
    #[error("could not make the log of the retention")]
    Make(#[source] UpkeepError),
    /// The host stops.
    #[error("could not change the retention")]
    Stopped(#[source] Stopped),
}

impl Bus {
    /// The rules of each class that has some.
    #[must_use]
    pub fn retentions(&self) -> Vec<(KeepClass, Retention)> {
        self.inside.shared.retained.rules()
    }

    /// Sets the rules of a class, for what is stored already too; `rows` are written with it.
    pub async fn set_retention(
        &self,
        class: KeepClass,
        rules: Retention,
        rows: Vec<Definition>,
    ) -> Result<(), RetentionError> {
        let shared = &self.inside.shared;
        let store = Arc::clone(&shared.store);
        shared.blocking.run(move || store.make_epoch(class)).await.map_err(RetentionError::Make)?;
        let writes = rows.into_iter().map(Definition::into_write).collect();
        self.inside.commit(writes).await.map_err(RetentionError::Stopped)?;
        shared.retained.set_rules(class, rules);
        Ok(())
    }

    /// Has the events of a topic go to another class from now on; those that are stored stay where they are.
    pub async fn move_topic(
        &self,
        topic: TopicId,
        class: KeepClass,
        rows: impl FnOnce(Shelf) -> Vec<Definition>,
    ) -> Result<Shelf, RetentionError> {
        let _one_at_a_time = self.inside.definitions.lock().await;
        let shelf = self.shelf(topic).moved_to(class);
        let writes = rows(shelf).into_iter().map(Definition::into_write).collect();
        self.inside.commit(writes).await.map_err(RetentionError::Stopped)?;
        self.inside.shared.retained.set_shelf(&self.inside.shared.store, topic, shelf);
        Ok(shelf)
    }

    /// Where the events of a topic are.
    #[must_use]
    pub fn shelf(&self, topic: TopicId) -> Shelf {
        self.inside.shared.retained.shelf(topic)
    }

    /// The lowest position from which on no event of at least one of these topics was let go of.
    #[must_use]
    pub fn oldest_of(&self, topics: &[TopicId]) -> Offset {
        let of_topic = |topic: &TopicId| {
            let shelf = self.shelf(*topic);
            let classes = KeepClass::all().filter(|class| shelf.has(*class));
            classes.map(|class| self.inside.shared.store.oldest_of(class)).max().unwrap_or(Offset(0))
        };
        topics.iter().map(of_topic).min().unwrap_or(Offset(0))
    }

    /// Who keeps the log of a class longer than its rules, as of the last look.
    #[must_use]
    pub fn pinned(&self, class: KeepClass) -> Pinned {
        self.inside.shared.retained.pinned(class)
    }

    /// The runs in which the log of a class is dropped, oldest first.
    #[must_use]
    pub fn epochs_of(&self, class: KeepClass) -> Vec<EpochFigures> {
        self.inside.shared.store.epochs().into_iter().filter(|epoch| epoch.class == class).collect()
    }
}
