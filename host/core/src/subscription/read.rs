//! What the machine reads of the log, and what becomes of the events.
//!
//! Three reasons to read, one read at a time: new events at the frontier; a rescan of what did not fit the queue of a lane; and
//! catching up with classes that the frontier left behind. The read at the frontier may wait for new events, so another one
//! replaces it after a moment of patience; otherwise the kinds take turns, and a stuck key never stops the others.
//!
//! Invariant: every offset below the frontier is settled, skipped, queued, or covered by its lane's overflow.

use super::Machine;
use super::start::Item;
use super::waits::Wait;
use crate::event::StoredEvent;
use crate::ids::Offset;
use crate::lane::{Joined, LaneId, Overflow};
use crate::row::WaitingRow;
use crate::spec::Ordering;
use crate::step::{Action, Step, Write};
use crate::time::{Millis, Timestamp};

/// How long a read at the frontier may go unanswered while another one is wanted: longer than a read of the disk, usually.
const PATIENCE: Millis = Millis(10);

/// Events of one rescan read: most are somebody else's and only cost a look.
const RESCAN_EVENTS_MAX: u32 = 4_096;

/// Other reads in a row once the one at the frontier turned out to wait for new events.
const SPECIAL_RUN_MAX: u32 = 8;

/// The read that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// New events, since when.
    Frontier { from: Offset, at: Timestamp },
    /// Events that overflowed.
    Rescan { from: Offset },
    /// Events of classes that were left behind.
    CatchUp { from: Offset },
}

/// A walk over the part of the log that overflowed lanes want again.
#[derive(Clone, Copy, Debug)]
struct Rescan {
    number: u64,
    /// Everything below was looked at.
    at: Offset,
    /// Lanes that can still take something.
    open: usize,
}

/// Where the machine is in the log.
#[derive(Debug)]
pub(super) struct Reads {
    /// The frontier: everything below was read.
    position: Offset,
    asked: Option<Asked>,
    rescan: Option<Rescan>,
    /// Rescans so far; the number of the one under way.
    rescans: u64,
    /// A lane with an overflow has room again.
    pub(super) is_hungry: bool,
    /// Other reads that may be asked for before the next one at the frontier.
    specials: u32,
    /// Where the events of each class begin that the frontier passed without taking them.
    pub(super) behind: [Option<Offset>; 3],
    /// The next read that is not at the frontier is one that catches up, if both kinds are wanted.
    is_catch_up_turn: bool,
}

impl Reads {
    pub(super) fn new(position: Offset) -> Reads {
        Reads {
            position,
            asked: None,
            rescan: None,
            rescans: 0,
            is_hungry: false,
            specials: 1,
            behind: [None; 3],
            is_catch_up_turn: false,
        }
    }

    pub(super) fn position(&self) -> Offset {
        self.position
    }

    /// No answer is expected any more.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }
}

impl Machine {
    /// Asks for the next read, if there is a reason and none is under way.
    pub(super) fn ask(&mut self, now: Timestamp, step: &mut Step) {
        if self.paused.is_some() {
            return;
        }
        let wants_special = self.wants_special();
        match self.reads.asked {
            None => {
                let room = self.room();
                if wants_special && (self.reads.specials > 0 || room == 0) {
                    self.ask_special(step);
                } else if room > 0 {
                    self.ask_frontier(now, room, step);
                }
            }
            Some(Asked::Frontier { at, .. }) => {
                if wants_special && now >= at.after(PATIENCE) {
                    self.reads.specials = SPECIAL_RUN_MAX;
                    self.ask_special(step);
                }
            }
            Some(Asked::Rescan { .. } | Asked::CatchUp { .. }) => {}
        }
    }

    /// When patience with the read at the frontier ends.
    pub(super) fn next_supersede(&self) -> Option<Timestamp> {
        match self.reads.asked {
            Some(Asked::Frontier { at, .. }) if self.paused.is_none() && self.wants_special() => {
                Some(at.after(PATIENCE))
            }
            Some(Asked::Frontier { .. } | Asked::Rescan { .. } | Asked::CatchUp { .. }) | None => None,
        }
    }

    fn wants_special(&self) -> bool {
        self.reads.rescan.is_some() || self.reads.is_hungry || self.catch_up_from().is_some()
    }

    fn ask_frontier(&mut self, now: Timestamp, room: usize, step: &mut Step) {
        // After a restart the floor can pass the frontier: what was settled above it before needs no second look.
        let from = self.reads.position.max(self.cursor.floor());
        self.reads.position = from;
        self.reads.asked = Some(Asked::Frontier { from, at: now });
        self.reads.specials = 1;
        step.immediate.push(Action::Read { from, events_max: u32::try_from(room).unwrap_or(u32::MAX) });
    }

    fn ask_special(&mut self, step: &mut Step) {
        let catch_up = self.catch_up_from();
        let is_turn = self.reads.is_catch_up_turn || !(self.reads.rescan.is_some() || self.reads.is_hungry);
        self.reads.is_catch_up_turn = !is_turn;
        let (asked, from) = match catch_up.filter(|_| is_turn) {
            Some(from) => (Asked::CatchUp { from }, from),
            None => match self.rescan_from() {
                Some(from) => (Asked::Rescan { from }, from),
                None => return,
            },
        };
        self.reads.asked = Some(asked);
        self.reads.specials = self.reads.specials.saturating_sub(1);
        step.immediate.push(Action::Read { from, events_max: RESCAN_EVENTS_MAX });
    }

    /// Where the rescan goes on, or begins.
    fn rescan_from(&mut self) -> Option<Offset> {
        if let Some(rescan) = self.reads.rescan {
            return Some(rescan.at);
        }
        self.reads.is_hungry = false;
        let ids = self.lanes.overflowed();
        let hungry = ids.iter().filter(|id| self.lanes.is_hungry(**id));
        let at = hungry.filter_map(|id| self.lanes.get(*id).overflow).map(|overflow| overflow.from).min()?;
        self.reads.rescans += 1;
        let number = self.reads.rescans;
        let mut open = 0;
        for index in 0..self.lanes.overflowed().len() {
            let id = self.lanes.overflowed()[index];
            let is_full = self.lanes.is_full(id);
            if let Some(overflow) = &mut self.lanes.get_mut(id).overflow {
                if is_full || overflow.from < at {
                    overflow.missed_by = number;
                } else {
                    open += 1;
                }
            }
        }
        self.reads.rescan = Some(Rescan { number, at, open });
        Some(at)
    }

    /// The answer to a read.
    pub(super) fn take_events(&mut self, from: Offset, events: &[StoredEvent], next: Offset, step: &mut Step) {
        match self.reads.asked {
            Some(Asked::Frontier { from: asked, .. }) if asked == from => {
                self.reads.asked = None;
                self.take_new(from, events, next, step);
            }
            Some(Asked::Rescan { from: asked }) if asked == from => {
                self.reads.asked = None;
                self.take_again(from, events, next, step);
            }
            Some(Asked::CatchUp { from: asked }) if asked == from => {
                self.reads.asked = None;
                self.take_behind(from, events, next);
            }
            // A read that was replaced, or nobody asked for.
            Some(Asked::Frontier { .. } | Asked::Rescan { .. } | Asked::CatchUp { .. }) | None => {}
        }
    }

    fn take_new(&mut self, from: Offset, events: &[StoredEvent], next: Offset, step: &mut Step) {
        let mut at = from;
        for event in events {
            let offset = event.position.offset;
            if offset >= at && offset < next {
                self.skip_absent(at, offset, step);
                at = offset.next();
                self.flow.ages.note(offset, event.received);
                if !self.is_left_behind(event) {
                    self.admit(event);
                }
            }
        }
        self.skip_absent(at, next, step);
        self.reads.position = self.reads.position.max(next);
    }

    /// Counts offsets that are nobody's event here as settled.
    fn skip_absent(&mut self, from: Offset, to: Offset, step: &mut Step) {
        if from >= to {
            return;
        }
        for offset in self.waits.drain_unseen(from, to) {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        self.cursor.skip(from, to);
    }

    pub(super) fn wants(&self, event: &StoredEvent) -> bool {
        self.spec.redelivery == Some(event.topic)
            || (self.topics.binary_search(&event.topic).is_ok() && self.spec.filter.matches(&event.event))
    }

    pub(super) fn admit(&mut self, event: &StoredEvent) {
        let offset = event.position.offset;
        if self.cursor.is_settled(offset) {
            return;
        }
        let row = self.waits.take_unseen(offset);
        if row.is_none() && !self.wants(event) {
            self.cursor.skip(offset, offset.next());
            return;
        }
        let key = match self.spec.ordering {
            Ordering::ByKey => event.event.key(),
            Ordering::None => None,
        };
        let class = event.event.class();
        let Some(key) = key else {
            match row {
                None => self.ready.push(class, Item { offset, lane: None }),
                Some(row) => self.wait_recovered(offset, Wait { row, is_stored: true, ..Wait::new(None, class) }),
            }
            return;
        };
        let id = self.lanes.open(key, class);
        let joined = self.lanes.join(id, offset, self.reads.rescans);
        self.joined(id, offset, joined, row);
    }

    fn wait_recovered(&mut self, offset: Offset, wait: Wait) {
        let due = wait.row.due;
        self.waits.insert(offset, wait);
        self.waits.alarm_retry(offset, due);
    }

    /// What follows when an offset joined its lane, perhaps with a row from before a restart.
    fn joined(&mut self, id: LaneId, offset: Offset, joined: Joined, row: Option<WaitingRow>) {
        match (joined, row) {
            (Joined::Overflowed, row) => {
                if let Some(row) = row {
                    self.waits.put_unseen(offset, row);
                }
                // A class that catches up brings events that a rescan under way may have passed already.
                let number = self.reads.rescans;
                if let Some(overflow) = &mut self.lanes.get_mut(id).overflow {
                    overflow.missed_by = number;
                }
            }
            (Joined::Head | Joined::Behind, row) => {
                if let Some(row) = row {
                    let class = self.lanes.get(id).class();
                    self.waits.insert(offset, Wait { row, is_stored: true, ..Wait::new(Some(id), class) });
                }
                if joined == Joined::Head {
                    self.proceed(id);
                }
            }
        }
    }

    fn take_again(&mut self, from: Offset, events: &[StoredEvent], next: Offset, step: &mut Step) {
        // What lies beyond the frontier comes with the read of the frontier, once.
        let position = self.reads.position;
        let next = next.min(position);
        for event in events {
            let offset = event.position.offset;
            if offset >= from && offset < next && !self.cursor.is_settled(offset) {
                self.readmit(event, step);
            }
        }
        let Some(rescan) = &mut self.reads.rescan else { return };
        rescan.at = next;
        let number = rescan.number;
        if next >= position {
            self.lanes.clear_overflows(number);
        } else if rescan.open > 0 {
            return;
        }
        self.reads.rescan = None;
        self.reads.is_hungry = self.lanes.overflowed().iter().any(|id| self.lanes.is_hungry(*id));
    }

    /// Gives an event that overflowed back to its lane, if that has room.
    fn readmit(&mut self, event: &StoredEvent, step: &mut Step) {
        let offset = event.position.offset;
        let Some(number) = self.reads.rescan.map(|rescan| rescan.number) else { return };
        let lane = event.event.key().and_then(|key| self.lanes.find(key, event.event.class()));
        let Some(id) = lane else { return };
        let is_its_turn = |overflow: Overflow| overflow.missed_by != number && offset >= overflow.from;
        if !self.lanes.get(id).overflow.is_some_and(is_its_turn) || self.is_for_catching_up(event) {
            return;
        }
        let row = self.waits.take_unseen(offset);
        if row.is_none() && !self.wants(event) {
            // The filter changed since the event was read first.
            self.skip_absent(offset, offset.next(), step);
            return;
        }
        let Some(joined) = self.lanes.rejoin(id, offset) else { return };
        if joined == Joined::Overflowed {
            if let Some(rescan) = &mut self.reads.rescan {
                rescan.open = rescan.open.saturating_sub(1);
            }
            if let Some(overflow) = &mut self.lanes.get_mut(id).overflow {
                overflow.missed_by = number;
            }
        }
        self.joined(id, offset, joined, row);
    }
}
