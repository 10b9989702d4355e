//! Scheduled events in the sequencer: what is added and ended in the group that is being built, and their totals.
//!
//! The rows are in the store; a driver reads them on the committer's thread, so what it finds is all of the earlier groups, and
//! this file knows the current one. That makes the committer's order the order of release, cancel and replacement.
//!
//! Invariant: a scheduled event ends once, in the batch that holds what explains its end.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::Admission;
use crate::event::{Event, StoredEvent, Timing};
use crate::ids::{Offset, Position, TopicId};
use crate::row::{Fate, FateRow, ScheduledTotals};
use crate::schedule::{Due, DuePage, ScheduledName, ScheduledQuery};
use crate::seeded::{Bug, is_planted};
use crate::step::Write;
use crate::time::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    totals: HashMap<TopicId, ScheduledTotals>,
    /// Topics whose totals moved in this group.
    moved: BTreeSet<TopicId>,
    /// Nothing waits below: rows that were deleted there need not be passed over again.
    from: Due,
    /// [`Schedule::from`] once this group is durable.
    reached: Option<Due>,
    /// Scheduled in this group, with the hash of their keys: a look at a number for each is cheap.
    added: Vec<(Option<u64>, StoredEvent)>,
    /// Ended in this group.
    ended: HashMap<Offset, FateRow>,
    /// When the first of those added in the latest durable group is due.
    news: Option<Timestamp>,
    /// Only ever filled by a seeded bug: copies held back to the next group, and to the one under way.
    held_back: [Vec<(TopicId, Event)>; 2],
}

/// What a release did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Events released.
    pub events: u32,
    /// When the first event that is left is due.
    pub next: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn load(&mut self, topic: TopicId, totals: ScheduledTotals) {
        self.totals.insert(topic, totals);
    }

    /// Notes an event that was just stored.
    pub(super) fn stored(&mut self, event: &StoredEvent, writes: &mut Vec<Write>) {
        if !event.is_scheduled() {
            return;
        }
        let key = event.event.key().map(|key| ScheduledName::Key(key).hash());
        self.added.push((key, event.clone()));
        self.totals.entry(event.topic).or_default().add();
        self.moved.insert(event.topic);
        writes.push(Write::Scheduled(event.clone()));
    }

    fn is_ended(&self, offset: Offset) -> bool {
        self.ended.contains_key(&offset)
    }

    fn end(&mut self, event: StoredEvent, row: FateRow, writes: &mut Vec<Write>) {
        assert!(!self.is_ended(event.position.offset), "a scheduled event ends once");
        self.ended.insert(event.position.offset, row);
        self.totals.entry(event.topic).or_default().end(row.fate);
        self.moved.insert(event.topic);
        writes.push(Write::ScheduleEnded { event, row });
    }

    /// Ends what still waits of a name, in the order of release: the rows found in the store, and what this group added.
    fn end_all(
        &mut self,
        query: ScheduledQuery<'_>,
        found: Vec<StoredEvent>,
        row: FateRow,
        writes: &mut Vec<Write>,
    ) -> u32 {
        let key = if let ScheduledName::Key(_) = query.name { Some(query.name.hash()) } else { None };
        let added = self.added.iter().filter(|(hash, event)| (key.is_none() || *hash == key) && query.is_of(event));
        let added = added.map(|(_, event)| event.clone());
        let all: Vec<StoredEvent> = found.into_iter().filter(|event| query.is_of(event)).chain(added).collect();
        let mut ended = 0;
        for event in all {
            // What replaces the others may be scheduled itself.
            let is_itself = row.fate == Fate::Replaced { by: event.position };
            if !is_itself && !self.is_ended(event.position.offset) {
                self.end(event, row, writes);
                ended += 1;
            }
        }
        ended
    }

    pub(super) fn seal(&mut self, writes: &mut Vec<Write>) {
        for topic in core::mem::take(&mut self.moved) {
            let row = self.totals.get(&topic).copied().unwrap_or_default();
            writes.push(Write::ScheduledTotals { topic, row });
        }
    }

    pub(super) fn committed(&mut self) {
        self.from = self.reached.take().unwrap_or(self.from);
        let first = self.added.iter().filter_map(|(_, event)| Due::of(event)).min();
        if let Some(first) = first {
            // The clock may have passed it while its batch was written.
            self.from = self.from.min(first);
            self.news = Some(self.news.map_or(first.at, |at| at.min(first.at)));
        }
        self.added.clear();
        self.ended.clear();
    }
}

impl Admission {
    /// From where on the store is read for [`release`](Self::release).
    #[must_use]
    pub fn scheduled_from(&self) -> Due {
        self.schedule.from
    }

    /// When the first of what was scheduled since the last call is due; asked after [`committed`](Self::committed).
    pub fn take_scheduled(&mut self) -> Option<Timestamp> {
        self.schedule.news.take()
    }

    /// Releases what is due of a page that was read from [`scheduled_from`](Self::scheduled_from) on, just now: each event gets a
    /// copy at the log's end, unless its time has passed by then, and its row goes.
    pub fn release(&mut self, now: Timestamp, page: DuePage, writes: &mut Vec<Write>) -> Released {
        let mut released = Released::default();
        let mut next = page.next;
        for event in page.events {
            let Some(due) = Due::of(&event) else { continue };
            if due.at > now {
                // Never early, whoever read the page.
                next = Some(due);
                break;
            }
            if !self.schedule.is_ended(due.offset) {
                let is_expired = event.event.is_expired(now);
                self.release_one(now, event, writes);
                released.events += u32::from(!is_expired);
            }
            self.schedule.reached = Some(due.next());
        }
        if let Some(next) = next {
            self.schedule.reached = Some(next);
        }
        released.next = next.map(|due| due.at);
        released
    }

    fn release_one(&mut self, now: Timestamp, event: StoredEvent, writes: &mut Vec<Write>) {
        if event.event.is_expired(now) {
            // Late, after a down-time say: a copy would only be read to expire in every subscription.
            self.schedule.end(event, FateRow { fate: Fate::Expired, at: now }, writes);
            return;
        }
        let timing = Timing { released_from: Some(event.position), ..event.event.timing() };
        let copy = event.event.timed(timing);
        let to = if is_planted(Bug::ScheduledRowDeletedFirst) {
            self.schedule.held_back[0].push((event.topic, copy));
            Position { slot: self.slot, offset: self.next }
        } else {
            self.append(now, event.topic, copy, writes)
        };
        self.schedule.end(event, FateRow { fate: Fate::Released { to }, at: now }, writes);
    }

    /// Cancels the scheduled events of a name: those that the store has, read just now, and those of this group. Returns how many.
    pub fn cancel(
        &mut self,
        now: Timestamp,
        query: ScheduledQuery<'_>,
        found: Vec<StoredEvent>,
        writes: &mut Vec<Write>,
    ) -> u32 {
        let row = FateRow { fate: Fate::Cancelled, at: now };
        self.schedule.end_all(query, found, row, writes)
    }

    /// Sets a timer of a plugin, or ends it, in the place of what still waits of it: what the store has, read just now, and what this group
    /// added. One that is due already is stored as an event that is not scheduled, and fires at once.
    pub fn set_timer(
        &mut self,
        now: Timestamp,
        query: ScheduledQuery<'_>,
        found: Vec<StoredEvent>,
        event: Option<Event>,
        writes: &mut Vec<Write>,
    ) {
        if event.is_none() || !is_planted(Bug::TimerSetBesideAnother) {
            self.cancel(now, query, found, writes);
        }
        match event {
            Some(event) if is_planted(Bug::TimerAfterAck) => {
                self.schedule.held_back[0].push((query.topic, event));
            }
            Some(event) => drop(self.append(now, query.topic, event, writes)),
            None => {}
        }
    }

    /// An event was stored that takes the place of the scheduled ones of its key.
    pub(super) fn replace(
        &mut self,
        now: Timestamp,
        by: Position,
        query: ScheduledQuery<'_>,
        found: Vec<StoredEvent>,
        writes: &mut Vec<Write>,
    ) {
        self.schedule.end_all(query, found, FateRow { fate: Fate::Replaced { by }, at: now }, writes);
    }

    /// How a scheduled event ended in this group, of which the store knows nothing yet.
    #[must_use]
    pub fn fate(&self, offset: Offset) -> Option<FateRow> {
        self.schedule.ended.get(&offset).copied()
    }

    /// Only a seeded bug holds anything back.
    pub(super) fn append_held_back(&mut self, now: Timestamp, writes: &mut Vec<Write>) {
        let [gathering, before] = &mut self.schedule.held_back;
        let late = core::mem::replace(before, core::mem::take(gathering));
        for (topic, copy) in late {
            self.append(now, topic, copy, writes);
        }
    }
}
