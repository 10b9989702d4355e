//! How admission comes back after a restart: sealed blocks from their rows, newer ids from the log, sequences when asked for.
//!
//! Calls in their order: [`Recovery::new`], for each sealed block, oldest first, [`Recovery::block`] and then
//! [`Recovery::chunk`] for each of its chunks, [`Recovery::event`] for each event from [`Recovery::replay_from`] on,
//! [`Recovery::finish`]. Knows nothing of how they are read.
//!
//! Invariant: what comes out behaves as if there had been no restart, except that results of batches are forgotten.

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::Admission;
use super::group::Group;
use super::ids::{IdWindow, WindowSize};
use super::life::Lives;
use super::schedule::Schedule;
use crate::event::StoredEvent;
use crate::ids::{BootId, Offset, Slot, TopicId};
use crate::row::{IdBlockRow, IdEntry, ScheduledTotals};
use crate::seeded::{Bug, is_planted};
use crate::spec::Topic;
use crate::time::Timestamp;

/// What the driver knows before anything else.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The slot.
    pub slot: Slot,
    /// Key of the hash, made when the store was created: with another one no sealed block would be of use.
    pub seed: [u8; 16],
    /// This life of the process.
    pub boot: BootId,
    /// The first boot of this incarnation of the store. A restored store is another one: epochs given before it belong to a
    /// history that went on elsewhere, so they are not resumed.
    pub first_boot: BootId,
    /// Where the log ended at this and earlier boots; forgetting old ones makes more retries of their lives too old.
    pub boots: Vec<(BootId, Offset)>,
    /// Offset of the next event.
    pub next: Offset,
    /// First offset that is still in the log.
    pub floor: Offset,
    /// Events from here on are all there; below, those of topics with a short retention may be gone. At least `floor`.
    pub dropped_below: Offset,
    /// Every topic.
    pub topics: Vec<Topic>,
    /// How far the id window reaches.
    pub window: WindowSize,
}

/// See the module.
#[derive(Debug)]
pub struct Recovery {
    admission: Admission,
    floor: Offset,
    dropped_below: Offset,
    /// The first event from `dropped_below` on was seen.
    is_beyond: bool,
}

impl Recovery {
    /// Begins.
    #[must_use]
    pub fn new(facts: Facts) -> Recovery {
        let (low, high) = facts.seed.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mut admission = Admission {
            slot: facts.slot,
            seed: (number(low), number(high)),
            next: facts.next,
            topics: HashMap::new(),
            window: IdWindow::new(facts.window),
            sessions: HashMap::new(),
            lives: Lives::new(facts.boot, facts.first_boot, &facts.boots),
            group: Group::new(facts.next),
            schedule: Schedule::default(),
        };
        facts.topics.into_iter().for_each(|topic| admission.add_topic(topic));
        let (floor, dropped_below) = (facts.floor, facts.dropped_below);
        Recovery { admission, floor, dropped_below, is_beyond: false }
    }

    /// A sealed block.
    pub fn block(&mut self, number: u64, row: IdBlockRow) {
        self.admission.window.load_block(number, row);
    }

    /// A chunk of the block.
    pub fn chunk(&mut self, number: u64, ids: &[IdEntry]) {
        self.admission.window.load_ids(number, ids);
    }

    /// From which offset on the log has to be read.
    #[must_use]
    pub fn replay_from(&self) -> Offset {
        self.admission.window.unsealed_from().max(self.floor)
    }

    /// An event of the log at or after that offset, in order.
    pub fn event(&mut self, event: &StoredEvent) {
        let StoredEvent { position, topic, received, event } = event;
        self.id(*topic, event.source(), event.id(), position.offset, *received);
    }

    /// The same, for a driver that need not build the whole event.
    pub fn id(&mut self, topic: TopicId, source: &str, id: &str, offset: Offset, received: Timestamp) {
        let hash = self.admission.hash(topic, source, id);
        if offset == self.floor {
            // Ids below the log's start went with their events.
            self.admission.window.trimmed(self.floor, received);
        }
        if !self.is_beyond && offset >= self.dropped_below {
            // If sealed blocks reach further, the log is not read from there, and their times tell it.
            self.is_beyond = true;
            if self.replay_from() <= self.dropped_below {
                self.admission.window.dropped(self.dropped_below, received);
            }
        }
        if !is_planted(Bug::IdsForgottenAtRestart) {
            self.admission.window.add(hash, offset, received);
        }
    }

    /// The scheduled events of a topic in numbers; at any time before the end.
    pub fn scheduled(&mut self, topic: TopicId, totals: ScheduledTotals) {
        self.admission.schedule.load(topic, totals);
    }

    /// Everything was read.
    #[must_use]
    pub fn finish(mut self) -> Admission {
        self.admission.window.trimmed_at_rest(self.floor, self.dropped_below);
        self.admission
    }
}
