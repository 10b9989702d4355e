//! The handle to a running bus: what ingress, the admin API and the plugins' host ask of it. Cheap to clone.
//!
//! Order of use: [`Bus::start`] with an opened store and the decoded catalog, then anything, then [`Bus::shutdown`]. Watch
//! [`Bus::failed`]: once it has a reason, the process must exit (guarantees G11).
//!
//! Knows nothing of frames, HTTP, WebAssembly or the form of catalog rows; those are the server's.

mod callback;
mod count;
mod delete;
mod erase;
mod explain;
mod kv;
mod letters;
mod look;
mod private;
mod producers;
mod recover;
mod retentions;
mod runs;
mod schedule;
mod shutdown;
mod status;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bugle_core::admission::WindowSize;
use bugle_core::ids::Name;
use bugle_core::row::RECORDS_KEPT;
use bugle_core::spec;
use bugle_core::step::{CatalogKind, Write};
use bugle_core::time::{Millis, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::call::Port;
use crate::counters::CommitCounters;
use crate::invoke::Invoke;
use crate::queue::{Committed, Done, Item, Stopped, Writes};
use crate::releaser::Releaser;
use crate::shared::Shared;
use crate::upkeep::Upkeep;

pub use callback::{CallbackError, Heard};
pub use count::Count;
pub use erase::EraseError;
pub use explain::{Ending, Explanation};
pub use kv::{KvSwap, KvWriteError};
pub use letters::{ChangeLettersError, Changed, ClaimFact, HoldLettersError, LETTERS_PAGE_MAX, Letters};
pub use look::Lookup;
pub use private::TopicRow;
pub use recover::{Parts, StartError};
pub use retentions::RetentionError;
pub use schedule::{CancelError, CancelWhat, ScheduledPage};
pub use status::{SubscriptionStatus, Throughput};
pub use subscriptions::{Applied, ApplySubscription, StartAt, SubscriptionError};
pub use topics::{CreateTopicError, DeleteTopicError};

/// Settings of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory of the tail ring, in bytes. Default 128 MiB. Small: slow subscriptions read the disk sooner.
    pub ring_bytes_max: usize,
    /// Where random choices (jitter of retries) start. Default: from the operating system.
    pub seed: u64,
    /// How far back a repeated event id is recognised. Default 10 million ids or 24 hours, whichever ends first. A large window
    /// costs about 3 bytes of memory per id.
    pub window: WindowSize,
    /// How long send records are kept. Default 90 days. Large: more disk.
    pub records_kept: Millis,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            ring_bytes_max: 128 << 20,
            seed: RandomState::new().hash_one(0),
            window: WindowSize::default(),
            records_kept: RECORDS_KEPT,
        }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Bus {
    inside: Arc<Inside>,
}

struct Inside {
    shared: Arc<Shared>,
    invoke: Arc<dyn Invoke>,
    runtime: tokio::runtime::Handle,
    options: Options,
    topic_row: TopicRow,
    running: RwLock<BTreeMap<Name, Running>>,
    /// Held while a definition changes, so that two operators cannot create the same name.
    definitions: tokio::sync::Mutex<()>,
    /// Names of deleted subscriptions whose last calls may still run.
    deleted: Mutex<BTreeSet<Name>>,
    /// Has scheduled events released, until the shutdown.
    releaser: Mutex<Option<Releaser>>,
    /// The committer and the upkeep, until the shutdown.
    threads: Mutex<Option<(std::thread::JoinHandle<()>, Upkeep)>>,
}

/// A subscription and its worker.
struct Running {
    spec: spec::Subscription,
    port: Arc<Port>,
    worker: JoinHandle<()>,
}

impl Bus {
    /// Has the reason once the store failed.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.inside.shared.failed.subscribe()
    }

    /// The accepted time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inside.shared.clock.now()
    }

    /// The store, for a dump of everything in it; it must be read by a thread that may block.
    #[must_use]
    pub fn store(&self) -> &Arc<bugle_store::Store> {
        &self.inside.shared.store
    }

    /// What the committer did so far.
    #[must_use]
    pub fn commits(&self) -> &CommitCounters {
        &self.inside.shared.counters
    }

    /// Writes or deletes a definition the broker does not know (plugin, component, audit row, ...), with other such rows in
    /// the same batch. Returns when it is durable.
    pub async fn define(
        &self,
        kind: CatalogKind,
        key: String,
        value: Option<Vec<u8>>,
        also: Vec<Definition>,
    ) -> Result<(), Stopped> {
        let mut writes = vec![Write::Catalog { kind, key, value }];
        writes.extend(also.into_iter().map(Definition::into_write));
        self.inside.commit(writes).await?;
        Ok(())
    }
}

/// A catalog row to write in the batch of another change: an audit row, for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What kind.
    pub kind: CatalogKind,
    /// Its name or number.
    pub key: String,
    /// Definition, or delete.
    pub value: Option<Vec<u8>>,
}

impl Definition {
    fn into_write(self) -> Write {
        Write::Catalog { kind: self.kind, key: self.key, value: self.value }
    }
}

impl Inside {
    /// Commits rows and waits until they are durable.
    async fn commit(&self, writes: Vec<Write>) -> Result<Committed, Stopped> {
        self.commit_item(Writes { writes, ..Writes::default() }).await
    }

    async fn commit_item(&self, mut writes: Writes) -> Result<Committed, Stopped> {
        let (done, durable) = oneshot::channel();
        writes.done = Done::Caller(done);
        self.shared.queue.push(Item::Writes(writes))?;
        durable.await.map_err(|_| Stopped)
    }

    fn port(&self, name: &str) -> Option<Arc<Port>> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.get(name).map(|running| Arc::clone(&running.port))
    }

    fn deleted(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ports(&self) -> Vec<Arc<Port>> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.values().map(|running| Arc::clone(&running.port)).collect()
    }
}

impl Drop for Inside {
    /// A handle dropped without a shutdown leaves no thread behind; what is queued is still committed.
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}
