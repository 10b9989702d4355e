//! Starting: admission, machines and workers come back from their rows, then the committer's thread runs.
//!
//! Reads the disk in place, so it is called before anything is served. Knows nothing of the form of catalog rows: topics and
//! subscriptions come decoded.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bugle_core::admission::{Admission, Facts, Recovery, WindowSize};
use bugle_core::event::Class;
use bugle_core::ids::{BootId, Name, Offset, Position, Slot, SubscriptionId};
use bugle_core::ledger::Ledger;
use bugle_core::row::{DeadTotals, UnknownTotals};
use bugle_core::spec::{Subscription, Topic};
use bugle_core::subscription::{Machine, Recovered};
use bugle_core::time::Timestamp;
use bugle_store::{CommitError, Opened, Store, UpkeepError};
use tokio::sync::watch;

use super::private::{self, TopicRow};
use super::topics::cover;
use super::{Bus, Inside, Options, Running};
use crate::backlogs::Backlogs;
use crate::blocking::Blocking;
use crate::call::Port;
use crate::clock::Clock;
use crate::committer::Committer;
use crate::counters::{CommitCounters, WorkerCounters};
use crate::idempotency::IdempotencyKeys;
use crate::invoke::{EncodeEvent, Invoke, StampEvent};
use crate::queue::Queue;
use crate::reads::ReadError;
use crate::releaser::{ReleaseAlarm, Releaser};
use crate::retention::{Retained, Retentions};
use crate::ring::Ring;
use crate::shared::Shared;
use crate::topics::Topics;
use crate::upkeep::Upkeep;
use crate::worker::{Inbox, Worker};

/// The only slot of the embedded host.
const SLOT: Slot = Slot(0);
/// Dead letters read at once.
const LETTERS_PAGE: usize = 64;

/// What a bus is made of.
pub struct Parts {
    /// The opened store.
    pub store: Store,
    /// What opening it found.
    pub opened: Opened,
    /// Every topic of the catalog.
    pub topics: Vec<Topic>,
    /// Their retentions.
    pub retentions: Retentions,
    /// Every subscription of the catalog.
    pub subscriptions: Vec<Subscription>,
    /// Runs plugins.
    pub invoke: Arc<dyn Invoke>,
    /// Encodes follow-up events.
    pub encode: EncodeEvent,
    /// Adds attributes to copies of events.
    pub stamp: StampEvent,
    /// Makes catalog rows of private topics.
    pub topic_row: TopicRow,
    /// Where the workers run.
    pub runtime: tokio::runtime::Handle,
    /// Settings.
    pub options: Options,
}

/// Why the bus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator: the disk.
    #[error("could not read the state of the bus")]
    Read(#[from] ReadError),
    /// Us: subscription and cursor are created in one batch.
    #[error("subscription `{0}` has a definition but no cursor; delete it and apply it again")]
    NoCursor(Name),
    /// The operator: the disk.
    #[error("could not make the log of a retention")]
    Upkeep(#[from] UpkeepError),
    /// The operator: the disk.
    #[error("could not make the private topic of a subscription")]
    Commit(#[from] CommitError),
    /// The operator: the machine.
    #[error("could not start the committer's thread")]
    Thread(#[source] io::Error),
}

impl Bus {
    /// Starts the bus. Blocks while it reads.
    pub fn start(parts: Parts) -> Result<Bus, StartError> {
        let Parts { store, opened, mut topics, mut subscriptions, retentions, .. } = parts;
        let Parts { invoke, encode, stamp, topic_row, runtime, options, .. } = parts;
        private::complete(&store, &mut topics, &mut subscriptions, topic_row)?;
        let admission = recover_admission(&store, &opened, topics.clone(), options.window)?;
        let latest = latest(&store, opened.next)?;
        let (failed, _) = watch::channel(None);
        let shared = Arc::new(Shared {
            ring: Ring::new(opened.next, options.ring_bytes_max),
            queue: Queue::new(),
            ledger: Mutex::new(recover_ledger(&store, opened.boot)?),
            clock: Clock::start(latest),
            releases: ReleaseAlarm::recover(),
            keys: IdempotencyKeys::new(
                opened.incarnation.0,
                opened.earlier.iter().map(|(incarnation, end)| (incarnation.0, *end)).collect(),
            ),
            encode,
            stamp,
            topics: Topics::new(&topics),
            counters: CommitCounters::default(),
            blocking: Blocking::new(runtime.clone()),
            readers: RwLock::default(),
            failed,
            has_ended: AtomicBool::new(false),
            backlogs: Backlogs::default(),
            retained: Retained::new(&store, retentions)?,
            is_disk_full: AtomicBool::new(false),
            erasures: AtomicU64::new(0),
            store: Arc::new(store),
        });
        let committer = Committer::new(Arc::clone(&shared), admission);
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || committer.run())
            .map_err(StartError::Thread)?;
        let upkeep = Upkeep::start(Arc::clone(&shared), options.records_kept, latest).map_err(StartError::Thread)?;
        let releaser = Releaser::start(Arc::clone(&shared), &runtime);
        let bus = Bus {
            inside: Arc::new(Inside {
                shared,
                invoke,
                runtime,
                options,
                topic_row,
                running: RwLock::new(BTreeMap::new()),
                definitions: tokio::sync::Mutex::new(()),
                deleted: Mutex::default(),
                releaser: Mutex::new(Some(releaser)),
                threads: Mutex::new(Some((thread, upkeep))),
            }),
        };
        bus.inside.finish_deletes()?;
        for mut spec in subscriptions {
            cover(&mut spec, &topics);
            let machine = bus.inside.recover(&spec)?;
            bus.inside.run(spec, machine);
        }
        Ok(bus)
    }
}

impl Inside {
    /// The machine of a subscription's rows. Waiting deliveries can be millions: they go by one at a time.
    fn recover(&self, spec: &Subscription) -> Result<Machine, StartError> {
        let mut machine = self.machine(spec, self.rows(spec)?);
        self.shared
            .store
            .each_waiting(spec.id, |offset, row| machine.remember(offset, &row))
            .map_err(ReadError::from)?;
        Ok(machine)
    }

    /// A machine of rows without waiting deliveries.
    pub(super) fn machine(&self, spec: &Subscription, rows: Recovered) -> Machine {
        Machine::recover(spec.clone(), SLOT, self.options.seed, rows)
    }

    fn rows(&self, spec: &Subscription) -> Result<Recovered, StartError> {
        let rows = self.shared.store.subscription(spec.id).map_err(ReadError::from)?;
        let cursor = rows.cursors.into_iter().find(|(class, _)| *class == Class::default());
        let (_, cursor) = cursor.ok_or_else(|| StartError::NoCursor(spec.name.clone()))?;
        Ok(Recovered {
            cursor,
            chunks: rows.chunks.into_iter().map(|(_, chunk, row)| (chunk, row)).collect(),
            waiting: Vec::new(),
            holds: rows.holds,
            paused: rows.paused,
            channel: rows.channel,
            dead: match rows.dead {
                Some(totals) => totals,
                None => self.count_letters(spec.id)?,
            },
            unknown: match rows.unknown {
                Some(totals) => totals,
                None => self.count_unknown(spec.id)?,
            },
            run: rows.run,
            let_go: rows.let_go.last().copied(),
        })
    }

    /// The totals of dead letters that a host wrote that did not keep them.
    fn count_letters(&self, subscription: SubscriptionId) -> Result<DeadTotals, ReadError> {
        let mut totals = DeadTotals::default();
        let mut after = None;
        loop {
            let page = self.shared.store.dead(subscription, after, LETTERS_PAGE)?;
            let Some(last) = page.last() else { return Ok(totals) };
            after = Some(last.position);
            for entry in &page {
                totals.add(entry.row.state, entry.row.cost());
            }
        }
    }

    /// The totals of unknown results that a host wrote that did not keep them.
    fn count_unknown(&self, subscription: SubscriptionId) -> Result<UnknownTotals, ReadError> {
        let mut totals = UnknownTotals::default();
        let mut after = None;
        loop {
            let page = self.shared.store.unknown(subscription, after, LETTERS_PAGE)?;
            let Some(last) = page.last() else { return Ok(totals) };
            after = Some(last.position);
            for entry in &page {
                totals.add(entry.row.state, entry.row.cost());
            }
        }
    }

    /// Starts the worker of a subscription whose rows are durable, with its machine.
    pub(super) fn run(&self, spec: Subscription, machine: Machine) {
        let inbox = Arc::new(Inbox::new(spec.covered()));
        inbox.set_late_after(spec.late_after);
        let port = Arc::new(Port {
            shared: Arc::clone(&self.shared),
            inbox: Arc::clone(&inbox),
            subscription: spec.id,
            private: spec.redelivery,
            name: spec.name.clone(),
            claim_scope: spec.claim_scope(),
            letters: tokio::sync::Mutex::default(),
            operators: Arc::default(),
            counters: WorkerCounters::default(),
            inbound: AtomicBool::new(spec.inbound),
            last_call: Mutex::default(),
        });
        let worker = Worker::new(Arc::clone(&port), spec.plugin.clone(), Arc::clone(&self.invoke), machine);
        self.shared.readers.write().unwrap_or_else(PoisonError::into_inner).push((spec.id, inbox));
        let worker = self.runtime.spawn(worker.run());
        let name = spec.name.clone();
        let running = Running { spec, port, worker };
        self.running.write().unwrap_or_else(PoisonError::into_inner).insert(name, running);
    }
}

/// What done weak claims are remembered by is in memory again before any claim is made.
fn recover_ledger(store: &Store, boot: BootId) -> Result<Ledger, ReadError> {
    let mut ledger = Ledger::new(boot);
    for mark in store.window_marks() {
        let (scope, mark) = mark?;
        ledger.recover_mark(&scope, mark);
    }
    Ok(ledger)
}

fn recover_admission(
    store: &Store,
    opened: &Opened,
    topics: Vec<Topic>,
    window: WindowSize,
) -> Result<Admission, ReadError> {
    let mut recovery = Recovery::new(Facts {
        slot: SLOT,
        seed: opened.id_seed,
        boot: opened.boot,
        first_boot: opened.first_boot,
        boots: opened.boots.clone(),
        next: opened.next,
        floor: opened.floor,
        dropped_below: opened.dropped_below,
        topics: topics.clone(),
        window,
    });
    for topic in &topics {
        recovery.scheduled(topic.id, store.scheduled_totals(topic.id)?);
    }
    store.feed(&mut recovery)?;
    Ok(recovery.finish())
}

/// When the last event of the log was received: the clock must not start before it.
fn latest(store: &Store, next: Offset) -> Result<Timestamp, ReadError> {
    let Some(last) = next.0.checked_sub(1) else {
        return Ok(Timestamp(0));
    };
    let event = store.event(Position { slot: SLOT, offset: Offset(last) })?;
    Ok(event.map_or(Timestamp(0), |event| event.received))
}
