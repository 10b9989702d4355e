//! The machine of one subscription in one slot: which event is delivered when, how often, and how far the cursor is.
//!
//! A driver makes it from its rows ([`Machine::recover`]), hands in one [`Input`] after another ([`Machine::handle`], all into one
//! step), adds the cursor with [`Machine::seal`], commits the step's writes and then runs its actions; it ticks the machine at
//! [`Machine::next_wakeup`]. At most [`STEPS_OUTSTANDING_MAX`] sealed steps may be on their way to the disk, in order. The
//! machine knows nothing of plugins, disks and clocks, and keeps no event: only offsets.
//!
//! Invariant: what is settled is never delivered again; per key one delivery at a time and in order; and recovering from all
//! rows written so far gives the same unsettled deliveries with the same attempts spent.

mod backlog;
mod batch;
mod behind;
mod bounds;
mod charge;
mod dispose;
mod due_heap;
mod expiry;
mod explain;
mod finish;
mod heads;
mod holds;
mod image;
mod kept;
mod late;
mod leases;
mod letters;
mod offset_set;
mod outcome;
mod read;
mod records;
mod run;
mod seek;
mod spill;
mod spilled;
mod start;
mod status;
mod unknowns;
mod waits;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::backoff::Jitter;
use crate::cursor::Cursor;
use crate::delivery::Verdict;
use crate::event::{Class, StoredEvent};
use crate::flow::Flow;
use crate::ids::{Offset, Position, Revision, Slot, Ticket, TopicId};
use crate::lane::Lanes;
use crate::matcher::Matcher;
use crate::row::{
    ChannelRow, CursorChunk, CursorRow, DeadTotals, HoldRow, LetGoRow, PausedRow, RunRow, UnknownTotals, WaitingRow,
};
use crate::seeded::{Bug, is_planted};
use crate::spec::{BacklogCap, Subscription};
use crate::step::{Action, LoadNumber, Step, Write};
use crate::time::{Millis, Timestamp};
pub use backlog::LogExtent;
use batch::Batches;
pub use bounds::Bounds;
use expiry::Expiries;
pub use explain::{Answer, Bound, Explained, Gate, LaneExplained, Question, Standing};
pub use image::Image;
use kept::Shelf;
pub use kept::{KeptFacts, KeptState, Trimmed};
pub use late::{LateCounts, LateSends};
use leases::Leases;
pub use letters::{DecideError, Decision};
pub(crate) use outcome::{Told, tell};
use read::Reads;
pub use run::{BOOST_MAX, DRAINED};
use spilled::Spilled;
use start::{Ready, Unwanted};
pub use status::Status;
pub use unknowns::{Resolution, ResolveError, Resolved};
use waits::Waits;

/// Sealed steps that may be on their way to the disk at once. The machine counts on it: a lane whose latest settlement is this
/// many seals old is durable. More would delay keyed events without making commits larger.
pub const STEPS_OUTSTANDING_MAX: u64 = 8;

/// The rows of one subscription, as the store has them.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Floor; a new subscription has it where it shall start.
    pub cursor: CursorRow,
    /// Settled offsets above it.
    pub chunks: Vec<(u64, CursorChunk)>,
    /// Deliveries that wait, in the order of their offsets; where there can be many, [`Machine::remember`] takes them one by one.
    pub waiting: Vec<(Offset, WaitingRow)>,
    /// Closed lanes.
    pub holds: Vec<(String, Class, HoldRow)>,
    /// Whether it is paused.
    pub paused: Option<PausedRow>,
    /// How its channel is.
    pub channel: Option<ChannelRow>,
    /// Its dead letters in numbers.
    pub dead: DeadTotals,
    /// Its unknown results in numbers.
    pub unknown: UnknownTotals,
    /// Whether it drains or is boosted.
    pub run: Option<RunRow>,
    /// The latest row of what it let go.
    pub let_go: Option<LetGoRow>,
}

impl Recovered {
    /// The rows of a new subscription that starts here.
    #[must_use]
    pub fn at(floor: Offset) -> Recovered {
        Recovered {
            cursor: CursorRow { floor },
            chunks: Vec::new(),
            waiting: Vec::new(),
            holds: Vec::new(),
            paused: None,
            channel: None,
            dead: DeadTotals::default(),
            unknown: UnknownTotals::default(),
            run: None,
            let_go: None,
        }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The answer to the latest [`Action::Read`].
    Events {
        /// The offset that was asked for. An answer to any other read than the latest is dropped.
        from: Offset,
        /// Every event of the log in `from..next`, in order; events of topics that the subscription does not cover may be
        /// left out.
        events: &'a [StoredEvent],
        /// How far the answer goes; beyond `from`.
        next: Offset,
    },
    /// A call ended.
    Finished {
        /// Its lease.
        ticket: Ticket,
        /// Its event.
        event: StoredEvent,
        /// What it came to.
        verdict: Verdict,
        /// Rows that land in the same batch as the verdict, if the lease is still live.
        writes: Vec<Write>,
        /// Keep the lane closed this long if this settles the delivery.
        hold: Option<Millis>,
        /// Pause the subscription, with the reason.
        pause: Option<String>,
    },
    /// The answer to an [`Action::Load`].
    Loaded {
        /// The load.
        number: LoadNumber,
        /// Row and event; `None` if one of them is not in the store, which pauses the subscription.
        found: Option<(WaitingRow, StoredEvent)>,
    },
    /// The answer to an [`Action::Fetch`], or why an [`Action::Invoke`] could not be done.
    Fetched {
        /// Its lease.
        ticket: Ticket,
        /// The event; `None` if it cannot be had: that pauses the subscription, since loss is never silent.
        event: Option<StoredEvent>,
    },
    /// Time went by.
    Tick,
    /// Stop starting deliveries; those in flight end.
    Pause {
        /// `operator` or `host`.
        by: String,
        /// For people.
        reason: String,
    },
    /// Go on. If the breaker is open, probe at once.
    Resume,
    /// Read nothing new, finish what was read, then pause. Nothing to one that is paused.
    Drain,
    /// Work faster until everything below an offset was read and started.
    Boost {
        /// Times the concurrency; 1 ends a boost.
        factor: u32,
        /// The end of the log now.
        until: Offset,
    },
    /// Go on at another place of the log, at most its end: forward everything unsettled before it is let go, backward everything
    /// from there on is delivered again.
    Seek {
        /// There.
        to: Offset,
    },
    /// How long the log is, now and then: the backlog is compared with its cap.
    Log(LogExtent),
    /// A cancelled attempt was never handed to the plugin.
    NeverRan {
        /// Its ticket.
        ticket: Ticket,
    },
    /// A topic that matches a pattern is about to be created: its events are covered from the first one on.
    Cover(TopicId),
    /// The cause of an open breaker may be gone, such as by a new revision of the plugin: probe at once.
    Probe,
    /// A new definition. Topics and filter apply to events read from now on, the ordering when the machine is recovered next,
    /// everything else at once.
    Reconfigure(Subscription),
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    spec: Subscription,
    /// The spec's topics, sorted.
    topics: Vec<TopicId>,
    /// The spec's filter, compiled.
    matcher: Matcher,
    slot: Slot,
    bounds: Bounds,
    jitter: Jitter,
    cursor: Cursor,
    lanes: Lanes,
    ready: Ready,
    leases: Leases,
    batches: Batches,
    waits: Waits,
    expiries: Expiries,
    spilled: Spilled,
    reads: Reads,
    /// Deliveries that are not to be attempted, but whose event must be fetched before they can be disposed of.
    unwanted: VecDeque<Unwanted>,
    /// Deliveries that no degrade rule may hand on or drop: they came from another subscription already.
    staying: BTreeSet<Offset>,
    flow: Flow,
    /// The time of the latest input.
    now: Timestamp,
    letters: Shelf<DeadTotals>,
    /// Deliveries given up since the recovery.
    buried: u64,
    unknowns: Shelf<UnknownTotals>,
    late: LateCounts,
    paused: Option<PausedRow>,
    run: RunRow,
    cancelled: Vec<seek::Cancelled>,
    /// The seal that writes the latest seek or expiry: what comes behind it starts only after that.
    moved_in: Option<u64>,
    is_backlog_full: bool,
    let_go: Option<LetGoRow>,
    /// A write of the gathering step must be durable before anything starts.
    must_commit: bool,
    /// Sealed steps so far.
    seals: u64,
    stale_ends: u64,
    /// Only ever filled by a seeded bug: rows held back from the gathering step, and from the one before.
    held_back: [Vec<Write>; 2],
}

impl Machine {
    /// The machine of these rows. What was in flight is ready again, with no attempt spent.
    #[must_use]
    pub fn recover(spec: Subscription, slot: Slot, seed: u64, rows: Recovered) -> Machine {
        Machine::recover_bounded(spec, slot, seed, rows, Bounds::default())
    }

    /// [`Machine::recover`] with other bounds: for small hosts and for tests that want to reach them.
    #[must_use]
    pub fn recover_bounded(spec: Subscription, slot: Slot, seed: u64, rows: Recovered, bounds: Bounds) -> Machine {
        let cursor = Cursor::recover(rows.cursor, rows.chunks);
        let position = cursor.floor();
        let mut machine = Machine {
            topics: sorted(&spec.topics),
            matcher: Matcher::new(&spec.filter),
            jitter: Jitter::new(seed, spec.id),
            lanes: Lanes::new(seed, bounds.lane_queue_max.max(1)).with_hash_bits(bounds.lane_hash_bits),
            ready: Ready::default(),
            leases: Leases::new(seed, spec.id, slot),
            batches: Batches::default(),
            waits: Waits::default(),
            expiries: Expiries::default(),
            spilled: Spilled::new(seed),
            reads: Reads::new(position),
            unwanted: VecDeque::new(),
            staying: BTreeSet::new(),
            flow: Flow::recover(&spec.protection, Jitter::new(seed, spec.id), rows.channel),
            now: Timestamp(0),
            letters: Shelf::new(rows.dead),
            buried: 0,
            unknowns: Shelf::new(rows.unknown),
            late: LateCounts::default(),
            paused: rows.paused,
            run: rows.run.unwrap_or_default(),
            cancelled: Vec::new(),
            moved_in: None,
            is_backlog_full: false,
            let_go: rows.let_go,
            must_commit: false,
            seals: 0,
            stale_ends: 0,
            held_back: [Vec::new(), Vec::new()],
            spec,
            slot,
            bounds,
            cursor,
        };
        for (key, class, HoldRow { until }) in rows.holds {
            let lane = machine.lanes.open(&key, class);
            machine.close(lane, until);
        }
        for (offset, row) in &rows.waiting {
            machine.remember(*offset, row);
        }
        machine
    }

    /// Handles one input; several may go into one step.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>, step: &mut Step) {
        self.now = now;
        self.flow.settle(now);
        match input {
            Input::Events { from, events, next } => self.take_events(now, from, events, next, step),
            Input::Finished { ticket, event, verdict, writes, hold, pause } => {
                if let Some(end) = self.admit_end(ticket, event, writes, hold, step) {
                    self.end(now, end, verdict, step);
                    if let Some(reason) = pause {
                        self.pause(now, "plugin".into(), reason, step);
                    }
                }
            }
            Input::Loaded { number, found } => self.take_loaded(now, number, found, step),
            Input::Fetched { ticket, event } => self.fetched(now, ticket, event, step),
            Input::Tick => {}
            Input::Pause { by, reason } => self.pause(now, by, reason, step),
            Input::Resume => self.resume(step),
            Input::Drain => self.drain(step),
            Input::Boost { factor, until } => self.boost_until(factor, until, step),
            Input::Seek { to } => self.seek(now, to, step),
            Input::Log(log) => self.check_backlog(now, log, step),
            Input::NeverRan { ticket } => self.forget_cancelled(ticket),
            Input::Cover(topic) => self.cover(topic),
            Input::Probe => self.flow.probe_now(now),
            Input::Reconfigure(spec) => self.reconfigure(now, spec),
        }
        self.wake(now, step);
        self.look_after_kept(now, step);
        self.start(now, step);
        self.end_run(now, step);
        self.load_due(now, step);
        self.ask(now, step);
        if self.flow.take_changed() && !is_planted(Bug::BreakerOnlyInMemory) {
            step.writes.push(Write::Channel { subscription: self.spec.id, row: self.flow.row() });
        }
        self.must_commit = false;
    }

    /// Adds the cursor's rows to a step that is about to be committed.
    pub fn seal(&mut self, step: &mut Step) {
        self.cursor.seal(self.spec.id, &mut step.writes);
        self.flow.ages.forget_below(self.cursor.floor());
        self.seal_kept(step);
        self.close_batch_of_step();
        let [gathering, before] = &mut self.held_back;
        step.writes.append(before);
        before.append(gathering);
        if !step.writes.is_empty() {
            self.seals += 1;
            self.lanes.forget_ended(self.seals.saturating_sub(STEPS_OUTSTANDING_MAX));
        }
    }

    /// When the machine wants a [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let own = [self.waits.next_alarm(), self.leases.next_check(), self.next_special()];
        let alarms = own.into_iter().chain([self.next_load(), self.next_expiry()]);
        // While it is paused nothing may start, and what the channel does then is found out at the resume.
        let flow = if self.paused.is_none() { self.flow.next_wakeup(Some(self.now)) } else { None };
        let kept = [self.letters.next_check(), self.unknowns.next_check()];
        alarms.chain(kept).chain([flow, self.next_cancelled()]).flatten().min()
    }

    /// Whether the delivery is still leased under this ticket.
    #[must_use]
    pub fn is_live(&self, ticket: Ticket) -> bool {
        self.leases.get(ticket).is_some()
    }

    /// Gives a live lease more time, up to ten times its first length in all; returns how long it has from now.
    pub fn extend(&mut self, now: Timestamp, ticket: Ticket, by: Millis) -> Option<Millis> {
        self.leases.extend(now, ticket, by)
    }

    /// Tells which plugin revision a live delivery was handed to.
    pub fn ran_on(&mut self, ticket: Ticket, revision: Revision) {
        self.leases.ran_on(ticket, revision);
    }

    /// How many events of the same key are known to wait behind this delivery.
    #[must_use]
    pub fn waiting_behind(&self, ticket: Ticket) -> Option<u32> {
        let lease = self.leases.get(ticket)?;
        let behind = lease.lane.map_or(0, |lane| self.lanes.get(lane).len().saturating_sub(1));
        Some(u32::try_from(behind).unwrap_or(u32::MAX))
    }

    /// How much it may leave unsettled.
    #[must_use]
    pub fn backlog_cap(&self) -> BacklogCap {
        self.spec.backlog
    }

    /// Everything below is settled. Cheap, unlike the whole status.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.cursor.floor()
    }

    fn pause(&mut self, now: Timestamp, by: String, reason: String, step: &mut Step) {
        if self.paused.is_some() {
            return;
        }
        let row = PausedRow { by, reason: reason.clone(), at: now };
        step.writes.push(Write::Paused { subscription: self.spec.id, row: Some(row.clone()) });
        step.actions.push(Action::Paused { reason });
        self.paused = Some(row);
        self.end_drain(step);
    }

    fn resume(&mut self, step: &mut Step) {
        self.end_drain(step);
        if self.paused.take().is_some() {
            step.writes.push(Write::Paused { subscription: self.spec.id, row: None });
            self.must_commit = true;
            // The pause may have come from a read that failed and will never be answered.
            self.reads.forget();
            self.load_again(step);
        }
        self.flow.probe_now(self.now);
    }

    fn reconfigure(&mut self, now: Timestamp, spec: Subscription) {
        self.flow.reconfigure(now, &spec.protection);
        let topics = sorted(&spec.topics);
        if topics != self.topics || spec.filter != self.spec.filter {
            self.cursor.keep_skipped();
        }
        let ordering = self.spec.ordering;
        self.topics = topics;
        self.matcher = Matcher::new(&spec.filter);
        self.spec = Subscription { ordering, id: self.spec.id, ..spec };
    }

    /// Nothing that was skipped so far can be of a topic that does not exist yet, so the cursor stays as it is.
    fn cover(&mut self, topic: TopicId) {
        if let Err(place) = self.topics.binary_search(&topic) {
            self.topics.insert(place, topic);
            self.spec.topics.push(topic);
        }
    }

    /// Runs what is due: leases that lapsed, retries, holds.
    fn wake(&mut self, now: Timestamp, step: &mut Step) {
        self.expire_cancelled(now);
        if self.leases.next_check().is_some_and(|at| at <= now) {
            for lease in self.leases.take_lapsed(now) {
                self.lapse(now, &lease, step);
            }
        }
        while let Some(due) = self.waits.take_due(now) {
            match due {
                waits::Due::Retry(offset) => self.retry(offset),
                waits::Due::Open(lane, until) => self.reopen(lane, until, step),
            }
        }
    }

    fn position(&self, offset: Offset) -> Position {
        Position { slot: self.slot, offset }
    }
}

fn sorted(topics: &[TopicId]) -> Vec<TopicId> {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    topics
}

#[cfg(test)]
mod tests;
