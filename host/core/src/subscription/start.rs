//! Starting attempts: which delivery is next, and whether it must wait for the disk first.
//!
//! Invariant: never more deliveries in flight than the subscription's concurrency, none while it is paused or its breaker open,
//! and none that its rate or its degrade policy holds back; what follows a settlement of the same key starts only after that
//! settlement is durable.

use alloc::collections::VecDeque;
use alloc::string::String;

use super::batch::HandOver;
use super::leases::{Disposal, Grant, LEASES_MAX, Purpose};
use super::{Machine, STEPS_OUTSTANDING_MAX};
use crate::event::Class;
use crate::flow::{Decision, Start};
use crate::ids::{Attempt, KeyGeneration, Offset};
use crate::lane::{LaneId, LaneState};
use crate::row::Parking;
use crate::seeded::{Bug, is_planted};
use crate::spec::{DegradeAction, OnUnknown};
use crate::step::{Action, Invocation, Step, Write};
use crate::time::Timestamp;

/// While normal events keep coming, one low event starts after this many others, so that it does not starve.
const OTHERS_PER_LOW: u32 = 16;

/// Events fetched at once to dispose of their deliveries: they take no place of the concurrency, only memory.
pub(super) const FETCHES_MAX: usize = 64;

/// A delivery that could start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) offset: Offset,
    pub(crate) lane: Option<LaneId>,
}

/// A delivery that is not to be attempted and whose event is to be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unwanted {
    pub(crate) item: Item,
    pub(crate) class: Class,
    pub(crate) disposal: Disposal,
}

/// Deliveries that only wait for a free place, by class.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    critical: ClassQueue,
    normal: ClassQueue,
    low: ClassQueue,
    /// Starts since the last low one.
    since_low: u32,
}

/// Deliveries of one class; those that came back from the disk have a queue of their own, and the two take turns.
#[derive(Debug, Default)]
struct ClassQueue {
    fresh: VecDeque<Item>,
    loaded: VecDeque<Item>,
    /// Those whose event is past its time; they count as both, so that neither reading nor loading runs ahead of them.
    past: VecDeque<Item>,
    is_turn_of_loaded: bool,
}

impl ClassQueue {
    fn len(&self) -> usize {
        self.fresh.len() + self.loaded.len() + self.past.len()
    }

    fn retain(&mut self, keep: impl Fn(Offset) -> bool) {
        for queue in [&mut self.fresh, &mut self.loaded, &mut self.past] {
            queue.retain(|item| keep(item.offset));
        }
    }

    /// How many of the class start before this one, roughly: the two queues take turns.
    fn place_of(&self, offset: Offset) -> Option<usize> {
        let place = |queue: &VecDeque<Item>| queue.iter().position(|item| item.offset == offset);
        place(&self.fresh).or_else(|| place(&self.loaded))
    }

    fn front(&self) -> Option<Item> {
        let ClassQueue { fresh, loaded, is_turn_of_loaded, .. } = self;
        let (first, second) = if *is_turn_of_loaded { (loaded, fresh) } else { (fresh, loaded) };
        first.front().or_else(|| second.front()).copied()
    }

    /// Takes what [`ClassQueue::front`] showed.
    fn pop(&mut self) -> Option<Item> {
        let ClassQueue { fresh, loaded, is_turn_of_loaded, .. } = self;
        let (first, second) = if *is_turn_of_loaded { (loaded, fresh) } else { (fresh, loaded) };
        *is_turn_of_loaded = !*is_turn_of_loaded;
        first.pop_front().or_else(|| second.pop_front())
    }
}

impl Ready {
    pub(crate) fn len(&self) -> usize {
        self.critical.len() + self.normal.len() + self.low.len()
    }

    /// Those that did not come back from the disk.
    pub(crate) fn fresh_len(&self) -> usize {
        Class::ALL.into_iter().map(|class| self.class_len(class)).sum()
    }

    /// Those of a class that came back from the disk.
    pub(crate) fn loaded_len(&self, class: Class) -> usize {
        let ClassQueue { loaded, past, .. } = self.class(class);
        loaded.len() + past.len()
    }

    fn queue(&mut self, class: Class) -> &mut ClassQueue {
        match class {
            Class::Critical => &mut self.critical,
            Class::Normal => &mut self.normal,
            Class::Low => &mut self.low,
        }
    }

    fn class(&self, class: Class) -> &ClassQueue {
        match class {
            Class::Critical => &self.critical,
            Class::Normal => &self.normal,
            Class::Low => &self.low,
        }
    }

    /// Adds a delivery whose event is past its time.
    pub(crate) fn push_past(&mut self, class: Class, item: Item) {
        self.queue(class).past.push_back(item);
    }

    /// Moves those of these offsets to the ones that are past their time. Walks the queues.
    pub(crate) fn pass(&mut self, is_past: impl Fn(Offset) -> bool) {
        for ClassQueue { fresh, loaded, past, .. } in [&mut self.critical, &mut self.normal, &mut self.low] {
            for queue in [fresh, loaded] {
                past.extend(queue.iter().filter(|item| is_past(item.offset)).copied());
                queue.retain(|item| !is_past(item.offset));
            }
        }
    }

    /// Takes one that is past its time.
    pub(crate) fn pop_past(&mut self) -> Option<(Class, Item)> {
        Class::ALL.into_iter().find_map(|class| Some((class, self.queue(class).past.pop_front()?)))
    }

    /// Whether a delivery is past its time.
    pub(crate) fn has_past(&self, offset: Offset) -> bool {
        Class::ALL.into_iter().any(|class| self.class(class).past.iter().any(|item| item.offset == offset))
    }

    pub(crate) fn push(&mut self, class: Class, item: Item) {
        self.queue(class).fresh.push_back(item);
    }

    /// Adds a delivery that came back from the disk.
    pub(crate) fn push_loaded(&mut self, class: Class, item: Item) {
        self.queue(class).loaded.push_back(item);
    }

    /// Puts a delivery before all others of its class.
    pub(crate) fn push_first(&mut self, class: Class, item: Item) {
        self.queue(class).fresh.push_front(item);
    }

    /// Every delivery, in no particular order.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = Offset> {
        let queues = [&self.critical, &self.normal, &self.low]
            .into_iter()
            .flat_map(|queue| [&queue.fresh, &queue.loaded, &queue.past]);
        queues.flatten().map(|item| item.offset)
    }

    /// Keeps the deliveries of these offsets only.
    pub(crate) fn retain(&mut self, keep: impl Fn(Offset) -> bool) {
        for queue in [&mut self.critical, &mut self.normal, &mut self.low] {
            queue.retain(&keep);
        }
    }

    /// How many start before this one: those before it in its class and all of the more urgent classes.
    pub(crate) fn ahead_of(&self, offset: Offset) -> Option<usize> {
        let mut ahead = 0;
        for queue in [&self.critical, &self.normal, &self.low] {
            if let Some(place) = queue.place_of(offset) {
                return Some(ahead + place);
            }
            ahead += queue.len();
        }
        None
    }

    /// Deliveries of a class that were read ahead.
    pub(crate) fn class_len(&self, class: Class) -> usize {
        let ClassQueue { fresh, past, .. } = self.class(class);
        fresh.len() + past.len()
    }

    fn front(&self, class: Class) -> Option<Item> {
        self.class(class).front()
    }

    /// In which order the classes have their turn.
    fn order(&self) -> [Class; 3] {
        if self.since_low >= OTHERS_PER_LOW {
            [Class::Low, Class::Critical, Class::Normal]
        } else {
            [Class::Critical, Class::Normal, Class::Low]
        }
    }

    fn pop(&mut self, class: Class) -> Option<Item> {
        self.queue(class).pop()
    }

    /// The first of a class that `is_tried`: walks the queue, so only for probes.
    fn pop_tried(&mut self, class: Class, is_tried: impl Fn(Offset) -> bool) -> Option<Item> {
        let ClassQueue { fresh, loaded, .. } = self.queue(class);
        [loaded, fresh].into_iter().find_map(|queue| {
            let at = queue.iter().position(|item| is_tried(item.offset))?;
            queue.remove(at)
        })
    }

    fn started(&mut self, class: Class) {
        self.since_low = if class == Class::Low { 0 } else { self.since_low.saturating_add(1) };
    }
}

impl Machine {
    /// How many deliveries may be in flight at once.
    pub(super) fn places(&self) -> usize {
        let wanted = u64::from(self.spec.concurrency.max(1)) * u64::from(self.boost());
        usize::try_from(wanted).unwrap_or(LEASES_MAX).min(LEASES_MAX)
    }

    /// Starts what is ready while there are free places and channel, rate and policy allow it.
    pub(super) fn start(&mut self, now: Timestamp, step: &mut Step) {
        if self.paused.is_some() || self.has_cancelled() {
            return;
        }
        self.pick_past(now);
        self.flow.boost(now, self.boost());
        self.flow.look_again();
        if self.flow.wants_probe(now) {
            self.start_one(now, step);
        }
        self.pick_moved(now);
        while self.leases.fetching() < FETCHES_MAX
            && let Some(unwanted) = self.unwanted.pop_front()
        {
            self.fetch(now, &unwanted, step);
        }
        while self.start_one(now, step) {}
    }

    /// Starts the next delivery, if one may start.
    fn start_one(&mut self, now: Timestamp, step: &mut Step) -> bool {
        if self.leases.calls() < self.places()
            && self.flow.may_start(now)
            && let Some(class) = self.next_class(now)
            && let Some(start) = self.flow.start(now)
            && let Some(item) = self.pop(class, start)
        {
            self.ready.started(class);
            self.invoke(now, class, item, start, step);
            return true;
        }
        false
    }

    /// Takes the delivery that starts. A probe is one that failed before, if there is one: where each first attempt is refused,
    /// only a repeated one can show that the channel is well. One that fails goes to the end, so that they take turns.
    fn pop(&mut self, class: Class, start: Start) -> Option<Item> {
        let tried = match start {
            Start::Call => None,
            Start::Probe => {
                let waits = &self.waits;
                self.ready.pop_tried(class, |offset| waits.get(offset).is_some_and(|wait| wait.row.attempts() > 0))
            }
        };
        tried.or_else(|| self.ready.pop(class))
    }

    /// The class whose first delivery is to start. A probe may also be one that is kept back or moved only because the channel
    /// is sick: without any probe it would be sick for ever.
    fn next_class(&mut self, now: Timestamp) -> Option<Class> {
        let mut fallback: Option<(u8, Class)> = None;
        for class in self.ready.order() {
            let Some(item) = self.ready.front(class) else { continue };
            let decision = self.weigh(now, class, item.offset);
            let rank = match decision.action {
                DegradeAction::Send => return Some(class),
                DegradeAction::Defer => 1,
                DegradeAction::Reroute(_) | DegradeAction::Drop => 2,
            };
            if self.flow.is_while_sick(decision) && fallback.is_none_or(|(best, _)| rank < best) {
                fallback = Some((rank, class));
            }
        }
        fallback.filter(|_| self.flow.wants_probe(now)).map(|(_, class)| class)
    }

    fn weigh(&mut self, now: Timestamp, class: Class, offset: Offset) -> Decision {
        if self.staying.contains(&offset) {
            return Decision { action: DegradeAction::Send, rule: None };
        }
        self.flow.decide(now, class, offset)
    }

    /// Takes what the degrade policy hands on or drops out of the ready queues. Neither rate nor breaker holds it back.
    fn pick_moved(&mut self, now: Timestamp) {
        if self.flow.is_plain() {
            return;
        }
        for class in Class::ALL {
            while self.unwanted.len() < FETCHES_MAX
                && let Some(item) = self.ready.front(class)
            {
                let decision = self.weigh(now, class, item.offset);
                match decision.action {
                    DegradeAction::Send | DegradeAction::Defer => break,
                    DegradeAction::Reroute(_) | DegradeAction::Drop => {
                        self.ready.pop(class);
                        self.unwanted.push_back(Unwanted { item, class, disposal: Disposal::Degrade(decision) });
                    }
                }
            }
        }
    }

    fn invoke(&mut self, now: Timestamp, class: Class, item: Item, start: Start, step: &mut Step) {
        let Item { offset, lane } = item;
        let wait = self.waits.get(offset);
        let attempt = Attempt(wait.map_or(0, |wait| wait.row.attempts()).saturating_add(1));
        let has_broken = wait.is_some_and(|wait| wait.row.broke > 0);
        let is_moved = self.moved_in.is_some_and(|seal| seal + STEPS_OUTSTANDING_MAX > self.seals);
        let mut must_wait = self.must_commit || is_moved || wait.is_some_and(|wait| wait.is_stored);
        if let Some(id) = lane {
            let lane = self.lanes.get_mut(id);
            lane.state = LaneState::InFlight;
            let is_durable = lane.settled_in == 0 || lane.settled_in + STEPS_OUTSTANDING_MAX <= self.seals;
            must_wait |= !is_durable && !is_planted(Bug::NextBeforeDurable);
        }
        if is_planted(Bug::DueRowDeletedFirst) && wait.is_some_and(|wait| wait.is_stored) {
            step.writes.push(Write::Waiting { subscription: self.spec.id, offset, row: None });
        }
        let lease = self.spec.lease;
        let purpose = Purpose::Call(start);
        let is_alone = self.take_alone(offset);
        let wants_fresh = has_broken || is_alone;
        let ticket = self.leases.grant(now, lease, Grant { purpose, offset, lane, class, attempt, is_alone });
        let hand_over = if must_wait { HandOver::AfterStep } else { HandOver::Now };
        let can_share = start == Start::Call && !wants_fresh;
        let batch = if can_share { self.join_batch(ticket, hand_over) } else { None };
        let position = self.position(offset);
        let deadline = now.after(lease);
        let letter = self.letter_of(offset);
        let asks = self.asks(offset);
        let invocation = Invocation { ticket, position, attempt, deadline, lease, wants_fresh, batch, letter, asks };
        match hand_over {
            HandOver::AfterStep => step.actions.push(Action::Invoke(invocation)),
            HandOver::Now => step.immediate.push(Action::Invoke(invocation)),
        }
    }

    /// Asks for the event of a delivery that is not to be attempted. Nothing leaves the host by it, so it need not wait for the
    /// disk.
    fn fetch(&mut self, now: Timestamp, unwanted: &Unwanted, step: &mut Step) {
        let Unwanted { item: Item { offset, lane }, class, disposal } = *unwanted;
        let attempt = Attempt(self.waits.get(offset).map_or(0, |wait| wait.row.attempts()));
        if let Some(id) = lane {
            self.lanes.get_mut(id).state = LaneState::InFlight;
        }
        let (purpose, lease) = (Purpose::Fetch(disposal), self.spec.lease);
        let ticket = self.leases.grant(now, lease, Grant { purpose, offset, lane, class, attempt, is_alone: false });
        let position = self.position(offset);
        let deadline = now.after(lease);
        let letter = self.letter_of(offset);
        step.immediate.push(Action::Fetch(Invocation {
            ticket,
            position,
            attempt,
            deadline,
            lease,
            wants_fresh: false,
            batch: None,
            letter,
            asks: None,
        }));
    }

    /// What a plugin that is asked about an uncertain claim is told of the attempt before.
    fn asks(&self, offset: Offset) -> Option<String> {
        let last = || self.waits.get(offset)?.row.notes.last().map(|note| note.reason.clone());
        (self.spec.on_unknown == OnUnknown::Ask).then(|| last().unwrap_or_default())
    }

    /// The key generation of a delivery whose event is in its dead letter.
    fn letter_of(&self, offset: Offset) -> Option<KeyGeneration> {
        match self.waits.get(offset)?.row.parking {
            Parking::Released { generation } => Some(generation),
            Parking::Never | Parking::Parked => None,
        }
    }

    /// A delivery's time has come. One without an attempt left (the lease of its last one lapsed, or the limit was lowered) is
    /// buried as soon as its event was fetched.
    pub(super) fn retry(&mut self, offset: Offset) {
        let Some(wait) = self.waits.get_mut(offset).filter(|wait| wait.is_pending) else {
            return;
        };
        wait.is_pending = false;
        let (class, lane, is_loaded) = (wait.class, wait.lane, wait.is_loaded);
        let (is_stored, spent) = (wait.is_stored, wait.row.spent);
        if is_stored && self.is_exhausted(spent) {
            self.unwanted.push_back(Unwanted { item: Item { offset, lane }, class, disposal: Disposal::Bury });
            return;
        }
        if let Some(id) = lane {
            self.lanes.get_mut(id).state = LaneState::Ready;
        }
        let item = Item { offset, lane };
        self.make_ready(class, item, if is_loaded { Ready::push_loaded } else { Ready::push });
    }

    /// Goes on with a lane whose head was settled, or that opens: its new head is ready, or waits for its time.
    pub(super) fn proceed(&mut self, id: LaneId) {
        while let Some(head) = self.lanes.get(id).head()
            && self.cursor.is_settled(head)
        {
            // Settled by a person while it was queued.
            self.expiries.forget(head);
            self.lanes.pop(id);
        }
        let lane = self.lanes.get_mut(id);
        let Some(offset) = lane.head() else {
            lane.state = LaneState::Idle;
            self.lanes.end(id);
            return;
        };
        let class = lane.class();
        if let Some(wait) = self.waits.get(offset) {
            lane.state = LaneState::Waiting;
            let due = wait.row.due;
            self.waits.alarm_retry(offset, due);
        } else if let Some(due) = self.spilled.take_stray(offset) {
            self.spilled.note_lane(offset, Some(self.lanes.get(id).hash()));
            self.spill(offset, class, Some(id), due);
        } else {
            lane.state = LaneState::Ready;
            self.make_ready(class, Item { offset, lane: Some(id) }, Ready::push);
        }
    }
}
