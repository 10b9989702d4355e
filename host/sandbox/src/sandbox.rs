//! The sandbox as the server drives it.
//!
//! In this order: [`Sandbox::load`] a component, [`Sandbox::bind`] it to a subscription, [`Sandbox::check`] it, then
//! [`Sandbox::activate`]; from then on [`Sandbox::run`] hands deliveries to it. Loading and checking happen off the serving path
//! and may fail without harm to what runs.

use bugle_core::callback::StatusChange;
use bugle_core::delivery::CallEnd;
use bugle_core::ids::Revision;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::random::WasiRandom;

use crate::binding::Binding;
use crate::bindings::batch::BatchChannelPre;
use crate::bindings::packing::PackingPre;
use crate::bindings::receiving::ReceivingPre;
use crate::bindings::reconciling::ReconcilingPre;
use crate::bindings::timing::TimingPre;
use crate::bindings::{Channel, ChannelPre};
use crate::cache::{self, Cache};
use crate::calls::HostCalls;
use crate::engine::{self, MEMORIES_MAX, SLOTS_MAX};
use crate::error::{CheckError, LoadPluginError, NewSandboxError};
use crate::inbound::{self, Callback, ReceiveError};
use crate::instance::{Instance, Wanted};
use crate::manifest::Manifest;
use crate::options::{Bounds, Options};
use crate::pool::{Pool, PoolStatus};
use crate::revision::{Active, Bound, Linked, Loaded, Plugin};
use crate::rights::{BindError, Rights};
use crate::slots::Slots;
use crate::state::State;
use crate::verify::{self, World};

/// Wall time of `lifecycle.check`; its CPU time is that of an attempt.
const CHECK_WALL: Duration = Duration::from_secs(10);
/// How often idle instances are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Runs plugins for all subscriptions. Clones share everything.
pub struct Sandbox<C: HostCalls>(Arc<Inner<C>>);

impl<C: HostCalls> Clone for Sandbox<C> {
    fn clone(&self) -> Self {
        Sandbox(Arc::clone(&self.0))
    }
}

struct Inner<C: HostCalls> {
    options: Options,
    engine: Engine,
    linker: Linker<State<C>>,
    cache: Cache,
    slots: Arc<Slots>,
    pools: RwLock<HashMap<String, Arc<Pool<C>>>>,
}

/// What the sandbox has just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Instances that may exist at once.
    pub slots: u32,
    /// Those that do not.
    pub slots_free: u32,
    /// Every active subscription, by name.
    pub subscriptions: Vec<PoolStatus>,
}

impl<C: HostCalls> Sandbox<C> {
    /// Reserves address space, starts the epoch clock, opens the cache. Must be called where `options.guest` can be spawned on.
    pub fn new(options: Options) -> Result<Sandbox<C>, NewSandboxError> {
        let slots = options.limits.slots;
        if !(1..=SLOTS_MAX).contains(&slots) {
            return Err(NewSandboxError::Slots { slots, slots_max: SLOTS_MAX });
        }
        if let Some(maps) = engine::missing_maps(slots) {
            return Err(NewSandboxError::Maps { slots, maps });
        }
        let engine = engine::running(&options.limits).map_err(|error| NewSandboxError::Engine { slots, error })?;
        engine::start_ticking(&engine).map_err(NewSandboxError::Clock)?;
        let cache = Cache::open(&options.cache, &engine)
            .map_err(|source| NewSandboxError::Cache { folder: options.cache.clone(), source })?;
        let linker = linker(&engine).map_err(NewSandboxError::Linker)?;
        let inner =
            Inner { engine, linker, cache, slots: Arc::new(Slots::new(slots)), pools: RwLock::default(), options };
        let inner = Arc::new(inner);
        inner.options.guest.spawn(sweep(Arc::downgrade(&inner), Arc::clone(&inner.slots)));
        Ok(Sandbox(inner))
    }

    /// Verifies and compiles a component, or takes its code from the cache. `manifest` is for a component without one inside.
    pub async fn load(&self, component: Vec<u8>, manifest: Option<String>) -> Result<Plugin, LoadPluginError> {
        let inner = Arc::clone(&self.0);
        // Hashing, parsing and waiting for the compiler block.
        tokio::task::spawn_blocking(move || inner.load(&component, manifest.as_deref()))
            .await
            .map_err(|_| LoadPluginError::Panicked)?
    }

    /// Puts manifest and grants together. Nothing of the subscription changes yet.
    pub fn bind(&self, plugin: &Plugin, binding: &Binding) -> Result<Bound<C>, BindError> {
        let loaded = &plugin.0;
        let rights = Rights::new(&loaded.manifest, loaded.revision.to_string(), binding, &self.0.options.egress)?;
        let refuse = |error: wasmtime::Error| BindError {
            subscription: binding.subscription.to_string(),
            plugin: loaded.manifest.name.clone(),
            problem: format!("{error:#}"),
        };
        Ok(Bound(Arc::new(Active {
            linked: self.0.linked(&loaded.component, loaded.world, loaded.unpacks).map_err(refuse)?,
            reconciling: self.0.reconciling(loaded.reconciles, &loaded.component).map_err(refuse)?,
            receiving: self.0.receiving(loaded.receives, &loaded.component).map_err(refuse)?,
            timing: self.0.timing(loaded.fires, &loaded.component).map_err(refuse)?,
            places: Arc::clone(&self.0.slots),
            world: loaded.world,
            rights: Arc::new(rights),
            bounds: Bounds::new(&self.0.options.limits, &loaded.manifest.limits, &binding.limits),
            concurrency: usize::try_from(binding.concurrency.max(1)).unwrap_or(usize::MAX),
            slots: loaded.slots,
            revision: loaded.revision,
        })))
    }

    /// Starts a trial instance and asks the plugin whether its settings are good.
    pub async fn check(&self, bound: &Bound<C>) -> Result<(), CheckError> {
        let active = Arc::clone(&bound.0);
        let slots = Arc::clone(&self.0.slots);
        let trial = self.0.options.guest.spawn(async move {
            let permit = slots.acquire(active.slots, CHECK_WALL).await;
            let permit = permit.ok_or(CheckError::NoSlot)?;
            let mut instance = Instance::start(active, permit, Wanted::Handler).await.map_err(CheckError::start)?;
            match instance.check(CHECK_WALL).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(text)) => Err(CheckError::refused(&text)),
                Err(end) => Err(CheckError::check(end)),
            }
        });
        trial.await.unwrap_or(Err(CheckError::Panicked))
    }

    /// Makes this the revision and binding that its subscription runs. Calls under way end on the old one.
    pub fn activate(&self, bound: &Bound<C>) {
        let active = &bound.0;
        let mut pools = self.0.pools.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&*active.rights.subscription) {
            pool.activate(Arc::clone(active));
            return;
        }
        let (slots, guest) = (Arc::clone(&self.0.slots), self.0.options.guest.clone());
        let pool = Pool::new(Arc::clone(active), slots, guest, self.0.options.guest_threads);
        pools.insert(active.rights.subscription.to_string(), Arc::new(pool));
    }

    /// Forgets a subscription. Its queued calls are given back; calls under way end.
    pub fn remove(&self, subscription: &str) {
        let removed = self.0.pools.write().unwrap_or_else(PoisonError::into_inner).remove(subscription);
        if let Some(pool) = removed {
            pool.stop();
        }
    }

    /// Runs calls of a subscription. Never blocks; each call is finished sooner or later.
    pub fn run(&self, subscription: &str, calls: Vec<C>) {
        let pool = self.0.pools.read().unwrap_or_else(PoisonError::into_inner).get(subscription).cloned();
        match pool {
            Some(pool) => pool.push(calls),
            None => {
                for call in calls {
                    let text = format!("subscription `{subscription}` has no active plugin; deploy it");
                    call.finish(CallEnd::NotStarted(text));
                }
            }
        }
    }

    /// Hands a callback of its provider to the plugin of a subscription, on an instance of its own; no delivery has a part in it.
    pub async fn receive(
        &self,
        subscription: &str,
        callback: Callback,
        within: Duration,
    ) -> Result<Vec<StatusChange>, ReceiveError> {
        let pool = self.0.pools.read().unwrap_or_else(PoisonError::into_inner).get(subscription).cloned();
        let active = pool.ok_or(ReceiveError::NotReceiving)?.active();
        let receiving = self.0.options.guest.spawn(inbound::receive(active, callback, within));
        receiving.await.unwrap_or(Err(ReceiveError::Panicked))
    }

    /// What there is just now.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut subscriptions: Vec<PoolStatus> = self.0.all().iter().map(|pool| pool.status()).collect();
        subscriptions.sort_by(|one, other| one.subscription.cmp(&other.subscription));
        Status { slots: self.0.slots.total(), slots_free: self.0.slots.free(), subscriptions }
    }

    /// Takes no more calls and waits until those under way have ended; each is bounded by its deadline.
    pub async fn stop(&self) {
        let pools = self.0.all();
        for pool in &pools {
            pool.stop();
        }
        while !pools.iter().all(|pool| pool.has_stopped()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl<C: HostCalls> Inner<C> {
    fn all(&self) -> Vec<Arc<Pool<C>>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn load(&self, bytes: &[u8], manifest: Option<&str>) -> Result<Plugin, LoadPluginError> {
        let verify::Verified { manifest, world, reconciles, receives, fires, unpacks } =
            verify::verify(bytes, manifest, self.options.limits.component_bytes)?;
        let revision = Revision(Sha256::digest(bytes).into());
        let component = match self.cache.load(&self.engine, revision) {
            Some(component) => component,
            None => {
                let code = self.options.compiler.compile(bytes, self.cache.folder())?;
                self.cache.store(revision, &code).map_err(LoadPluginError::Cache)?;
                cache::deserialize(&self.engine, &code).map_err(|error| LoadPluginError::Code(format!("{error:#}")))?
            }
        };
        let slots = self.slots_of(&component, &manifest)?;
        // Types of imports and exports are compared here, so that a wrong one is found at deploy.
        let link = |error: wasmtime::Error| LoadPluginError::Link(format!("{error:#}"));
        self.linked(&component, world, false).map_err(link)?;
        if unpacks {
            self.linked(&component, world, true).map_err(link)?;
        }
        self.reconciling(reconciles, &component).map_err(link)?;
        self.receiving(receives, &component).map_err(link)?;
        self.timing(fires, &component).map_err(link)?;
        let loaded = Loaded { revision, manifest, world, reconciles, receives, fires, unpacks, component, slots };
        Ok(Plugin(Arc::new(loaded)))
    }

    /// Slots of one instance; refuses components that could never be started.
    fn slots_of(&self, component: &Component, manifest: &Manifest) -> Result<u32, LoadPluginError> {
        let needs = component
            .resources_required()
            .ok_or_else(|| LoadPluginError::Needs("it takes core modules as imports".to_owned()))?;
        if needs.num_memories > MEMORIES_MAX {
            let text = format!("it has {} memories, more than {MEMORIES_MAX}", needs.num_memories);
            return Err(LoadPluginError::Needs(text));
        }
        let memory = manifest.limits.memory.map_or(self.options.limits.memory_bytes, |size| size.0);
        let memory = memory.min(self.options.limits.memory_bytes);
        if needs.max_initial_memory_size.is_some_and(|bytes| bytes > memory) {
            let text = format!("it starts with more memory than the {memory} bytes it may have");
            return Err(LoadPluginError::Needs(text));
        }
        Ok(needs.num_memories.max(1))
    }

    fn linked(&self, component: &Component, world: World, unpacks: bool) -> wasmtime::Result<Linked<C>> {
        let pre = self.linker.instantiate_pre(component)?;
        Ok(match world {
            _ if unpacks => Linked::Packed(PackingPre::new(pre)?),
            World::Channel => Linked::Channel(ChannelPre::new(pre)?),
            World::BatchChannel => Linked::Batch(BatchChannelPre::new(pre)?),
        })
    }

    fn reconciling(&self, has: bool, component: &Component) -> wasmtime::Result<Option<ReconcilingPre<State<C>>>> {
        has.then(|| ReconcilingPre::new(self.linker.instantiate_pre(component)?)).transpose()
    }

    fn receiving(&self, has: bool, component: &Component) -> wasmtime::Result<Option<ReceivingPre<State<C>>>> {
        has.then(|| ReceivingPre::new(self.linker.instantiate_pre(component)?)).transpose()
    }

    fn timing(&self, has: bool, component: &Component) -> wasmtime::Result<Option<TimingPre<State<C>>>> {
        has.then(|| TimingPre::new(self.linker.instantiate_pre(component)?)).transpose()
    }
}

/// Everything a guest can import: our interfaces, and WASI without sockets.
fn linker<C: HostCalls>(engine: &Engine) -> wasmtime::Result<Linker<State<C>>> {
    let mut linker = Linker::new(engine);
    Channel::add_to_linker::<_, HasSelf<State<C>>>(&mut linker, |state| state)?;
    // Clocks, random, stdin (empty), stdout, stderr and what they stand on.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(&mut linker)?;
    link_what_libc_asks_for(&mut linker)?;
    Ok(linker)
}

/// Imports of every guest's libc, with nothing behind them: no environment, no arguments, no terminal, no folder.
fn link_what_libc_asks_for<T: WasiView>(l: &mut Linker<T>) -> wasmtime::Result<()> {
    wasi::cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    wasi::filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    wasi::filesystem::types::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    wasi::random::insecure::add_to_linker::<T, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    wasi::random::insecure_seed::add_to_linker::<T, WasiRandom>(l, |state| state.ctx().ctx.random())
}

/// Gives idle memory back, and idle slots when somebody waits for one. Ends with the sandbox.
async fn sweep<C: HostCalls>(inner: Weak<Inner<C>>, slots: Arc<Slots>) {
    loop {
        let slots_are_short = tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => slots.have_waiters(),
            () = slots.are_short() => true,
        };
        let Some(inner) = inner.upgrade() else { return };
        for pool in inner.all() {
            pool.sweep(slots_are_short);
        }
    }
}
