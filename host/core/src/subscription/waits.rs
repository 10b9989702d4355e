//! Deliveries that were tried and wait, and the alarms of the machine.
//!
//! A delivery stays here from its first failure until it is settled or spilled, also while another attempt is in flight, since
//! its row stays on disk as long. Knows nothing of lanes beyond their ids. Invariant: every entry that is pending has an alarm.

use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::event::Class;
use crate::ids::{Attempt, Offset, Revision};
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
    /// It came back from the disk.
    pub(crate) is_loaded: bool,
    /// The time its alarm is set to.
    pub(crate) rings: Timestamp,
    /// Calls in a row that never ran.
    pub(crate) refusals: u32,
    /// Successes of the subscription when the plugin broke on this delivery first, as far as this process knows.
    pub(crate) successes_before: Option<u64>,
    /// The plugin revision of the last attempt.
    pub(crate) revision: Option<Revision>,
    pub(crate) lane: Option<LaneId>,
    pub(crate) class: Class,
}

impl Wait {
    /// A delivery without a failure yet.
    pub(crate) fn new(lane: Option<LaneId>, class: Class) -> Wait {
        Wait {
            row: WaitingRow { class, ..WaitingRow::default() },
            is_stored: false,
            is_pending: false,
            is_loaded: false,
            rings: Timestamp::NEVER,
            refusals: 0,
            successes_before: None,
            revision: None,
            lane,
            class,
        }
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
#[derive(Debug, Default)]
pub(crate) struct Waits {
    seen: BTreeMap<Offset, Wait>,
    /// Those of them that have no row.
    unstored: usize,
    alarms: BinaryHeap<Reverse<(Timestamp, Due)>>,
}

impl Waits {
    /// Deliveries in memory that were tried and are not settled.
    pub(crate) fn seen_len(&self) -> usize {
        self.seen.len()
    }

    /// Where they are, in order.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.seen.keys().copied()
    }

    /// Those of them that have no row: their calls never ran.
    pub(crate) fn unstored(&self) -> usize {
        self.unstored
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<&Wait> {
        // Nearly always there is none at all.
        if self.seen.is_empty() { None } else { self.seen.get(&offset) }
    }

    pub(crate) fn get_mut(&mut self, offset: Offset) -> Option<&mut Wait> {
        if self.seen.is_empty() { None } else { self.seen.get_mut(&offset) }
    }

    pub(crate) fn remove(&mut self, offset: Offset) -> Option<Wait> {
        if self.seen.is_empty() {
            return None;
        }
        let wait = self.seen.remove(&offset)?;
        self.unstored -= usize::from(!wait.is_stored);
        Some(wait)
    }

    pub(crate) fn insert(&mut self, offset: Offset, wait: Wait) {
        self.remove(offset);
        self.unstored += usize::from(!wait.is_stored);
        self.seen.insert(offset, wait);
    }

    /// Those that have a row, head a lane and wait for their alarm.
    pub(crate) fn heads(&self) -> Vec<(Offset, LaneId)> {
        let waiting = self.seen.iter().filter(|(_, wait)| wait.is_stored && wait.is_pending);
        waiting.filter_map(|(offset, wait)| Some((*offset, wait.lane?))).collect()
    }

    /// Has the delivery's alarm ring then.
    pub(crate) fn alarm_retry(&mut self, offset: Offset, at: Timestamp) {
        if let Some(wait) = self.seen.get_mut(&offset) {
            wait.is_pending = true;
            wait.rings = at;
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
        while self.next_alarm()? <= now {
            let Reverse((at, due)) = self.alarms.pop()?;
            let is_current = match due {
                Due::Retry(offset) => self.seen.get(&offset).is_some_and(|wait| wait.rings == at),
                Due::Open(..) => true,
            };
            if is_current {
                return Some(due);
            }
        }
        None
    }

    /// When the delivery's alarm rings, if it waits for one.
    pub(crate) fn alarm_of(&self, offset: Offset) -> Option<Timestamp> {
        self.get(offset).filter(|wait| wait.is_pending).map(|wait| wait.rings)
    }

    /// Forgets deliveries below `to` but for the kept ones; their alarms ring in vain, since they are settled for good. Returns
    /// those that have a row.
    pub(crate) fn forget_below(&mut self, to: Offset, kept: &BTreeSet<Offset>) -> Vec<Offset> {
        let gone: Vec<Offset> = self.seen.range(..to).map(|(offset, _)| *offset).collect();
        let gone = gone.into_iter().filter(|offset| !kept.contains(offset));
        gone.filter(|offset| self.remove(*offset).is_some_and(|wait| wait.is_stored)).collect()
    }

    /// Every row that is on disk.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Offset, &WaitingRow)> {
        let stored = self.seen.iter().filter(|(_, wait)| wait.is_stored);
        stored.map(|(offset, wait)| (*offset, &wait.row))
    }
}
