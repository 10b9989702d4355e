//! Scheduled events of the simulated bus: their rows on disk, the release of what is due, and what must hold of both.
//!
//! Holds no decision. Invariant: what a batch must hold together is looked at when the batch was applied.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::admission::Released;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, TopicId};
use bugle_core::row::{Fate, FateRow, ScheduledTotals};
use bugle_core::schedule::{Due, DuePage, ScheduledName, ScheduledQuery};
use bugle_core::step::Write;
use bugle_random::Random;

use crate::bus::Item;
use crate::rule::{self, Checked, broken, must};
use crate::timer;
use crate::world::World;

/// Events of one release: few, so that there are several.
const PAGE: usize = 3;

/// The rows of one state of the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    due: BTreeMap<Due, StoredEvent>,
    fates: BTreeMap<Offset, FateRow>,
    totals: BTreeMap<TopicId, ScheduledTotals>,
    /// Rows that ended by a release less copies: both come in one batch, so this is empty between two.
    unreleased: BTreeMap<Offset, i64>,
}

impl Schedule {
    /// Whether nothing waits for its time.
    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// One that waits.
    pub(crate) fn pick(&self, random: &mut Random) -> Option<StoredEvent> {
        let at = random.below(self.due.len() as u64 + 1) as usize;
        self.due.values().nth(at).cloned()
    }

    /// Those of a name.
    pub(crate) fn of(&self, query: ScheduledQuery<'_>) -> impl Iterator<Item = StoredEvent> {
        self.due.values().filter(move |event| query.is_of(event)).cloned()
    }

    /// How many of a topic wait.
    pub(crate) fn waiting(&self, topic: TopicId) -> u64 {
        self.totals.get(&topic).map_or(0, |totals| totals.waiting)
    }

    pub(crate) fn totals(&self) -> impl Iterator<Item = (TopicId, ScheduledTotals)> {
        self.totals.iter().map(|(topic, totals)| (*topic, *totals))
    }

    pub(crate) fn apply(&mut self, write: &Write) -> Checked {
        match write {
            Write::Scheduled(event) => {
                let due = Due::of(event).expect("only an event with a time is scheduled");
                self.due.insert(due, event.clone());
            }
            Write::ScheduleEnded { event, row } => {
                let due = Due::of(event).expect("only an event with a time is scheduled");
                let was_there = self.due.remove(&due).is_some();
                let is_first = self.fates.insert(due.offset, *row).is_none();
                let what = || format!("{} ends although it does not wait", due.offset);
                must(rule::SCHEDULED_ENDS_WITH_ITS_COPY, was_there && is_first, what)?;
                if matches!(row.fate, Fate::Released { .. }) {
                    self.balance(due.offset, 1);
                }
                let is_right = row.fate != Fate::Expired || event.event.is_expired(row.at);
                must(rule::EXPIRED_IS_PAST, is_right, || format!("{} ended as expired at {}", due.offset, row.at.0))?;
            }
            Write::ScheduledTotals { topic, row } => drop(self.totals.insert(*topic, *row)),
            Write::FatesBelow { floor } => self.fates = self.fates.split_off(floor),
            _ => {}
        }
        Ok(())
    }

    /// An event was added to the log.
    pub(crate) fn stored(&mut self, event: &StoredEvent) -> Checked {
        let timing = event.event.timing();
        let Some(original) = timing.released_from else { return Ok(()) };
        self.balance(original.offset, -1);
        let is_due = timing.deliver_at.is_some_and(|at| at <= event.received);
        let what = || format!("the copy {} of {original} was stored at {}", event.position, event.received.0);
        must(rule::NOT_BEFORE_ITS_TIME, is_due, what)
    }

    fn balance(&mut self, offset: Offset, by: i64) {
        let balance = self.unreleased.entry(offset).or_insert(0);
        *balance += by;
        if *balance == 0 {
            self.unreleased.remove(&offset);
        }
    }

    /// After a batch: each released row has its one copy, and the totals are those of the rows.
    pub(crate) fn check_batch(&self) -> Checked {
        if let Some((offset, balance)) = self.unreleased.iter().next() {
            let what = format!("{offset}: rows that ended less copies are {balance} after a batch");
            return broken(rule::SCHEDULED_ENDS_WITH_ITS_COPY, what);
        }
        let mut timers = BTreeSet::new();
        for event in self.due.values().filter(|event| timer::is_timer(event)) {
            let is_alone = timers.insert((event.topic, event.event.key()));
            must(rule::TIMER_IS_ONE, is_alone, || {
                format!("{:?} of topic {} waits twice", event.event.key(), event.topic)
            })?;
        }
        let waiting: u64 = self.totals.values().map(|totals| totals.waiting).sum();
        let what = || format!("{} wait, and the totals say {waiting}", self.due.len());
        must(rule::SCHEDULED_ENDS_WITH_ITS_COPY, waiting == self.due.len() as u64, what)
    }
}

impl World {
    /// Asks for a release when it is time.
    pub(crate) fn release_if_due(&mut self) {
        if self.releases.ask(self.bus.now) {
            self.bus.queue.push_back(Item::Release);
        }
    }

    /// Cancels on the committer's turn: an event, or all of its key. Whatever was released meanwhile stays so.
    pub(crate) fn cancel(&mut self, event: &StoredEvent, by_key: bool, batch: &mut Vec<Write>) {
        let (source, id) = (event.event.source(), event.event.id());
        let by_key = event.event.key().filter(|_| by_key).map(ScheduledName::Key);
        let query = ScheduledQuery { topic: event.topic, name: by_key.unwrap_or(ScheduledName::Id { source, id }) };
        let found = self.bus.disk.written.schedule.of(query).collect();
        let cancelled = self.admission.cancel(self.bus.now, query, found, batch);
        self.bus.note(|| format!("{cancelled} of {query:?} are cancelled"));
    }

    /// Releases a page, on the committer's turn.
    pub(crate) fn release(&mut self, batch: &mut Vec<Write>) -> Released {
        let now = self.bus.now;
        let due = &self.bus.disk.written.schedule.due;
        let from = self.admission.scheduled_from();
        let is_due = |(due, _): &(&Due, &StoredEvent)| due.at <= now;
        let events: Vec<StoredEvent> =
            due.range(from..).take(PAGE).take_while(is_due).map(|(_, event)| event.clone()).collect();
        let after = events.last().and_then(Due::of).map_or(from, Due::next);
        let next = due.range(after..).next().map(|(due, _)| *due);
        self.admission.release(now, DuePage { events, next }, batch)
    }
}
