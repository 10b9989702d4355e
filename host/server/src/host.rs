//! The running host as operators see it: topics, subscriptions, plugins, what they are doing.
//!
//! Holds the handles of the parts and the definitions that only this crate understands; every change goes through the broker, so
//! that it is durable before it is answered. Knows nothing of HTTP.
//!
//! Invariant: what `definitions` and `plugins` hold is durable, and one change at a time is made.

mod audit;
mod backups;
mod dead;
mod doctor;
mod erase;
mod explain;
mod inbound;
mod kept;
mod lookups;
mod plugins;
mod policy;
mod retention;
mod runs;
mod scheduled;
mod status;
mod subscriptions;
mod topics;
mod unknown;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bugle_broker::{Bus, ReadError};
use bugle_core::ids::{BootId, Offset};
use bugle_core::time::Timestamp;
use bugle_ingress::{Counters, CountersReading};
use bugle_sandbox::{Plugin, Sandbox};
use bugle_store::IncarnationId;

use crate::catalog::{PluginRow, RetentionRow, SubscriptionRow};
use crate::data_dir::{DataDir, Endpoints};
use crate::definition::Start;
use crate::tally::Tally;
use crate::token::Token;
use crate::wiring::PluginCall;

pub(crate) use audit::restored_row;
pub use backups::BackUpError;
pub use dead::ReplayJob;
pub use erase::EraseError;
pub use explain::{ExplainError, Wanted};
pub use inbound::InboundError;
pub use kept::KeptError;
pub use lookups::RecordsError;
pub use plugins::DeployError;
pub use policy::SimulateError;
pub use retention::RetainError;
pub use runs::RunError;
pub(crate) use status::position;
pub use status::resident_bytes;
pub use subscriptions::{ApplyError, RemoveError};
pub use topics::NewTopicError;

/// What a host is made of.
pub struct Parts {
    /// The bus.
    pub bus: Bus,
    /// The plugins.
    pub sandbox: Sandbox<PluginCall>,
    /// Counters of the door for producers.
    pub door: Arc<Counters>,
    /// Counters of the seams.
    pub tally: Arc<Tally>,
    /// The token of the admin API.
    pub token: Token,
    /// Further `Host` headers that are accepted.
    pub allowed_hosts: Vec<String>,
    /// Callbacks of providers that plugins may work on at once.
    pub callbacks: u32,
    /// Where everything is kept.
    pub data: DataDir,
    /// Where it listens.
    pub endpoints: Endpoints,
    /// How often the store was opened.
    pub boot: BootId,
    /// The store's identity.
    pub incarnation: IncarnationId,
    /// Definitions as stored.
    pub definitions: BTreeMap<String, SubscriptionRow>,
    /// Retentions as stored.
    pub retentions: BTreeMap<String, RetentionRow>,
    /// Plugins as stored.
    pub plugins: BTreeMap<String, PluginRow>,
    /// Those of them that can be run.
    pub loaded: BTreeMap<String, Plugin>,
}

/// See the module.
pub struct Host {
    parts: Parts,
    definitions: Mutex<BTreeMap<String, SubscriptionRow>>,
    retentions: Mutex<BTreeMap<String, RetentionRow>>,
    plugins: Mutex<BTreeMap<String, PluginRow>>,
    loaded: Mutex<BTreeMap<String, Plugin>>,
    /// Held while a definition or a plugin changes.
    changes: tokio::sync::Mutex<()>,
    /// Held while a backup is made.
    backups: tokio::sync::Mutex<()>,
    /// Held while something is erased.
    erasing: tokio::sync::Mutex<()>,
    /// Callbacks that plugins work on.
    callbacks: tokio::sync::Semaphore,
    started: Instant,
    is_stopping: AtomicBool,
}

/// The digits of an identity of the store.
pub(crate) fn hexadecimal(incarnation: IncarnationId) -> String {
    incarnation.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// Takes over running parts.
    #[must_use]
    pub fn new(mut parts: Parts) -> Host {
        Host {
            definitions: Mutex::new(std::mem::take(&mut parts.definitions)),
            retentions: Mutex::new(std::mem::take(&mut parts.retentions)),
            plugins: Mutex::new(std::mem::take(&mut parts.plugins)),
            loaded: Mutex::new(std::mem::take(&mut parts.loaded)),
            changes: tokio::sync::Mutex::default(),
            backups: tokio::sync::Mutex::default(),
            erasing: tokio::sync::Mutex::default(),
            callbacks: tokio::sync::Semaphore::new(parts.callbacks as usize),
            started: Instant::now(),
            is_stopping: AtomicBool::new(false),
            parts,
        }
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.parts.bus
    }

    /// The token of the admin API.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.parts.token
    }

    /// Further `Host` headers that are accepted.
    #[must_use]
    pub fn allowed_hosts(&self) -> &[String] {
        &self.parts.allowed_hosts
    }

    /// Counters of the seams.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.parts.tally
    }

    /// Counters of the door for producers.
    #[must_use]
    pub fn producers(&self) -> CountersReading {
        self.parts.door.read()
    }

    /// Since the start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// From now on health says that the host is going away, and waiting requests are answered.
    pub fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the host is going away.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Why the store failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.parts.bus.failed().borrow().clone()
    }

    /// The offset that a written start means now.
    pub async fn offset_of(&self, start: Start) -> Result<Offset, ReadError> {
        match start {
            Start::Latest => Ok(self.bus().end()),
            Start::Earliest => Ok(self.bus().floor()),
            Start::At(position) => Ok(position.offset),
            Start::Since(time) => self.bus().offset_at(time).await,
            Start::Ago(span) => self.bus().offset_at(Timestamp(self.bus().now().0.saturating_sub(span.0.0))).await,
        }
    }
}
