//! The whole bus in one thread: producers, committer, workers, plugins, clock and crashes, all drawn from one seed.
//!
//! First a random part with faults; then faults stop and everything must settle; then the checks of `check.rs`. Invariant: the
//! order of what happens depends on the seed alone.

use bugle_core::admission::{Admission, Facts, IdFact, IdPlace, Recovery, WindowSize};
use bugle_core::ids::{BootId, Offset, Slot, SubscriptionId, TopicId};
use bugle_core::ledger::{Ledger, LedgerStep};
use bugle_core::publish::{BatchResult, PublishBatch};
use bugle_core::spec::{OnUnknown, Ordering, RetryPolicy, Subscription, Topic};
use bugle_core::step::Write;
use bugle_core::subscription::{Bounds, Input};
use bugle_core::time::Millis;

use crate::bus::{Bus, Done, Item};
use crate::call::{FOLLOW_UPS, Script};
use crate::producer::Producer;
use crate::random::Random;
use crate::worker::Worker;

/// The topic producers publish to.
pub(crate) const ORDERS: TopicId = TopicId(1);

/// Rounds of the second phase; far more than any history needs.
const CALM_ROUNDS_MAX: u32 = 50_000;

/// See the module.
pub(crate) struct World {
    seed: u64,
    pub(crate) bus: Bus,
    admission: Admission,
    pub(crate) workers: Vec<Worker>,
    pub(crate) producers: Vec<Producer>,
    boot: u64,
    connections: u64,
    pub(crate) crashes: u64,
    crash_percent: u64,
}

impl World {
    pub(crate) fn new(seed: u64, has_faults: bool) -> World {
        let mut random = Random::new(seed);
        let mut specs = Vec::new();
        for (number, topic, script) in
            [(1, ORDERS, Script::Count), (2, ORDERS, Script::Send), (3, FOLLOW_UPS, Script::Count)]
        {
            specs.push((spec(&mut random, number, topic), script, bounds(&mut random)));
        }
        let mut bus = Bus::new(random, Ledger::new(BootId(1)));
        bus.is_calm = !has_faults;
        let make = |(index, (spec, script, bounds))| Worker::new(index, spec, script, bounds, seed, &bus);
        let workers = specs.into_iter().enumerate().map(make).collect();
        bus.store.boots.push((BootId(1), Offset(0)));
        World {
            seed,
            admission: recovery(&bus, BootId(1)).finish(),
            bus,
            workers,
            producers: (1..=2).map(Producer::new).collect(),
            boot: 1,
            connections: 0,
            crashes: 0,
            crash_percent: u64::from(has_faults),
        }
    }

    /// Runs `actions` random actions, then the second phase.
    pub(crate) fn run(&mut self, actions: u32) -> Result<(), String> {
        self.connect();
        self.tick()?;
        for _ in 0..actions {
            self.act()?;
        }
        self.calm_down()
    }

    fn act(&mut self) -> Result<(), String> {
        let worker = self.bus.random.below(self.workers.len() as u64) as usize;
        let (workers, bus) = (&mut self.workers, &mut self.bus);
        match bus.random.below(100) {
            0..8 => self.publish(),
            8..24 => workers[worker].answer_read(bus)?,
            24..66 => workers[worker].advance(bus)?,
            66..80 => workers[worker].submit(bus)?,
            80..94 => {
                let items = bus.random.within(1, 6) as usize;
                self.commit(items)?;
            }
            94..98 => self.pass_time()?,
            98 => self.pause_or_resume(worker)?,
            _ => {
                let percent = 60 * self.crash_percent;
                if self.bus.random.chance(percent) {
                    self.crash()?;
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let producer = self.bus.random.below(self.producers.len() as u64) as usize;
        if let Some(batch) = self.producers[producer].publish(&mut self.bus.random) {
            self.bus.queue.push_back(Item::Publish { producer, batch });
        }
    }

    /// Every producer says hello, on a new connection, and sends again what is in doubt.
    fn connect(&mut self) {
        for (index, producer) in self.producers.iter_mut().enumerate() {
            self.connections += 1;
            let open = producer.hello(self.connections);
            let rows = open.epoch.map_or(Vec::new(), |epoch| self.bus.store.sequences(&producer.name, epoch));
            let opened = self.admission.open(open, rows);
            for batch in producer.opened(&opened) {
                self.bus.queue.push_back(Item::Publish { producer: index, batch });
            }
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        self.workers.iter_mut().try_for_each(|worker| worker.handle(&mut self.bus, Input::Tick))
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let wakeups = self.workers.iter().filter_map(|worker| worker.machine.next_wakeup());
        let by = match wakeups.min() {
            Some(at) if self.bus.is_calm || self.bus.random.chance(60) => at.since(self.bus.now),
            Some(_) | None => Millis(self.bus.random.within(1, 80)),
        };
        self.bus.now = self.bus.now.after(by);
        self.tick()
    }

    fn pause_or_resume(&mut self, worker: usize) -> Result<(), String> {
        let worker = &mut self.workers[worker];
        if worker.machine.status().paused.is_some() {
            worker.handle(&mut self.bus, Input::Resume)
        } else if self.bus.random.chance(20) {
            worker.handle(&mut self.bus, Input::Pause { by: "operator".to_owned(), reason: "lunch".to_owned() })
        } else {
            Ok(())
        }
    }

    /// One round of the committer: one batch, one sync, then everybody is told. A crash may come before or after the sync.
    fn commit(&mut self, items_max: usize) -> Result<(), String> {
        let count = items_max.min(self.bus.queue.len());
        let items: Vec<Item> = self.bus.queue.drain(..count).collect();
        if items.is_empty() {
            return Ok(());
        }
        let mut batch = Vec::new();
        let mut receipts = Vec::new();
        let mut dones = Vec::new();
        let mut ledger = None;
        for item in items {
            match item {
                Item::Publish { producer, batch: publish } => {
                    let result = self.decide(publish, &mut batch);
                    receipts.push((producer, result));
                }
                Item::Writes { writes, ledger: step, done } => {
                    self.place(writes, &mut batch);
                    ledger = step.max(ledger);
                    dones.push(done);
                }
            }
        }
        self.admission.seal(self.bus.now, &mut batch);
        self.bus.store.apply(&batch)?;
        self.bus.note(|| format!("commit of {} rows", batch.len()));
        if self.bus.fault(self.crash_percent) {
            return self.crash();
        }
        self.tell(ledger, receipts, dones)
    }

    fn decide(&mut self, publish: PublishBatch, batch: &mut Vec<Write>) -> BatchResult {
        let probe = self.admission.probe(&publish);
        let stored = |lookup: &bugle_core::admission::IdLookup| match lookup.place {
            IdPlace::Log(offset) => {
                let event = self.bus.store.log.get(offset.0 as usize)?;
                Some(IdFact { index: lookup.index, event: event.clone() })
            }
            IdPlace::Block(_) => None,
        };
        let facts: Vec<IdFact> = probe.lookups().iter().filter_map(stored).collect();
        self.admission.publish(self.bus.now, publish, &probe, &facts, batch)
    }

    fn place(&mut self, writes: Vec<Write>, batch: &mut Vec<Write>) {
        for write in writes {
            match write {
                Write::Append { topic, event } => {
                    self.admission.append(self.bus.now, topic, event, batch);
                }
                Write::Redeliver { topic, origin, is_late, event } => {
                    let copy = crate::events::copy(&event, &origin, is_late);
                    self.admission.append(self.bus.now, topic, copy, batch);
                }
                other => batch.push(other),
            }
        }
    }

    fn tell(
        &mut self,
        ledger: Option<LedgerStep>,
        receipts: Vec<(usize, BatchResult)>,
        dones: Vec<Done>,
    ) -> Result<(), String> {
        self.admission.committed();
        if let Some(step) = ledger {
            self.bus.ledger.durable(step);
        }
        for (producer, result) in receipts {
            self.producers[producer].receipt(&result)?;
        }
        for done in dones {
            match done {
                Done::Nobody => {}
                Done::Worker(worker, actions) => self.workers[worker].durable(&mut self.bus, actions)?,
                Done::Call(worker, ticket) => self.workers[worker].durable_import(&mut self.bus, ticket),
            }
        }
        Ok(())
    }

    /// Everything in memory is gone; what was not synced is gone with it.
    fn crash(&mut self) -> Result<(), String> {
        self.bus.note(|| "CRASH".to_owned());
        self.crashes += 1;
        self.boot += 1;
        self.bus.queue.clear();
        let boot = BootId(self.boot);
        self.bus.ledger = Ledger::new(boot);
        self.admission = recovery(&self.bus, boot).finish();
        let end = Offset(self.bus.store.log.len() as u64);
        self.bus.store.boots.push((boot, end));
        self.workers = self.workers.iter().map(|worker| worker.restarted(self.seed, &self.bus)).collect();
        self.check_cursors()?;
        self.connect();
        self.tick()
    }

    /// The second phase: no more faults, nothing new, everything must settle.
    fn calm_down(&mut self) -> Result<(), String> {
        self.bus.note(|| "NO MORE FAULTS".to_owned());
        self.bus.is_calm = true;
        self.crash_percent = 0;
        for worker in &mut self.workers {
            worker.handle(&mut self.bus, Input::Resume)?;
        }
        for _ in 0..CALM_ROUNDS_MAX {
            for worker in &mut self.workers {
                worker.answer_read(&mut self.bus)?;
                for _ in 0..8 {
                    worker.advance(&mut self.bus)?;
                }
                worker.submit(&mut self.bus)?;
            }
            self.commit(usize::MAX)?;
            let end = self.bus.store.log.len() as u64;
            let has_receipts = self.producers.iter().all(|producer| !producer.is_waiting());
            if has_receipts && self.bus.queue.is_empty() && self.workers.iter().all(|worker| worker.is_at_rest(end)) {
                return self.check_end();
            }
            if self.workers.iter().all(|worker| !worker.has_calls()) {
                self.pass_time()?;
            }
        }
        let statuses: Vec<_> = self.workers.iter().map(|worker| (worker.name(), worker.machine.status())).collect();
        Err(format!("did not settle: {statuses:?}"))
    }
}

fn recovery(bus: &Bus, boot: BootId) -> Recovery {
    let topic = |id, name: &str| Topic { id, name: name.into() };
    let mut recovery = Recovery::new(Facts {
        slot: Slot(0),
        seed: [7; 16],
        boot,
        boots: bus.store.boots.clone(),
        next: Offset(bus.store.log.len() as u64),
        floor: Offset(0),
        topics: vec![topic(ORDERS, "orders"), topic(FOLLOW_UPS, "sent")],
        window: WindowSize { ids: 1_000_000, time: Millis::from_secs(24 * 3600) },
    });
    bus.store.log.iter().for_each(|event| recovery.event(event));
    recovery
}

fn spec(random: &mut Random, number: u32, topic: TopicId) -> Subscription {
    let name = ["count", "send", "follow"][number as usize - 1];
    Subscription {
        ordering: if random.chance(80) { Ordering::ByKey } else { Ordering::None },
        concurrency: random.within(1, 6) as u32,
        retry: RetryPolicy {
            attempts_max: random.within(2, 6) as u32,
            first_backoff: Millis(random.within(1, 20)),
            backoff_max: Millis(60),
        },
        on_unknown: if random.chance(70) { OnUnknown::Resend } else { OnUnknown::Park },
        lease: Millis(random.within(50, 400)),
        ..Subscription::new(SubscriptionId(number), name, "script", vec![topic])
    }
}

fn bounds(random: &mut Random) -> Bounds {
    if random.chance(50) {
        return Bounds::default();
    }
    Bounds {
        lane_queue_max: random.within(1, 6) as usize,
        queued_max: random.within(6, 60) as usize,
        lanes_max: random.within(3, 30) as usize,
        waiting_max: random.within(0, 20) as usize,
        ready_min: random.within(1, 30) as usize,
        ..Bounds::default()
    }
}
