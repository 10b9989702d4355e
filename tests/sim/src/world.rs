//! The whole bus in one thread: producers, committer, workers, plugins, clocks and crashes, all drawn from one seed.
//!
//! First a history with faults; then faults stop and everything must settle; then the checks of `check.rs`. Invariant: what happens
//! depends on the history alone.

mod calm;
mod crash;

use bugle_core::admission::Admission;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{BootId, Offset, SubscriptionId, TopicId};
use bugle_core::ledger::Ledger;
use bugle_core::schedule::Releases;
use bugle_core::spec::Subscription;
use bugle_core::step::{Kept, Write};
use bugle_core::subscription::{Bounds, Input, STEPS_OUTSTANDING_MAX};
use bugle_core::time::Millis;
use bugle_random::Random;

use crate::action::{Action, Kind};
use crate::bus::{Bus, Done, Item};
use crate::call::{FOLLOW_UPS, Script};
use crate::committer::{Round, recover};
use crate::definition::{self, OUTCOMES};
use crate::events::erased;
use crate::history::History;
use crate::producer::Producer;
use crate::rule::Checked;
use crate::run::Summary;
use crate::worker::{Plan, Worker};

/// The topic producers publish to.
pub(crate) const ORDERS: TopicId = TopicId(1);

/// Machines are compared with recovered ones at the seal after each of these steps.
const STEPS_PER_COMPARISON: usize = 16;

/// Publish ids that are known: more than any history has, so that no retry can be too old.
const IDS: u64 = 20_000;

/// Memory for marks of weak claims: about ten of them, so that it is full now and then.
const WINDOW_BYTES: usize = 1_700;

/// Keeps the dice of the second phase apart from those of the first.
const CALM_DICE: u64 = 0x5eed;

/// See the module.
pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) admission: Admission,
    pub(crate) round: Option<Round>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) producers: Vec<Producer>,
    /// Actions done.
    pub(crate) done: usize,
    seed: u64,
    boots: Vec<(BootId, Offset)>,
    /// Epochs of earlier boots are another store's.
    first_boot: BootId,
    ids: u64,
    connections: u64,
    crashes: u64,
    comparisons: u64,
    /// When scheduled events are due.
    pub(crate) releases: Releases,
    /// Actions during which the disk still does nothing.
    slow_for: u64,
}

/// What a world is made of.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    /// Dice for whatever no action brings its own for.
    pub(crate) random: Random,
    pub(crate) has_journal: bool,
    pub(crate) has_faults: bool,
    /// Subscriptions, each with its script, the bounds of its machine and its steps on the way.
    pub(crate) subscriptions: Vec<(Subscription, Script, Bounds, u64)>,
    pub(crate) producers: u64,
    /// Publish ids that are known.
    pub(crate) ids: u64,
    /// Events of one answer to a read at most.
    pub(crate) read_max: u64,
}

impl Setup {
    /// What a history happens to: three subscriptions, one of them of what another one publishes and of what became of deliveries.
    fn of(history: &History, has_journal: bool) -> Setup {
        let mut random = Random::new(history.seed);
        let plans =
            [(vec![ORDERS], Script::Count), (vec![ORDERS], Script::Send), (vec![FOLLOW_UPS, OUTCOMES], Script::Count)];
        let subscriptions = plans.into_iter().enumerate().map(|(index, (topics, script))| {
            let spec = definition::draw(&mut random, index, topics);
            // Where no provider ever speaks everything would be late.
            let late_after = spec.late_after.filter(|_| history.has_faults);
            let spec = Subscription { late_after, ..spec };
            (spec, script, definition::bounds(&mut random), random.within(1, STEPS_OUTSTANDING_MAX))
        });
        Setup {
            seed: history.seed,
            random: Random::new(history.seed),
            has_journal,
            has_faults: history.has_faults,
            subscriptions: subscriptions.collect(),
            producers: 2,
            ids: IDS,
            read_max: 16,
        }
    }
}

impl World {
    pub(crate) fn new(history: &History, has_journal: bool) -> World {
        World::made(Setup::of(history, has_journal))
    }

    pub(crate) fn made(setup: Setup) -> World {
        let mut bus = Bus::new(setup.random, Ledger::with_window(BootId(1), WINDOW_BYTES), setup.has_journal);
        bus.is_calm = !setup.has_faults;
        let mut plans = Vec::new();
        for (index, (spec, script, bounds, steps_outstanding_max)) in setup.subscriptions.into_iter().enumerate() {
            bus.disk.name(&spec);
            bus.definitions.push(spec);
            plans.push(Plan {
                index,
                script,
                bounds,
                seed: setup.seed,
                definition: index,
                read_max: setup.read_max,
                steps_outstanding_max,
            });
        }
        let boots = vec![(BootId(1), Offset(0))];
        World {
            admission: recover(&bus, BootId(1), BootId(0), &boots, setup.ids),
            round: None,
            workers: plans.into_iter().map(|plan| Worker::new(plan, &bus)).collect(),
            bus,
            producers: (1..=setup.producers).map(Producer::new).collect(),
            done: 0,
            seed: setup.seed,
            boots,
            first_boot: BootId(0),
            ids: setup.ids,
            connections: 0,
            crashes: 0,
            comparisons: 0,
            releases: Releases::recover(),
            slow_for: 0,
        }
    }

    /// Runs the actions, then the second phase.
    pub(crate) fn run(&mut self, actions: &[Action]) -> Checked {
        self.connect_all();
        self.tick()?;
        for action in actions {
            self.bus.random = Random::new(action.dice);
            self.done += 1;
            self.act(*action)?;
            self.workers.iter_mut().try_for_each(Worker::check_bounds)?;
            if self.done.is_multiple_of(STEPS_PER_COMPARISON) {
                self.compare_soon();
            }
        }
        self.bus.random = Random::new(self.seed ^ CALM_DICE);
        self.calm_down()
    }

    pub(crate) fn summary(&self) -> Summary {
        let rows = |id| self.bus.disk.synced.rows(SubscriptionId(id));
        let count = |count: usize| count as u64;
        Summary {
            seeds: 1,
            events: self.bus.disk.synced.end().0,
            attempts: self.bus.evidence.attempts,
            crashes: self.crashes,
            received: self.bus.evidence.received.values().map(|times| u64::from(*times)).sum(),
            repeats: self.bus.evidence.repeats(),
            asked: self.bus.evidence.asked,
            dead: (1..=3).map(|id| rows(id).buried).sum(),
            unknown: (1..=3).map(|id| count(rows(id).unknown.len())).sum(),
            suppressed: (1..=3).map(|id| rows(id).suppressed.count()).sum(),
            let_go: (1..=3).map(|id| rows(id).let_gone.count()).sum(),
            expired: (1..=3).map(|id| rows(id).expired.count()).sum(),
            openings: (1..=3).map(|id| rows(id).openings).sum(),
            conflicts: self.bus.evidence.conflicts,
            comparisons: self.comparisons,
        }
    }

    /// Erases the content of an event that its producer knows to be stored, and so does not send again.
    fn erase(&mut self, producer: usize) {
        let place = self.producers[producer].pick_confirmed(&mut self.bus.random);
        let event = place.and_then(|place| self.bus.disk.synced.log.get(place.0 as usize)).cloned();
        let Some(event) = event.filter(|event| !event.is_scheduled()) else { return };
        let left = StoredEvent { event: erased(&event.event, self.bus.now), ..event };
        self.bus.push(vec![Write::Erased(left)], None, Done::Nobody);
    }

    fn act(&mut self, action: Action) -> Checked {
        let producer = usize::from(action.target) % self.producers.len();
        let index = usize::from(action.target) % self.workers.len();
        let (worker, bus) = (&mut self.workers[index], &mut self.bus);
        match action.kind {
            Kind::Publish => {
                if let Some(batch) = self.producers[producer].publish(bus.now, &mut bus.random) {
                    bus.queue.push_back(Item::Publish { producer, batch });
                }
            }
            Kind::Forge => {
                if let Some(batch) = self.producers[producer].forge(&mut bus.random) {
                    bus.queue.push_back(Item::Publish { producer, batch });
                }
            }
            Kind::Reconnect => self.connect(producer),
            Kind::Read => {
                worker.answer_read(bus)?;
                if bus.random.chance(50) {
                    worker.answer_fetches(bus)?;
                }
            }
            Kind::Advance => worker.advance(bus)?,
            Kind::Submit => worker.submit(bus)?,
            Kind::Commit | Kind::CommitStage if self.slow_for > 0 => {}
            Kind::Commit => {
                let items = bus.random.within(1, 6) as usize;
                self.commit(items)?;
                // Last in the action, so that the dice of everything else fall as without it.
                self.retain()?;
            }
            Kind::CommitStage => self.commit_stage()?,
            Kind::PassTime => self.pass_time()?,
            Kind::StepWall => self.step_wall(),
            Kind::PauseOrResume => self.pause_or_resume(index)?,
            Kind::Drain => worker.drain_or_boost(bus)?,
            Kind::Seek => worker.seek(bus)?,
            Kind::TellLog => worker.tell_log(bus)?,
            Kind::Reconfigure => {
                let spec = definition::change(&mut bus.random, &worker.spec);
                bus.note(|| format!("{} becomes {spec:?}", spec.name));
                worker.reconfigure(bus, spec)?;
            }
            Kind::Redeploy => worker.redeploy(bus)?,
            Kind::Letters => {
                worker.answer_trim(bus, Kept::Dead)?;
                worker.decide_one(bus)?;
            }
            Kind::Unknowns => {
                worker.answer_trim(bus, Kept::Unknown)?;
                worker.resolve_one(bus)?;
            }
            Kind::Cancel => {
                let by_key = bus.random.chance(50);
                if let Some(event) = bus.disk.synced.schedule.pick(&mut bus.random) {
                    bus.queue.push_back(Item::Cancel { event, by_key });
                }
            }
            Kind::Erase => self.erase(producer),
            Kind::Sweep => self.look_at_ends(),
            Kind::Callback => self.call_back(),
            Kind::FailRead => worker.fail_read(bus)?,
            Kind::FailSync => self.fail_sync()?,
            Kind::SlowDisk => self.slow_for = bus.random.within(10, 60),
            Kind::Crash => self.crash()?,
            Kind::Restore => self.restore()?,
        }
        self.slow_for = self.slow_for.saturating_sub(1);
        Ok(())
    }

    pub(crate) fn connect_all(&mut self) {
        (0..self.producers.len()).for_each(|producer| self.connect(producer));
    }

    /// A producer says hello on a new connection, and sends again what is in doubt.
    fn connect(&mut self, producer: usize) {
        self.connections += 1;
        let has_forgotten = self.bus.fault(30);
        let before = self.producers[producer].session();
        let open = self.producers[producer].hello(self.connections, has_forgotten);
        self.bus.queue.push_back(Item::Hello { producer, before, open });
    }

    pub(crate) fn tick(&mut self) -> Checked {
        // A worker hands over what started before it looks at the clock again.
        self.workers.iter_mut().for_each(|worker| worker.machine.handed_over());
        self.release_if_due();
        self.workers.iter_mut().try_for_each(|worker| worker.handle(&mut self.bus, Input::Tick))
    }

    fn pass_time(&mut self) -> Checked {
        let wakeups = self.workers.iter().filter_map(|worker| worker.machine.next_wakeup());
        let by = match wakeups.chain(self.releases.next_wakeup()).min() {
            Some(at) if self.bus.is_calm || self.bus.random.chance(60) => at.since(self.bus.now),
            Some(_) | None if self.bus.fault(4) => Millis(self.bus.random.within(1_000, 20 * 60 * 1_000)),
            Some(_) | None => Millis(self.bus.random.within(1, 80)),
        };
        self.bus.pass(by)?;
        self.tick()
    }

    /// Seconds as time daemons do it, hours as a wrong time zone does it, years as a dead battery does it.
    fn step_wall(&mut self) {
        let random = &mut self.bus.random;
        let minute = 60 * 1_000;
        let by = match random.below(4) {
            0 | 1 => random.within(1, 4 * minute),
            2 => random.within(6 * minute, 23 * 60 * minute),
            _ => random.within(1, 10) * 365 * 24 * 60 * minute,
        };
        let by = i64::try_from(by).unwrap_or_default() * if random.chance(50) { 1 } else { -1 };
        self.bus.note(|| format!("the wall clock steps by {by} ms"));
        self.bus.clock.step_wall(by);
    }

    fn pause_or_resume(&mut self, worker: usize) -> Checked {
        let worker = &mut self.workers[worker];
        if worker.machine.status().paused.is_some() {
            worker.handle(&mut self.bus, Input::Resume)
        } else if self.bus.random.chance(20) {
            worker.handle(&mut self.bus, Input::Pause { by: "operator".to_owned(), reason: "lunch".to_owned() })
        } else {
            Ok(())
        }
    }

    fn compare_soon(&mut self) {
        for worker in &mut self.workers {
            self.comparisons += u64::from(!worker.must_compare);
            worker.must_compare = true;
        }
    }
}
