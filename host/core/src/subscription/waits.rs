//! Deliveries that were tried and wait, and the alarms of the machine.
//!
//! A delivery stays here from its first failure until it is settled, also while another attempt is in flight, since its row
//! stays on disk as long. Knows nothing of lanes beyond their ids. Invariant: every entry that is pending has an alarm.

use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::event::Class;
use crate::ids::{Attempt, Offset};
use crate::lane::LaneId;
use crate::row::{ATTEMPT_NOTES_MAX, AttemptNote, WaitingRow};
use crate::time::Timestamp;

/// Longer reasons are cut: eight of them per waiting delivery are kept in memory and on disk.
const REASON_BYTES_MAX: usize = 512;

/// One delivery that was tried.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) row: WaitingRow,
    /// The row is on disk, or in the gathering step.
    pub(crate) is_stored: bool,
    /// Its alarm has not rung yet.
    pub(crate) is_pending: bool,
    /// Calls in a row that never ran.
    pub(crate) refusals: u32,
    /// Successes of the subscription when the plugin broke on this delivery first, as far as this process knows.
    pub(crate) successes_before: Option<u64>,
    pub(crate) lane: Option<LaneId>,
    pub(crate) class: Class,
}

impl Wait {
    /// A delivery without a failure yet.
    pub(crate) fn new(lane: Option<LaneId>, class: Class) -> Wait {
        let row = WaitingRow { spent: 0, channel: 0, plugin: 0, broke: 0, due: Timestamp(0), notes: Vec::new() };
        Wait { row, is_stored: false, is_pending: false, refusals: 0, successes_before: None, lane, class }
    }

    /// Notes why an attempt did not succeed.
    pub(crate) fn note(&mut self, attempt: Attempt, at: Timestamp, reason: String) {
        let notes = &mut self.row.notes;
        if notes.len() >= ATTEMPT_NOTES_MAX {
            notes.remove(0);
        }
        notes.push(AttemptNote { attempt, at, reason: cut(reason) });
    }
}

/// The beginning of a text, on a character's border.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

/// What an alarm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The next attempt of this delivery.
    Retry(Offset),
    /// The end of this lane's hold, if it is still the one until then.
    Open(LaneId, Timestamp),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Waits {
    /// Those whose event was read.
    seen: BTreeMap<Offset, Wait>,
    /// Rows of a recovered machine whose event was not read yet, or overflowed its lane's queue.
    unseen: BTreeMap<Offset, WaitingRow>,
    alarms: BinaryHeap<Reverse<(Timestamp, Due)>>,
}

impl Waits {
    pub(crate) fn recover(rows: Vec<(Offset, WaitingRow)>, floor: Offset) -> Waits {
        let unseen = rows.into_iter().filter(|(offset, _)| *offset >= floor).collect();
        Waits { seen: BTreeMap::new(), unseen, alarms: BinaryHeap::new() }
    }

    /// Deliveries that were tried and are not settled.
    pub(crate) fn len(&self) -> usize {
        self.seen.len() + self.unseen.len()
    }

    /// Those of them whose event was read.
    pub(crate) fn seen_len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<&Wait> {
        // Nearly always there is none at all.
        if self.seen.is_empty() { None } else { self.seen.get(&offset) }
    }

    pub(crate) fn get_mut(&mut self, offset: Offset) -> Option<&mut Wait> {
        if self.seen.is_empty() { None } else { self.seen.get_mut(&offset) }
    }

    pub(crate) fn remove(&mut self, offset: Offset) -> Option<Wait> {
        if self.seen.is_empty() { None } else { self.seen.remove(&offset) }
    }

    pub(crate) fn insert(&mut self, offset: Offset, wait: Wait) {
        self.seen.insert(offset, wait);
    }

    /// Has the delivery's alarm ring then.
    pub(crate) fn alarm_retry(&mut self, offset: Offset, at: Timestamp) {
        if let Some(wait) = self.seen.get_mut(&offset) {
            wait.is_pending = true;
            self.alarms.push(Reverse((at, Due::Retry(offset))));
        }
    }

    pub(crate) fn alarm_open(&mut self, lane: LaneId, until: Timestamp) {
        self.alarms.push(Reverse((until, Due::Open(lane, until))));
    }

    pub(crate) fn next_alarm(&self) -> Option<Timestamp> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// When the next delivery is due; an alarm that was set off otherwise may make it a little early.
    pub(crate) fn next_retry(&self) -> Option<Timestamp> {
        let pending = self.seen.values().filter(|wait| wait.is_pending).map(|wait| wait.row.due);
        pending.min()
    }

    /// The next alarm that is due, in the order of their times.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Due> {
        if self.next_alarm()? > now {
            return None;
        }
        self.alarms.pop().map(|Reverse((_, due))| due)
    }

    /// The recovered row of an event that was just read.
    pub(crate) fn take_unseen(&mut self, offset: Offset) -> Option<WaitingRow> {
        if self.unseen.is_empty() { None } else { self.unseen.remove(&offset) }
    }

    /// Whether a recovered row waits for its event to be read.
    pub(crate) fn has_unseen(&self, offset: Offset) -> bool {
        !self.unseen.is_empty() && self.unseen.contains_key(&offset)
    }

    pub(crate) fn put_unseen(&mut self, offset: Offset, row: WaitingRow) {
        self.unseen.insert(offset, row);
    }

    /// Recovered rows of events in `from..to`, taken out.
    pub(crate) fn drain_unseen(&mut self, from: Offset, to: Offset) -> Vec<Offset> {
        if self.unseen.is_empty() {
            return Vec::new();
        }
        let gone: Vec<Offset> = self.unseen.range(from..to).map(|(offset, _)| *offset).collect();
        for offset in &gone {
            self.unseen.remove(offset);
        }
        gone
    }

    /// Every row that is on disk.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Offset, &WaitingRow)> {
        let seen = self.seen.iter().filter(|(_, wait)| wait.is_stored).map(|(offset, wait)| (*offset, &wait.row));
        seen.chain(self.unseen.iter().map(|(offset, row)| (*offset, row)))
    }
}
