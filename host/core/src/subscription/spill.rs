//! Waiting deliveries beyond a bound leave memory and come back when they are due.
//!
//! Spilling keeps the row where it is, on disk, and lets go of the delivery's twin in memory and of its lane; a load brings row
//! and event back and re-opens the lane with the delivery as its head. Knows nothing of why a delivery waits.
//! See docs/decisions/0015-waiting-deliveries-on-disk.md.
//!
//! Invariant: a lane is in memory or blocked by a spilled head, never both, and until the head is back nothing of the lane starts.

use alloc::format;

use super::Machine;
use super::charge::discharge;
use super::waits::Wait;
use crate::event::{Class, StoredEvent};
use crate::flow::Stance;
use crate::ids::Offset;
use crate::lane::{Joined, LaneId, LaneState};
use crate::lane_hash::{LaneHash, LaneMark};
use crate::row::WaitingRow;
use crate::seeded::{Bug, is_planted};
use crate::spec::Ordering;
use crate::step::{Action, Load, LoadNumber, Step, Write};
use crate::time::Timestamp;

/// Loaded deliveries of one class that may be on their way or ready at once, as a part of the read-ahead: enough to keep every
/// place busy while loads take a few milliseconds, few enough to stay a small part of memory.
const LOADED_SHARE: usize = 8;

/// Rows of settled deliveries deleted with one input: a small part of a batch.
const ORPHANS_PER_INPUT: usize = 64;

/// The most urgent first.
const CLASSES: [Class; 3] = [Class::Critical, Class::Normal, Class::Low];

impl Machine {
    /// Adds the row of a waiting delivery to a recovered machine that had no input yet: for a driver that streams them instead
    /// of collecting them in [`super::Recovered`]. Rows come in the order of their offsets.
    pub fn remember(&mut self, offset: Offset, row: &WaitingRow) {
        if self.cursor.is_settled(offset) {
            self.spilled.add_orphan(offset);
            return;
        }
        match (self.spec.ordering, row.lane) {
            (Ordering::None, LaneMark::Unknown | LaneMark::Unkeyed | LaneMark::Keyed(_))
            | (Ordering::ByKey, LaneMark::Unkeyed) => self.spilled.recover(offset, row.class, row.due),
            (Ordering::ByKey, LaneMark::Keyed(lane))
                if self.lanes.find_hashed(lane).is_none() && self.spilled.block(lane, None) =>
            {
                self.spilled.recover(offset, row.class, row.due);
            }
            (Ordering::ByKey, LaneMark::Keyed(_) | LaneMark::Unknown) => self.spilled.add_stray(offset, row.due),
        }
    }

    /// What a row says of a delivery's lane.
    pub(super) fn mark_of(&self, wait: &Wait) -> LaneMark {
        match (wait.lane, self.spec.ordering) {
            (Some(id), Ordering::ByKey | Ordering::None) => LaneMark::Keyed(self.lanes.get(id).hash()),
            (None, Ordering::ByKey) => LaneMark::Unkeyed,
            (None, Ordering::None) => wait.row.lane,
        }
    }

    /// Whether a delivery that waits from now on is to be spilled: one that no time wakes always is.
    pub(super) fn is_crowded(&self, due: Timestamp) -> bool {
        due == Timestamp::NEVER
            || self.waits.seen_len() >= self.bounds.waiting_max
            || self.lanes.queued() > self.bounds.queued_max / 2
    }

    /// [`Machine::spill`] with what only memory knows of the delivery.
    pub(super) fn spill_wait(&mut self, offset: Offset, wait: &Wait, due: Timestamp) {
        if let Some(successes) = wait.successes_before {
            self.spilled.note_break(offset, successes);
        }
        if self.mark_of(wait) != wait.row.lane {
            self.spilled.note_lane(offset, wait.lane.map(|id| self.lanes.get(id).hash()));
        }
        self.spill(offset, wait.class, wait.lane, due);
    }

    /// Lets go of a waiting delivery, whose row is on disk or in the gathering step, and of the lane it heads.
    pub(super) fn spill(&mut self, offset: Offset, class: Class, lane: Option<LaneId>, due: Timestamp) {
        self.expiries.forget(offset);
        if let Some(id) = lane {
            assert!(self.lanes.get(id).head() == Some(offset), "the head of a lane is what waits");
            self.forget_expiries_of(id);
            let taken = self.lanes.take(id);
            self.reads.lane_left(taken.overflow);
            let is_new = self.spilled.block(taken.hash, taken.behind);
            assert!(is_new, "a lane in memory is not blocked");
        }
        self.spilled.add(offset, class, due);
    }

    /// Spills what waits when lanes or queues are full, so that stuck keys never stop the reading for others.
    pub(super) fn shed(&mut self) {
        let is_full = self.lanes.queued() >= self.bounds.queued_max || self.lanes.busy() >= self.bounds.lanes_max;
        if !is_full || self.waits.seen_len() == self.waits.unstored() {
            return;
        }
        for (offset, id) in self.waits.heads() {
            let lane = self.lanes.get(id);
            if lane.state == LaneState::Waiting
                && lane.head() == Some(offset)
                && let Some(wait) = self.waits.remove(offset)
            {
                self.spill_wait(offset, &wait, wait.row.due);
            }
        }
    }

    /// Deliveries of one class that may be loaded and not started at once; of a class that is held, one: to be the probe.
    fn loaded_max(&self, class: Class) -> usize {
        let is_held = !self.flow.is_plain() && self.flow.stance(self.now, class) == Stance::Hold;
        if is_held { 1 } else { (self.ready_max() / LOADED_SHARE).max(1) }
    }

    fn may_load(&self, class: Class) -> bool {
        // What was let go comes back even to a paused machine: until its row is gone, its event must stay in the log.
        let is_let_go = self.spilled.next_due(class) == Some(Timestamp(0));
        (self.paused.is_none() || is_let_go)
            && self.ready.loaded_len(class) + self.spilled.loading(class) < self.loaded_max(class)
            // The other half is for what is read.
            && self.lanes.busy() <= self.bounds.lanes_max / 2
    }

    /// When a spilled delivery is due that could be loaded, or a row left to be deleted.
    pub(super) fn next_load(&self) -> Option<Timestamp> {
        if self.spilled.has_orphans() {
            return Some(Timestamp(0));
        }
        let may_load = CLASSES.into_iter().filter(|class| self.may_load(*class));
        may_load.filter_map(|class| self.spilled.next_due(class)).min()
    }

    /// Asks for spilled deliveries that are due, and deletes rows that nobody needs.
    pub(super) fn load_due(&mut self, now: Timestamp, step: &mut Step) {
        for _ in 0..ORPHANS_PER_INPUT {
            let Some(offset) = self.spilled.take_orphan() else { break };
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        for class in CLASSES {
            while self.spilled.next_due(class).is_some_and(|due| due <= now)
                && self.may_load(class)
                && let Some((number, offset)) = self.spilled.take_due(class, now)
            {
                self.ask_load(number, offset, step);
            }
        }
    }

    /// Asks again for what was asked for: a pause may have come from a load that failed and will never be answered.
    pub(super) fn load_again(&mut self, step: &mut Step) {
        let loads: alloc::vec::Vec<_> = self.spilled.loads().collect();
        for (number, offset) in loads {
            self.ask_load(number, offset, step);
        }
    }

    /// Whether the answer to a load is still wanted.
    #[must_use]
    pub fn is_loading(&self, number: LoadNumber) -> bool {
        self.spilled.load(number).is_some()
    }

    /// The row may still be on its way to the disk: the load follows the writes so far.
    fn ask_load(&self, number: LoadNumber, offset: Offset, step: &mut Step) {
        step.actions.push(Action::Load(Load { number, position: self.position(offset) }));
    }

    /// A spilled delivery is back, or cannot be had.
    pub(super) fn take_loaded(
        &mut self,
        now: Timestamp,
        number: LoadNumber,
        found: Option<(WaitingRow, StoredEvent)>,
        step: &mut Step,
    ) {
        let Some(loading) = self.spilled.load(number) else { return };
        let offset = loading.offset;
        let position = self.position(offset);
        let Some((mut row, event)) = found.filter(|(_, event)| event.position == position) else {
            // Loss is never silent: an operator has to look why the store no longer holds what is not settled.
            let reason = format!("row or event of the unsettled delivery {position} is not in the store any more");
            self.pause(now, "host".into(), reason, step);
            return;
        };
        self.spilled.loaded(number);
        if let Some((count, culprit)) = self.spilled.take_given_back(offset)
            && discharge(&mut row, count, culprit) > 0
        {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: Some(row.clone()) });
        }
        let class = event.event.class();
        let key = match self.spec.ordering {
            Ordering::ByKey => event.event.key(),
            Ordering::None => None,
        };
        let hash = match key {
            Some(key) => Some(self.lanes.hash_of(key, class)),
            None if event.event.is_erased() => self.lane_of_erased(offset, &row),
            None => None,
        };
        self.spilled.forget_lane(offset);
        let lane = hash.map(|hash| self.open_again(offset, hash, key.unwrap_or_default(), class));
        if self.cursor.is_settled(offset) {
            // It was let go while it waited: its lane goes on without it.
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
            self.go_on_behind(lane);
            return;
        }
        let due = row.due;
        let successes_before = self.spilled.take_break(offset);
        let wait = Wait { row, is_stored: true, is_loaded: true, successes_before, ..Wait::new(lane, class) };
        self.note_expiry(&event);
        self.waits.insert(offset, wait);
        self.waits.alarm_retry(offset, due);
        if due <= now {
            self.retry(offset);
        }
    }

    /// The lane that a spilled delivery blocks whose event has no key any more.
    fn lane_of_erased(&self, offset: Offset, row: &WaitingRow) -> Option<LaneHash> {
        if self.spec.ordering == Ordering::None || is_planted(Bug::ErasedBlocksItsKey) {
            return None;
        }
        self.spilled.lane_of_stray(offset).unwrap_or(match row.lane {
            LaneMark::Keyed(lane) => Some(lane),
            LaneMark::Unkeyed | LaneMark::Unknown => None,
        })
    }

    /// Has a lane go on whose head was settled by something else than the end of its call.
    pub(super) fn go_on_behind(&mut self, lane: Option<LaneId>) {
        let Some(id) = lane else { return };
        self.lanes.pop(id);
        self.reads.is_hungry |= self.lanes.is_hungry(id);
        self.lanes.get_mut(id).settled_in = self.seals + 1;
        self.proceed(id);
    }

    /// Opens the lane of a delivery that is back; its other events are behind it again, in the log.
    pub(super) fn open_again(&mut self, offset: Offset, hash: LaneHash, key: &str, class: Class) -> LaneId {
        assert!(self.lanes.find_hashed(hash).is_none(), "a blocked lane is not in memory");
        // Not only after it: an earlier event of its lane can be wanted anew, if the filter changed between a restart and the read
        // of that part of the log.
        let behind = self.spilled.unblock(hash, self.cursor.floor());
        let id = self.lanes.open_hashed(hash, key, class);
        let joined = self.lanes.join(id, offset, 0);
        assert!(joined == Joined::Head, "a lane that was just opened is empty");
        self.lanes.get_mut(id).state = LaneState::Waiting;
        if let Some(from) = behind {
            self.lanes.overflow(id, from, self.reads.rescans());
        }
        id
    }
}
