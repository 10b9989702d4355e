//! What the subscription machine costs per event, without a disk and a plugin: `cargo run -p bugle-core --example machine_cost`.
//!
//! Build it with `CARGO_PROFILE_DEV_OPT_LEVEL=3`, else it measures an unoptimised machine. One line per path: events are read in
//! chunks, started, acked in random order among those in flight, and sealed once per chunk.

use std::time::Instant;

use bugle_core::delivery::Verdict;
use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Offset, Position, Slot, SubscriptionId, Ticket, TopicId};
use bugle_core::spec::Subscription;
use bugle_core::step::{Action, Step};
use bugle_core::subscription::{Input, Machine, Recovered};
use bugle_core::time::Timestamp;
use bytes::Bytes;

/// Events per path.
const EVENTS: u64 = 2_000_000;
/// Events per answered read.
const CHUNK: u64 = 512;

/// Instead of a number of keys: every tenth event has the same one, so most of its lane overflows and is read again.
const HOT: u64 = u64::MAX - 1;

fn main() {
    report("unkeyed, acked in order", 64, 0, true);
    report("unkeyed, acked in any order", 64, 0, false);
    report("keyed, 100 keys", 64, 100, false);
    report("keyed, 10,000 keys", 64, 10_000, false);
    report("keyed, every event its own key", 64, u64::MAX, false);
    report("unkeyed, 4,096 in flight", 4_096, 0, false);
    report("keyed, one key has a tenth", 64, HOT, false);
}

fn report(path: &str, concurrency: u32, keys: u64, in_order: bool) {
    let log: Vec<StoredEvent> = (0..EVENTS).map(|offset| event(offset, keys)).collect();
    let mut driver = Driver::new(concurrency);
    let start = Instant::now();
    driver.run(&log, in_order);
    let each = start.elapsed().as_nanos() as f64 / EVENTS as f64;
    println!("{path:<32} {each:>7.0} ns/event  {:>6} seals  {:>6} reads", driver.seals, driver.reads);
}

struct Driver {
    machine: Machine,
    step: Step,
    now: Timestamp,
    calls: Vec<(Ticket, Offset)>,
    read: Option<(Offset, u32)>,
    seals: u64,
    reads: u64,
    random: u64,
}

impl Driver {
    fn new(concurrency: u32) -> Driver {
        Driver {
            machine: Machine::recover(spec(concurrency), Slot(0), 1, Recovered::at(Offset(0))),
            step: Step::default(),
            now: Timestamp(0),
            calls: Vec::new(),
            read: None,
            seals: 0,
            reads: 0,
            random: 1,
        }
    }

    fn run(&mut self, log: &[StoredEvent], in_order: bool) {
        self.machine.handle(self.now, Input::Tick, &mut self.step);
        let mut acked = 0;
        let mut round = Vec::new();
        while acked < EVENTS {
            self.act();
            if let Some((from, events_max)) = self.read.take_if(|(from, _)| from.0 < EVENTS) {
                let end = (from.0 + CHUNK.min(u64::from(events_max))).min(EVENTS);
                self.reads += 1;
                let events = &log[from.0 as usize..end as usize];
                self.machine.handle(self.now, Input::Events { from, events, next: Offset(end) }, &mut self.step);
                self.act();
            }
            std::mem::swap(&mut round, &mut self.calls);
            if !in_order {
                self.shuffle(&mut round);
            }
            for (ticket, offset) in round.drain(..) {
                let event = log[offset.0 as usize].clone();
                let input = Input::Finished {
                    ticket,
                    event,
                    verdict: Verdict::Ack,
                    writes: Vec::new(),
                    hold: None,
                    pause: None,
                };
                self.machine.handle(self.now, input, &mut self.step);
                acked += 1;
                if acked % CHUNK == 0 {
                    self.seal();
                }
            }
            self.seal();
            self.now = Timestamp(self.now.0 + 1);
            if self.machine.next_wakeup().is_some_and(|at| at <= self.now) {
                self.machine.handle(self.now, Input::Tick, &mut self.step);
            }
        }
    }

    fn seal(&mut self) {
        self.act();
        self.machine.seal(&mut self.step);
        self.seals += 1;
        self.step.writes.clear();
        let mut actions = std::mem::take(&mut self.step.actions);
        actions.drain(..).for_each(|action| self.perform(action));
        self.step.actions = actions;
    }

    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.step.immediate);
        actions.drain(..).for_each(|action| self.perform(action));
        self.step.immediate = actions;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Read { from, events_max } => self.read = Some((from, events_max)),
            Action::Invoke(invocation) => self.calls.push((invocation.ticket, invocation.position.offset)),
            // No delivery here is given up, so no event is fetched to dispose of one; none fails, so none is loaded.
            Action::Fetch(_)
            | Action::Load(_)
            | Action::Cancel { .. }
            | Action::Paused { .. }
            | Action::Stuck { .. }
            | Action::Trim(_)
            | Action::BacklogFull { .. }
            | Action::Expired { .. } => {}
        }
    }

    fn shuffle(&mut self, round: &mut [(Ticket, Offset)]) {
        for index in (1..round.len()).rev() {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            round.swap(index, (self.random >> 33) as usize % (index + 1));
        }
    }
}

fn spec(concurrency: u32) -> Subscription {
    Subscription { concurrency, ..Subscription::new(SubscriptionId(1), "cost", "cost", vec![TopicId(1)]) }
}

fn event(offset: u64, keys: u64) -> StoredEvent {
    let key = if keys == 0 {
        String::new()
    } else if keys == HOT && offset.is_multiple_of(10) {
        "hot".to_owned()
    } else {
        format!("repository-{}", offset.wrapping_mul(7) % keys)
    };
    let span = Span { start: 0, len: key.len() as u32 };
    let index = Index { key: (keys > 0).then_some(span), ..Index::default() };
    StoredEvent {
        position: Position { slot: Slot(0), offset: Offset(offset) },
        topic: TopicId(1),
        received: Timestamp(0),
        event: Event::new(Bytes::from(key), index).expect("the key is all of the bytes"),
    }
}
