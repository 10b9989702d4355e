//! Opening the parts and plugging them together, in the order in which each needs the one before.
//!
//! Knows what the parts are called and what they take; decides nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use bugle_broker::{Bus, Parts as BusParts, Retentions};
use bugle_core::audit::AuditBounds;
use bugle_core::ids::{BootId, Name, SubscriptionId, TopicId};
use bugle_core::origin::{SETTLED_TOPIC, private_topic};
use bugle_core::retention::{KeepClass, Shelf};
use bugle_core::spec::{Subscription, Topic};
use bugle_core::step::CatalogKind;
use bugle_egress::Egress;
use bugle_ingress::Listener;
use bugle_sandbox::{Plugin, Sandbox};
use bugle_store::{IncarnationId, Opened, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Orders;
use super::threads::Threads;
use crate::admin;
use crate::catalog::{self, PluginRow, RetentionRow, SubscriptionRow, TopicRow};
use crate::config::Config;
use crate::data_dir::{DataDir, Endpoints};
use crate::definition::Definition;
use crate::encode;
use crate::host::{Host, Parts};
use crate::inbound;
use crate::parts::{self, binding};
use crate::tally::Tally;
use crate::token::Token;
use crate::wiring::{Door, PluginCall, Runner};

/// A host that serves.
pub struct Running {
    host: Arc<Host>,
    data: DataDir,
    endpoints: Endpoints,
    boot: BootId,
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    pub(super) fn data(&self) -> &DataDir {
        &self.data
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub(super) fn boot(&self) -> BootId {
        self.boot
    }

    /// Ready when the doors shall close.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closing = self.closing.subscribe();
        async move {
            // An error says that the host is gone, which closes the doors as well.
            let _ = closing.wait_for(|is_closing| *is_closing).await;
        }
    }

    pub(super) fn close_doors(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn keep(&self, task: JoinHandle<()>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    pub(super) fn tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the catalog holds, decoded.
struct Catalog {
    topics: Vec<Topic>,
    shelves: Vec<(TopicId, Shelf)>,
    retentions: BTreeMap<String, RetentionRow>,
    subscriptions: Vec<Subscription>,
    definitions: BTreeMap<String, SubscriptionRow>,
    plugins: BTreeMap<String, PluginRow>,
}

pub(super) fn open(config: &Config, data: &DataDir, threads: &Threads, orders: Orders) -> anyhow::Result<Running> {
    data.check_whole()?;
    let token = Token::load_or_create(&data.token())?;
    let (store, opened) = parts::store(config, &data.store(), orders.on_loss)?;
    report(&opened);
    let (boot, incarnation) = (opened.boot, opened.incarnation);
    let mut catalog = read_catalog(&store)?;
    let egress = Egress::new(parts::egress(config)?).context("could not prepare the ways out")?;
    let sandbox = parts::sandbox(config, data, threads.guests().clone(), threads.guest_threads(), egress)?;
    let loading = load(&store, &sandbox, &catalog);
    let Loaded { plugins: loaded, faults } = threads.host().block_on(loading)?;
    batch(&mut catalog, &loaded);
    let tally = Arc::new(Tally::default());
    let bus = Bus::start(BusParts {
        store,
        opened,
        topics: catalog.topics,
        retentions: rules(&catalog.retentions, catalog.shelves),
        subscriptions: catalog.subscriptions,
        invoke: Arc::new(Runner { sandbox: sandbox.clone(), tally: Arc::clone(&tally) }),
        encode: Arc::new(encode::encode),
        stamp: Arc::new(encode::stamp),
        topic_row: catalog::topic_row,
        runtime: threads.host().clone(),
        options: parts::bus(config),
    })?;
    threads.host().block_on(pause(&bus, faults))?;

    let Doors { producers, admin, inbound, endpoints } = doors(config, data, threads, incarnation)?;
    let host = Host::new(Parts {
        bus: bus.clone(),
        sandbox,
        door: producers.counters(),
        tally,
        token,
        allowed_hosts: config.admin.allowed_hosts.clone(),
        callbacks: config.inbound.concurrency,
        data: data.clone(),
        endpoints: endpoints.clone(),
        boot,
        incarnation,
        definitions: catalog.definitions,
        retentions: catalog.retentions,
        plugins: catalog.plugins,
        loaded,
    });
    let running = Running {
        host: Arc::new(host),
        data: data.clone(),
        endpoints,
        boot,
        closing: watch::Sender::new(false),
        tasks: Mutex::default(),
    };
    running.keep(threads.door().spawn(producers.run(Door(bus), running.stopping())));
    running.serve_admin(threads, admin);
    if let Some(listener) = inbound {
        let serving = inbound::serve(listener, Arc::clone(&running.host), running.stopping());
        running.keep(threads.host().spawn(serving));
    }
    running.trim_audit(threads, AuditBounds { age: config.storage.audit.0, rows: config.storage.audit_rows });
    Ok(running)
}

/// Deliveries per call depend on the world that the plugin was built for.
fn batch(catalog: &mut Catalog, loaded: &BTreeMap<String, Plugin>) {
    for spec in &mut catalog.subscriptions {
        let definition = catalog.definitions.get(&*spec.name).map(|row| &row.definition);
        if let Some((definition, plugin)) = definition.zip(loaded.get(&*spec.plugin)) {
            spec.batch_max = parts::batch_max(definition, plugin.world());
        }
    }
}

fn rules(rows: &BTreeMap<String, RetentionRow>, topics: Vec<(TopicId, Shelf)>) -> Retentions {
    let rules = rows.values().filter_map(|row| Some((KeepClass::new(row.class)?, row.rules())));
    Retentions { rules: rules.collect(), topics }
}

/// What is listened on.
struct Doors {
    producers: Listener,
    admin: TcpListener,
    inbound: Option<TcpListener>,
    endpoints: Endpoints,
}

fn doors(config: &Config, data: &DataDir, threads: &Threads, incarnation: IncarnationId) -> anyhow::Result<Doors> {
    let producers = {
        let _door = threads.door().enter();
        Listener::bind(parts::listener(config, data, incarnation)?)?
    };
    let admin = threads.host().block_on(admin::listen(config.admin.listen))?;
    let inbound = match config.inbound.listen {
        Some(address) => Some(threads.host().block_on(inbound::listen(address))?),
        None => None,
    };
    let endpoints = Endpoints {
        pid: std::process::id(),
        quic: producers.local_address()?.to_string(),
        admin: admin.local_addr()?.to_string(),
        inbound: inbound.as_ref().map(TcpListener::local_addr).transpose()?.map(|address| address.to_string()),
        fingerprint: producers.fingerprint().to_string(),
    };
    Ok(Doors { producers, admin, inbound, endpoints })
}

fn report(opened: &Opened) {
    if let Some(repair) = &opened.repair {
        tracing::warn!(damage = %repair.damage, copy = %repair.copy.display(), "the log's end was damaged and was cut; nothing confirmed is missing");
    }
    if let Some(loss) = &opened.loss {
        tracing::error!(from = loss.from.0, to = loss.to.0, "confirmed events are missing; an operator accepted it");
    }
}

/// Definitions read at once.
const PAGE: usize = 1000;

fn rows(store: &Store, kind: CatalogKind) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let page = store.catalog_list(kind, after.as_deref(), PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn read_catalog(store: &Store) -> anyhow::Result<Catalog> {
    let mut topics: BTreeMap<String, TopicId> = BTreeMap::new();
    let mut shelves = Vec::new();
    for (name, row) in rows(store, CatalogKind::Topic)? {
        let row: TopicRow = catalog::decode("topic", &name, &row)?;
        let shelf = row.shelf().ok_or_else(|| anyhow!("topic `{name}` has a retention of a newer bugle"))?;
        shelves.push((TopicId(row.id), shelf));
        topics.insert(name, TopicId(row.id));
    }
    let mut retentions = BTreeMap::new();
    for (name, row) in rows(store, CatalogKind::Retention)? {
        let row: RetentionRow = catalog::decode("retention", &name, &row)?;
        retentions.insert(name, row);
    }
    let (mut subscriptions, mut definitions) = (Vec::new(), BTreeMap::new());
    for (name, row) in rows(store, CatalogKind::Subscription)? {
        let row: SubscriptionRow = catalog::decode("subscription", &name, &row)?;
        let number = |topic: &String| topics.get(topic).copied();
        let ids: Option<Vec<TopicId>> = row.definition.named_topics().map(number).collect();
        let ids = ids.ok_or_else(|| anyhow!("subscription `{name}` in the store covers a topic that is not there"))?;
        let mut spec = row.definition.to_core(SubscriptionId(row.id), ids);
        spec.settled = row.definition.settled_events.then(|| topics.get(SETTLED_TOPIC).copied()).flatten();
        let private = |target: &str| topics.get(&private_topic(target)).copied();
        spec.protection.degrade = row.definition.degrade_rules(private).map_err(|target| {
            anyhow!("subscription `{name}` in the store reroutes to `{target}`, which is not there")
        })?;
        subscriptions.push(spec);
        definitions.insert(name, row);
    }
    let mut plugins = BTreeMap::new();
    for (name, row) in rows(store, CatalogKind::Plugin)? {
        let row: PluginRow = catalog::decode("plugin", &name, &row)?;
        plugins.insert(name, row);
    }
    let topic = |(name, id): (String, TopicId)| Topic { id, name: Name::from(name) };
    let topics = topics.into_iter().map(topic).collect();
    Ok(Catalog { topics, shelves, retentions, subscriptions, definitions, plugins })
}

/// What could be loaded, and the subscriptions that cannot run, with the reason.
struct Loaded {
    plugins: BTreeMap<String, Plugin>,
    faults: Vec<(String, String)>,
}

/// Loads every plugin and binds its subscriptions. They were tried when they were applied, so they are not tried again: a start
/// must not wait for guests.
async fn load(store: &Store, sandbox: &Sandbox<PluginCall>, catalog: &Catalog) -> anyhow::Result<Loaded> {
    let mut plugins = BTreeMap::new();
    let mut broken = BTreeMap::new();
    for (name, row) in &catalog.plugins {
        let component = store
            .catalog(CatalogKind::Component, &row.revision)?
            .with_context(|| format!("the component of plugin `{name}` is not in the store"))?;
        match sandbox.load(component, None).await {
            Ok(plugin) => drop(plugins.insert(name.clone(), plugin)),
            Err(error) => drop(broken.insert(name.clone(), error.to_string())),
        }
    }
    let mut faults = Vec::new();
    for SubscriptionRow { definition, .. } in catalog.definitions.values() {
        let activated = match (plugins.get(&definition.plugin), broken.get(&definition.plugin)) {
            (Some(plugin), _) => activate(sandbox, plugin, definition),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err(format!("the plugin `{}` is not deployed", definition.plugin)),
        };
        if let Err(problem) = activated {
            tracing::error!(subscription = %definition.name, plugin = %definition.plugin, error = %problem, "a subscription cannot run");
            faults.push((definition.name.clone(), problem));
        }
    }
    Ok(Loaded { plugins, faults })
}

fn activate(sandbox: &Sandbox<PluginCall>, plugin: &Plugin, definition: &Definition) -> Result<(), String> {
    let bound = sandbox.bind(plugin, &binding(definition)?).map_err(|error| error.to_string())?;
    sandbox.activate(&bound);
    Ok(())
}

/// A subscription whose plugin cannot run waits for an operator rather than trying for ever.
async fn pause(bus: &Bus, faults: Vec<(String, String)>) -> anyhow::Result<()> {
    for (name, problem) in faults {
        bus.pause(&name, "host".to_owned(), problem, Vec::new()).await?;
    }
    Ok(())
}
