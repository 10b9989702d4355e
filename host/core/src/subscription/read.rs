//! What the machine reads of the log, and what becomes of the events.
//!
//! Three reasons to read, one read at a time: new events at the frontier; a rescan of what did not fit the queue of a lane; and
//! catching up with classes that the frontier left behind. The read at the frontier may wait for new events, so another one
//! replaces it after a moment of patience; otherwise the kinds take turns, and a stuck key never stops the others.
//!
//! Invariant: every offset below the frontier is settled, skipped, spilled, queued, or behind a spilled head or an overflow of its
//! lane.

use alloc::collections::BTreeSet;

use super::Machine;
use super::explain::Bound;
use super::start::{Item, Ready};
use crate::event::StoredEvent;
use crate::ids::Offset;
use crate::lane::{Joined, Lane, Overflow};
use crate::seeded::{Bug, is_planted};
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
    /// When it began.
    since: Timestamp,
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
    /// No rescan begins before then: as long after the last one's end as it took, so that they never take more than half of
    /// the time, however many lanes want them.
    rest_until: Timestamp,
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
            rest_until: Timestamp(0),
            behind: [None; 3],
            is_catch_up_turn: false,
        }
    }

    /// Rescans so far: what a fresh overflow was missed by.
    pub(super) fn rescans(&self) -> u64 {
        self.rescans
    }

    /// A lane with this overflow left memory: the rescan under way need not wait for it.
    pub(super) fn lane_left(&mut self, overflow: Option<Overflow>) {
        if let (Some(rescan), Some(overflow)) = (&mut self.rescan, overflow)
            && overflow.missed_by != rescan.number
        {
            rescan.open = rescan.open.saturating_sub(1);
        }
    }

    pub(super) fn position(&self) -> Offset {
        self.position
    }

    /// Everything below counts as read, and what was asked for is not wanted any more.
    pub(super) fn move_to(&mut self, to: Offset) {
        self.position = self.position.max(to);
        self.asked = None;
        self.rescan = None;
        let position = self.position;
        self.behind = self.behind.map(|from| from.map(|from| from.max(to)).filter(|from| *from < position));
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
        self.shed();
        let wants_special = self.wants_special(now);
        match self.reads.asked {
            None => {
                let room = match self.run.drain_to {
                    None => self.room(),
                    Some(_) => self.readable(self.next_unknown(self.reads.position), self.room()),
                };
                if wants_special && (self.reads.specials > 0 || room == 0) {
                    self.ask_special(now, step);
                } else if room > 0 {
                    self.ask_frontier(now, room, step);
                }
            }
            Some(Asked::Frontier { at, .. }) => {
                if wants_special && now >= at.after(PATIENCE) {
                    self.reads.specials = SPECIAL_RUN_MAX;
                    self.ask_special(now, step);
                }
            }
            Some(Asked::Rescan { .. } | Asked::CatchUp { .. }) => {}
        }
    }

    /// When a read that is wanted can be asked for: patience with the one at the frontier ends, and so does the rest after a rescan.
    pub(super) fn next_special(&self) -> Option<Timestamp> {
        if self.paused.is_some() || !self.wants_special(Timestamp::NEVER) {
            return None;
        }
        let wanted = if self.wants_special(Timestamp(0)) { Timestamp(0) } else { self.reads.rest_until };
        match self.reads.asked {
            Some(Asked::Frontier { at, .. }) => Some(at.after(PATIENCE).max(wanted)),
            // Asked for by every input, except that a rest ends by itself.
            None if wanted > Timestamp(0) => Some(wanted),
            Some(Asked::Rescan { .. } | Asked::CatchUp { .. }) | None => None,
        }
    }

    fn wants_special(&self, now: Timestamp) -> bool {
        self.wants_rescan(now) || self.catch_up_from().is_some()
    }

    fn wants_rescan(&self, now: Timestamp) -> bool {
        self.reads.rescan.is_some() || (self.reads.is_hungry && now >= self.reads.rest_until)
    }

    /// The bound of memory that is reached, if one is.
    pub(super) fn full_bound(&self) -> Option<Bound> {
        if self.lanes.queued() >= self.bounds.queued_max {
            Some(Bound::Queued)
        } else if self.lanes.busy() >= self.bounds.lanes_max {
            Some(Bound::Lanes)
        } else {
            (self.waits.unstored() >= self.bounds.waiting_max.max(1)).then_some(Bound::Waiting)
        }
    }

    fn ask_frontier(&mut self, now: Timestamp, room: usize, step: &mut Step) {
        let from = self.next_unknown(self.reads.position);
        self.reads.position = from;
        self.reads.asked = Some(Asked::Frontier { from, at: now });
        self.reads.specials = 1;
        step.immediate.push(Action::Read { from, events_max: u32::try_from(room).unwrap_or(u32::MAX) });
    }

    /// The first offset from here on that has to be read: after a restart, what is settled or spilled needs no second look.
    pub(super) fn next_unknown(&self, from: Offset) -> Offset {
        let mut at = from;
        loop {
            let unsettled = self.cursor.next_unsettled(at);
            at = self.spilled.next_unrecovered(unsettled);
            if at == unsettled {
                return at;
            }
        }
    }

    fn ask_special(&mut self, now: Timestamp, step: &mut Step) {
        let catch_up = self.catch_up_from();
        let wants_rescan = self.wants_rescan(now);
        let is_turn = self.reads.is_catch_up_turn || !wants_rescan;
        self.reads.is_catch_up_turn = !is_turn;
        let (asked, from) = match catch_up.filter(|_| is_turn) {
            Some(from) => (Asked::CatchUp { from }, from),
            None if !wants_rescan => return,
            None => match self.rescan_from(now) {
                Some(from) => (Asked::Rescan { from }, from),
                None => return,
            },
        };
        self.reads.asked = Some(asked);
        self.reads.specials = self.reads.specials.saturating_sub(1);
        step.immediate.push(Action::Read { from, events_max: RESCAN_EVENTS_MAX });
    }

    /// Where the rescan goes on, or begins.
    fn rescan_from(&mut self, now: Timestamp) -> Option<Offset> {
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
        self.reads.rescan = Some(Rescan { number, at, open, since: now });
        Some(at)
    }

    /// The answer to a read.
    pub(super) fn take_events(
        &mut self,
        now: Timestamp,
        from: Offset,
        events: &[StoredEvent],
        next: Offset,
        step: &mut Step,
    ) {
        match self.reads.asked {
            Some(Asked::Frontier { from: asked, .. }) if asked == from => {
                self.reads.asked = None;
                self.take_new(from, events, next, step);
            }
            Some(Asked::Rescan { from: asked }) if asked == from => {
                self.reads.asked = None;
                self.take_again(now, from, events, next, step);
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
        let next = self.readable_end(next);
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
        // What catching up will read again must still be known then.
        let behind = self.reads.behind.iter().flatten().min();
        self.spilled.passed(behind.copied().unwrap_or(self.reads.position));
    }

    /// Counts offsets that are nobody's event here as settled.
    fn skip_absent(&mut self, from: Offset, to: Offset, step: &mut Step) {
        if from >= to {
            return;
        }
        while let Some(offset) = self.spilled.take_stray_within(from, to) {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        // What is spilled is still to be delivered, whatever the subscription covers by now.
        let mut at = from;
        while let Some(spilled) = self.spilled.next_recovered(at, to) {
            self.cursor.skip(at, spilled);
            at = spilled.next();
        }
        if at < to {
            self.cursor.skip(at, to);
        }
    }

    pub(super) fn wants(&self, event: &StoredEvent) -> bool {
        !event.is_scheduled()
            && !event.event.is_erased()
            && (self.spec.redelivery == Some(event.topic)
                || (self.topics.binary_search(&event.topic).is_ok() && self.matcher.matches(&event.event)))
    }

    pub(super) fn admit(&mut self, event: &StoredEvent) {
        let offset = event.position.offset;
        if self.cursor.is_settled(offset) || self.spilled.is_recovered(offset) {
            return;
        }
        let is_stray = self.spilled.is_stray(offset);
        if !is_stray && !self.wants(event) {
            self.cursor.skip(offset, offset.next());
            return;
        }
        let key = match self.spec.ordering {
            Ordering::ByKey => event.event.key(),
            Ordering::None => None,
        };
        let class = event.event.class();
        let Some(key) = key else {
            self.spilled.unlane_stray(offset);
            match self.spilled.take_stray(offset) {
                None => {
                    self.note_expiry(event);
                    self.make_ready(class, Item { offset, lane: None }, Ready::push);
                }
                Some(due) => self.spill(offset, class, None, due),
            }
            return;
        };
        let hash = self.lanes.hash_of(key, class);
        if self.spilled.follow(hash, offset) {
            return;
        }
        let id = self.lanes.open_hashed(hash, key, class);
        let joined = self.lanes.join(id, offset, self.reads.rescans);
        if joined != Joined::Overflowed {
            self.note_expiry(event);
        }
        match joined {
            Joined::Head => self.proceed(id),
            Joined::Behind => {}
            Joined::Overflowed => {
                // A class that catches up brings events that a rescan under way may have passed already.
                let number = self.reads.rescans;
                if let Some(overflow) = &mut self.lanes.get_mut(id).overflow {
                    overflow.missed_by = number;
                }
            }
        }
    }

    fn take_again(&mut self, now: Timestamp, from: Offset, events: &[StoredEvent], next: Offset, step: &mut Step) {
        // What lies beyond the frontier comes with the read of the frontier, once.
        let position = self.reads.position;
        let next = next.min(position);
        let mut held = None;
        for event in events {
            let offset = event.position.offset;
            if offset < from || offset >= next || self.cursor.is_settled(offset) {
                continue;
            }
            if event.event.is_erased() {
                let held = held.get_or_insert_with(|| self.held_in(from, next));
                if !held.contains(&offset) {
                    self.pass_erased(event, step);
                }
            } else {
                self.readmit(event, step);
            }
        }
        let Some(rescan) = &mut self.reads.rescan else { return };
        rescan.at = next;
        let (number, took) = (rescan.number, now.since(rescan.since));
        if next >= position {
            self.lanes.clear_overflows(number);
        } else if rescan.open > 0 {
            return;
        }
        self.reads.rescan = None;
        self.reads.rest_until = now.after(took);
        self.reads.is_hungry = self.lanes.overflowed().iter().any(|id| self.lanes.is_hungry(*id));
    }

    /// What is left of an event says nothing of its lane any more: if it is not in memory by its offset, it overflowed, or follows a
    /// spilled head, and whoever waits for it must find it settled.
    fn pass_erased(&mut self, event: &StoredEvent, step: &mut Step) {
        let offset = event.position.offset;
        if is_planted(Bug::ErasedBlocksItsKey) || self.is_for_catching_up(event) {
            return;
        }
        if self.spilled.is_stray(offset) {
            self.admit(event);
        } else {
            self.skip_absent(offset, offset.next(), step);
        }
    }

    /// Unsettled offsets of a run that are in memory one by one. Walks all there are, so once for each answer at most.
    fn held_in(&self, from: Offset, to: Offset) -> BTreeSet<Offset> {
        let queued = self.lanes.iter().flat_map(Lane::queued);
        let unwanted = self.unwanted.iter().map(|unwanted| unwanted.item.offset);
        let leased = self.leases.below(to).into_iter().map(|lease| lease.offset);
        let all = queued.chain(unwanted).chain(leased).chain(self.ready.offsets()).chain(self.waits.offsets());
        let spilled = self.spilled.within(from, to);
        all.chain(spilled).filter(|offset| from <= *offset && *offset < to).collect()
    }

    /// Gives an event that overflowed back to its lane, if that has room.
    fn readmit(&mut self, event: &StoredEvent, step: &mut Step) {
        let offset = event.position.offset;
        let Some(number) = self.reads.rescan.map(|rescan| rescan.number) else { return };
        let lane = event.event.key().and_then(|key| self.lanes.find(key, event.event.class()));
        let Some(id) = lane else { return };
        let is_its_turn = |overflow: Overflow| overflow.missed_by != number && offset >= overflow.from;
        let lane = self.lanes.get(id);
        let is_queued = lane.head() == Some(offset);
        if is_queued || !lane.overflow.is_some_and(is_its_turn) || self.is_for_catching_up(event) {
            return;
        }
        if !self.spilled.is_stray(offset) && !self.wants(event) {
            // The filter changed since the event was read first.
            self.skip_absent(offset, offset.next(), step);
            return;
        }
        self.lanes.name(id, event.event.key().unwrap_or_default());
        let Some(joined) = self.lanes.rejoin(id, offset) else { return };
        if joined != Joined::Overflowed {
            self.note_expiry(event);
        } else {
            if let Some(rescan) = &mut self.reads.rescan {
                rescan.open = rescan.open.saturating_sub(1);
            }
            if let Some(overflow) = &mut self.lanes.get_mut(id).overflow {
                overflow.missed_by = number;
            }
        }
        if joined == Joined::Head {
            self.proceed(id);
        }
    }
}
