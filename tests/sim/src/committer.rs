//! The committer of the simulated bus: takes items off the queue, writes one batch, syncs it, and then tells everybody.
//!
//! Each stage is a step of its own, so that anything, a crash too, can come between two of them. Decides nothing; admission does.
//! Invariant: a round is told after the sync that made it durable, and before the next one begins.

use bugle_core::admission::{Admission, Facts, IdFact, IdLookup, IdPlace, Recovery, Released, WindowSize};
use bugle_core::callback::StatusChange;
use bugle_core::event::Timing;
use bugle_core::ids::{BootId, Offset, SessionId, Slot};
use bugle_core::ledger::LedgerStep;
use bugle_core::publish::{BatchResult, Opened, PublishBatch};
use bugle_core::schedule::{ScheduledName, ScheduledQuery};
use bugle_core::seeded::{Bug, is_planted};
use bugle_core::spec::Topic;
use bugle_core::step::Write;
use bugle_core::time::Millis;

use crate::bus::{Bus, Done, Item};
use crate::call::FOLLOW_UPS;
use crate::definition::OUTCOMES;
use crate::events::Attributes;
use crate::evidence::Place;
use crate::outcomes;
use crate::rule::{self, Checked, must};
use crate::world::{ORDERS, World};

/// What one commit holds and whom it will be told to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    ledger: Option<LedgerStep>,
    receipts: Vec<(usize, SessionId, BatchResult)>,
    opened: Vec<(usize, SessionId, Opened)>,
    dones: Vec<Done>,
    released: Option<Released>,
    heard: Vec<(Place, StatusChange)>,
    is_synced: bool,
}

impl Round {
    pub(crate) fn into_dones(self) -> Vec<Done> {
        self.dones
    }
}

impl World {
    /// The next stage of the round under way, or of a new one.
    pub(crate) fn commit_stage(&mut self) -> Checked {
        match self.round.take() {
            None => {
                if is_planted(Bug::ConfirmBeforeSync) {
                    self.bus.disk.sync()?;
                }
                let count = self.bus.random.within(1, 6) as usize;
                self.write(count)
            }
            Some(round) if !round.is_synced && !is_planted(Bug::ConfirmBeforeSync) => {
                self.bus.disk.sync()?;
                self.round = Some(Round { is_synced: true, ..round });
                Ok(())
            }
            Some(round) => self.tell(round),
        }
    }

    /// A whole round, or what is left of one.
    pub(crate) fn commit(&mut self, items_max: usize) -> Checked {
        if self.round.is_none() {
            self.write(items_max)?;
        }
        while self.round.is_some() {
            self.commit_stage()?;
        }
        Ok(())
    }

    /// The sync that is due fails: the process must end, whatever the disk kept.
    pub(crate) fn fail_sync(&mut self) -> Checked {
        let Some(round) = self.round.as_mut().filter(|round| !round.is_synced) else { return Ok(()) };
        if is_planted(Bug::SyncRetried) {
            round.is_synced = true;
            self.bus.disk.drop_unsynced();
            return Ok(());
        }
        self.crash()
    }

    fn write(&mut self, items_max: usize) -> Checked {
        let count = items_max.min(self.bus.queue.len());
        if count == 0 {
            return Ok(());
        }
        let mut round = Round::default();
        let mut batch = Vec::new();
        for _ in 0..count {
            match self.bus.queue.pop_front() {
                Some(Item::Publish { producer, batch: publish }) => {
                    let session = publish.session;
                    let result = self.decide(publish, &mut batch);
                    round.receipts.push((producer, session, result));
                }
                Some(Item::Hello { producer, before, open }) => {
                    self.admission.close(before);
                    let session = open.session;
                    let name = open.producer.clone();
                    let stored = open.epoch.map(|epoch| self.bus.disk.written.sequences(&name, epoch));
                    round.opened.push((producer, session, self.admission.open(open, stored.unwrap_or_default())));
                }
                Some(Item::Release) => round.released = Some(self.release(&mut batch)),
                Some(Item::Callback { place, change }) => {
                    self.hear(place, &change, &mut batch);
                    round.heard.push((place, change));
                }
                Some(Item::Cancel { event, by_key }) => self.cancel(&event, by_key, &mut batch),
                Some(Item::Writes { writes, ledger, done }) => {
                    self.place(writes, &mut batch);
                    round.ledger = ledger.max(round.ledger);
                    round.dones.push(done);
                }
                None => {}
            }
        }
        self.admission.seal(self.bus.now, &mut batch);
        self.bus.note(|| format!("a batch of {count} items and {} rows is written", batch.len()));
        self.round = Some(round);
        self.bus.disk.write(self.bus.now, batch)?;
        self.check_batch()
    }

    fn decide(&mut self, publish: PublishBatch, batch: &mut Vec<Write>) -> BatchResult {
        let mut probe = self.admission.probe(&publish);
        for (index, query) in probe.replaces(&publish) {
            let found = self.bus.disk.written.schedule.of(query).collect();
            probe.found_replaced(index, found);
        }
        let log = &self.bus.disk.written.log;
        let stored = |lookup: &IdLookup| match lookup.place {
            IdPlace::Log(offset) => {
                let event = log.get(offset.0 as usize)?;
                Some(IdFact { index: lookup.index, event: event.clone() })
            }
            IdPlace::Block(_) => None,
        };
        let facts: Vec<IdFact> = probe.lookups().iter().filter_map(stored).collect();
        self.admission.publish(self.bus.now, publish, &probe, &facts, batch)
    }

    pub(crate) fn place(&mut self, writes: Vec<Write>, batch: &mut Vec<Write>) {
        for write in writes {
            match write {
                Write::Append { topic, event } => {
                    self.admission.append(self.bus.now, topic, event, batch);
                }
                Write::Outcome { topic, subscription, event, .. } => {
                    let (id, data) = (event.id.unwrap_or_default(), outcomes::data(&event.attributes));
                    let (key, class, timing) = (event.key.as_deref(), event.class, Timing::default());
                    let told = Attributes { id: &id, source: &subscription, key, class, data: &data, timing };
                    self.admission.append(self.bus.now, topic, told.event(), batch);
                }
                Write::Redeliver { topic, origin, is_late, event } => {
                    let copy = crate::events::copy(&event, &origin, is_late);
                    self.admission.append(self.bus.now, topic, copy, batch);
                }
                Write::Timer { topic, key, event } => {
                    let query = ScheduledQuery { topic, name: ScheduledName::Key(&key) };
                    let found = self.bus.disk.written.schedule.of(query).collect();
                    self.admission.set_timer(self.bus.now, query, found, event, batch);
                }
                Write::Note { subscription, position, row } => self.note(subscription, position, row, batch),
                other => batch.push(other),
            }
        }
    }

    fn tell(&mut self, round: Round) -> Checked {
        self.admission.committed();
        if let Some(at) = self.admission.take_scheduled() {
            self.releases.added(at);
        }
        if let Some(released) = round.released {
            self.releases.done(released.next);
        }
        self.bus.tail = self.bus.disk.written.end();
        if let Some(step) = round.ledger {
            self.bus.ledger.durable(step);
        }
        for (producer, session, opened) in round.opened {
            for batch in self.producers[producer].opened(session, &opened) {
                self.bus.queue.push_back(Item::Publish { producer, batch });
            }
        }
        for (producer, session, result) in round.receipts {
            for (number, place) in self.producers[producer].receipt(session, &result)? {
                self.check_receipt(producer, number, place)?;
            }
            for batch in self.producers[producer].take_resends() {
                self.bus.queue.push_back(Item::Publish { producer, batch });
            }
        }
        let end = self.bus.disk.synced.end();
        must(rule::SYNCED_BEFORE_TOLD, self.bus.tail <= end, || format!("readers see {} of {end}", self.bus.tail))?;
        for (place, change) in round.heard {
            self.answered(place, &change)?;
        }
        for done in round.dones {
            match done {
                Done::Nobody => {}
                Done::Worker(worker, actions) => self.workers[worker].durable(&mut self.bus, actions)?,
                Done::Call(worker, ticket) => self.workers[worker].durable_import(&self.bus, ticket),
            }
        }
        Ok(())
    }
}

/// Admission as it comes back after a restart.
pub(crate) fn recover(bus: &Bus, boot: BootId, first_boot: BootId, boots: &[(BootId, Offset)], ids: u64) -> Admission {
    let topic = |id, name: &str| Topic { id, name: name.into() };
    let mut recovery = Recovery::new(Facts {
        slot: Slot(0),
        seed: [7; 16],
        boot,
        first_boot,
        boots: boots.to_vec(),
        next: bus.disk.synced.end(),
        floor: Offset(0),
        dropped_below: Offset(0),
        topics: vec![topic(ORDERS, "orders"), topic(FOLLOW_UPS, "sent"), topic(OUTCOMES, "bugle.settled")],
        window: WindowSize { ids, time: Millis(u64::MAX / 2) },
    });
    bus.disk.synced.log.iter().for_each(|event| recovery.event(event));
    bus.disk.synced.schedule.totals().for_each(|(topic, totals)| recovery.scheduled(topic, totals));
    recovery.finish()
}
