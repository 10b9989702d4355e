//! One subscription machine with its log, disk, plugin and clock, all under the control of a seed.
//!
//! Actions are drawn at random and resolved to inputs; every output goes through the checks in `check.rs`. Steps are committed
//! one after another, and a crash loses those that were not. Invariant: the world breaks no rule of the driver.

use std::collections::{BTreeMap, VecDeque};

use bugle_core::delivery::{Fault, Retry, Verdict};
use bugle_core::event::{Class, StoredEvent, Timing};
use bugle_core::ids::{Attempt, KeyGeneration, Offset, Slot, Ticket, TopicId};
use bugle_core::spec::{OnDeadFull, OnExhausted, Ordering, Subscription};
use bugle_core::step::{Action, Batch, Invocation, Kept, Step, Write};
use bugle_core::subscription::{Bounds, DRAINED, Input, Machine, STEPS_OUTSTANDING_MAX};
use bugle_core::time::{Millis, Timestamp};
use bugle_random::Random;

use crate::batches::Batches;
use crate::disk::{Disk, brief, effect, stale_effect};
use crate::event::event;
use crate::loads::{Loads, bounds};
use crate::protect::Reached;
use crate::spec::spec;

/// A step that was submitted and is not durable yet.
#[derive(Debug, Default)]
struct Sealed {
    writes: Vec<Write>,
    actions: Vec<Action>,
}

/// A call that runs, or whose end will be stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) ticket: Ticket,
    pub(crate) offset: Offset,
    pub(crate) attempt: Attempt,
    pub(crate) letter: Option<KeyGeneration>,
    /// When the lease ends, unless it is extended.
    pub(crate) deadline: Timestamp,
    pub(crate) batch: Option<Batch>,
}

impl Call {
    pub(crate) fn of(invocation: &Invocation) -> Call {
        let Invocation { ticket, position, attempt, letter, deadline, batch, .. } = *invocation;
        Call { ticket, offset: position.offset, attempt, letter, deadline, batch }
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) random: Random,
    seed: u64,
    pub(crate) log: Vec<StoredEvent>,
    pub(crate) spec: Subscription,
    bounds: Bounds,
    pub(crate) machine: Machine,
    /// What a crash leaves.
    pub(crate) disk: Disk,
    /// All writes so far.
    pub(crate) written: Disk,
    pub(crate) step: Step,
    /// Writes of the gathering step that `written` has.
    seen: usize,
    submitted: VecDeque<Sealed>,
    pub(crate) calls: Vec<Call>,
    pub(crate) batches: Batches,
    read: Option<(Offset, u32)>,
    pub(crate) loads: Loads,
    fetches: Vec<Call>,
    /// The machine wants to see rows of this kind, after this one.
    pub(crate) trims: BTreeMap<Kept, Option<Offset>>,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<String>,
    pub(crate) is_paused: bool,
    starts: u64,
    pub(crate) reached: Reached,
}

pub(crate) const CLASSES: [Class; 4] = [Class::Normal, Class::Normal, Class::Critical, Class::Low];

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let spec = spec(&mut random);
        let bounds = bounds(&mut random);
        let disk = Disk::default();
        World {
            machine: Machine::recover_bounded(spec.clone(), Slot(0), seed, disk.rows(), bounds),
            random,
            seed,
            log: Vec::new(),
            spec,
            bounds,
            written: disk.clone(),
            disk,
            step: Step::default(),
            seen: 0,
            submitted: VecDeque::new(),
            calls: Vec::new(),
            batches: Batches::default(),
            read: None,
            loads: Loads::default(),
            fetches: Vec::new(),
            trims: BTreeMap::new(),
            now: Timestamp(1_000),
            journal: Vec::new(),
            is_paused: false,
            starts: 0,
            reached: Reached::default(),
        }
    }

    /// Runs `actions` random actions, then stops all faults and sees everything settle.
    pub(crate) fn run(&mut self, actions: u32) -> Result<(), String> {
        self.handle(Input::Tick)?;
        for _ in 0..actions {
            self.act()?;
        }
        self.calm_down()
    }

    fn act(&mut self) -> Result<(), String> {
        match self.random.below(104) {
            0..14 => self.publish(),
            14..28 => self.answer_read()?,
            28..31 => self.answer_load()?,
            31..33 => self.answer_fetch()?,
            33..62 => self.finish_one()?,
            62..72 => self.seal()?,
            72..84 => self.commit()?,
            84..90 => self.pass_time()?,
            90..91 => self.crash()?,
            91..93 => self.pause_or_resume()?,
            93..94 if self.random.chance(15) => self.probe()?,
            93..94 => self.reconfigure()?,
            94..95 => self.extend(),
            95..97 if self.random.chance(70) => self.decide_one()?,
            95..97 => self.resolve_one()?,
            97..98 => self.answer_trims()?,
            98..100 => self.finish_stale()?,
            100..101 => self.drain_or_boost()?,
            101..102 => self.seek()?,
            _ => self.tell_log()?,
        }
        Ok(())
    }

    fn publish(&mut self) {
        for _ in 0..self.random.within(1, 6) {
            let offset = Offset(self.log.len() as u64);
            let key = ["", "a", "b", "c"][self.random.below(4) as usize];
            let class = *self.random.pick(&CLASSES);
            let topic = TopicId(if self.random.chance(80) { 1 } else { 2 });
            let kind = if self.random.chance(80) { "wanted" } else { "other" };
            self.journal.push(format!("publish {offset} topic {topic} kind {kind} key {key:?} {}", class.word()));
            let plain = event(offset, topic, kind, key, class);
            // Some are past their time before they are read, some while they wait, some never.
            let expires = self.random.chance(15).then(|| self.now.after(Millis(self.random.within(0, 400))));
            let event = plain.event.timed(Timing { expires, ..Timing::default() });
            self.log.push(StoredEvent { received: self.now, event, ..plain });
        }
    }

    fn answer_read(&mut self) -> Result<(), String> {
        let Some((from, events_max)) = self.read else { return Ok(()) };
        let len = self.random.within(1, 12).min(u64::from(events_max)) as usize;
        let end = (from.0 as usize + len).min(self.log.len());
        if from.0 as usize >= end {
            return Ok(());
        }
        self.read = None;
        let events = self.log[from.0 as usize..end].to_vec();
        // A driver may leave out what the subscription does not cover.
        let events: Vec<StoredEvent> = events.into_iter().filter(|event| event.topic != TopicId(2)).collect();
        self.journal.push(format!("answer the read from {from} up to {end}"));
        self.handle(Input::Events { from, events: &events, next: Offset(end as u64) })
    }

    /// Hands in an event that was asked for, late or never now and then; once in a while it is not in the log.
    fn answer_fetch(&mut self) -> Result<(), String> {
        if self.fetches.is_empty() {
            return Ok(());
        }
        let index = self.random.below(self.fetches.len() as u64) as usize;
        let fetch = self.fetches.swap_remove(index);
        let Call { ticket, offset, .. } = fetch;
        let is_there = self.random.chance(95);
        let (is_live, was_paused) = (self.machine.is_live(ticket), self.is_paused);
        self.journal.push(format!("fetched {offset} for {ticket:?}, live {is_live}: {is_there}"));
        let event = is_there.then(|| self.event_of(fetch));
        self.handle(Input::Fetched { ticket, event })?;
        if is_live && !is_there && !self.is_paused {
            return Err(format!("{offset} is not in the log and nobody is told"));
        }
        // It may have been the last one of a drain, or one dead letter too many.
        let is_drained = self.machine.status().paused.is_some_and(|row| row.reason == DRAINED);
        let may_pause = is_drained || self.spec.dead.on_full == OnDeadFull::Pause;
        if is_there && !may_pause && self.is_paused != was_paused {
            return Err("an event that came paused the subscription".to_owned());
        }
        Ok(())
    }

    fn finish_one(&mut self) -> Result<(), String> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let index = self.random.below(self.calls.len() as u64) as usize;
        let call = self.calls.swap_remove(index);
        // Some events break the plugin most of the time.
        let is_poison = call.offset.0 % 9 == 4 && self.random.chance(70);
        let verdict = match self.random.below(20) {
            _ if is_poison => Verdict::Broke("trap".to_owned()),
            0..9 => Verdict::Ack,
            9..12 => Verdict::Nack(Retry {
                after: self.random.chance(30).then_some(Millis(40)),
                reason: "busy".to_owned(),
                fault: Fault::Channel,
            }),
            12..14 => Verdict::Broke("trap".to_owned()),
            14 => Verdict::Reject("bad address".to_owned()),
            15 => Verdict::Defer(self.now.after(Millis(30))),
            16 => Verdict::Unknown("reference".to_owned()),
            17 => Verdict::Conflict,
            _ => Verdict::NotStarted("no instance".to_owned()),
        };
        let hold = self.random.chance(8).then_some(Millis(25));
        let pause = self.random.chance(1).then(|| "gone".to_owned());
        let is_break = matches!(verdict, Verdict::Broke(_));
        self.finish(call, verdict, hold, pause)?;
        if is_break && self.random.chance(80) { self.break_others(call) } else { Ok(()) }
    }

    pub(crate) fn finish(
        &mut self,
        call: Call,
        verdict: Verdict,
        hold: Option<Millis>,
        pause: Option<String>,
    ) -> Result<(), String> {
        let is_live = self.machine.is_live(call.ticket);
        self.journal.push(format!("end {call:?} live {is_live} {verdict:?} hold {hold:?} pause {pause:?}"));
        let writes = match (is_live, &verdict) {
            (false, _) => vec![stale_effect()],
            (true, Verdict::Ack) => vec![effect(call.offset)],
            (true, _) => Vec::new(),
        };
        let event = self.event_of(call);
        self.note_end(call, is_live, &verdict);
        self.handle(Input::Finished { ticket: call.ticket, event, verdict, writes, hold, pause })
    }

    /// The end of a call that never was: a made-up ticket, or the right one with another's event.
    fn finish_stale(&mut self) -> Result<(), String> {
        if self.log.is_empty() {
            return Ok(());
        }
        let offset = Offset(self.random.below(self.log.len() as u64));
        let ticket = match self.calls.first() {
            Some(call) if call.offset != offset => call.ticket,
            Some(call) => Ticket(call.ticket.0 ^ (1 << 20)),
            None => Ticket(self.random.below(u64::MAX)),
        };
        self.journal.push(format!("forge the end of {offset} with {ticket:?}"));
        let before = self.machine.status().stale_ends;
        let event = self.log[offset.0 as usize].clone();
        let (verdict, writes) = (Verdict::Ack, vec![stale_effect()]);
        self.handle(Input::Finished { ticket, event, verdict, writes, hold: None, pause: Some("forged".to_owned()) })?;
        if self.machine.status().stale_ends == before + 1 { Ok(()) } else { Err("a forged end was not counted".into()) }
    }

    fn extend(&mut self) {
        if let Some(call) = self.calls.first() {
            let left = self.machine.extend(self.now, call.ticket, Millis(100));
            self.journal.push(format!("extend {call:?}: {left:?} left"));
        }
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let by = match self.machine.next_wakeup() {
            Some(at) if self.random.chance(70) => at.since(self.now),
            Some(_) | None => Millis(self.random.within(1, 60)),
        };
        self.now = self.now.after(by);
        self.journal.push(format!("it is {}", self.now.0));
        self.handle(Input::Tick)
    }

    fn reconfigure(&mut self) -> Result<(), String> {
        let Subscription { concurrency, retry, lease, protection, .. } = spec(&mut self.random);
        let on_exhausted = match (self.spec.on_exhausted, self.random.chance(50)) {
            (OnExhausted::Block, _) => OnExhausted::Block,
            (_, true) => OnExhausted::Skip,
            (_, false) => OnExhausted::ParkKey,
        };
        self.journal.push(format!(
            "reconfigure: {concurrency} at once, {retry:?}, {lease:?}, {on_exhausted:?}, {protection:?}"
        ));
        self.spec = Subscription { concurrency, retry, lease, on_exhausted, protection, ..self.spec.clone() };
        let spec = self.spec.clone();
        self.handle(Input::Reconfigure(spec))
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) -> Result<(), String> {
        let counts = self.machine.flow_counts();
        let known = self.step.actions.len();
        self.machine.handle(self.now, input, &mut self.step);
        self.check_expiry(known)?;
        self.take_writes()?;
        let (before, after) = (counts, self.machine.flow_counts());
        self.reached.openings += after.opened - before.opened;
        self.reached.deferred += after.deferred - before.deferred;
        self.reached.rerouted += after.rerouted - before.rerouted;
        self.reached.dropped += after.dropped - before.dropped;
        let status = self.machine.status();
        self.reached.left_behind += status.behind as u64;
        self.is_paused = status.paused.is_some();
        for action in std::mem::take(&mut self.step.immediate) {
            self.perform(action)?;
        }
        self.check_bounds()
    }

    pub(crate) fn take_writes(&mut self) -> Result<(), String> {
        let new = self.step.writes[self.seen..].to_vec();
        for write in &new {
            self.journal.push(format!("  writes {}", brief(write)));
            self.check_expired(write)?;
            self.written.apply(write)?;
            match write {
                Write::Dead { row, .. } => self.reached.poisoned += u64::from(row.cause == "poison"),
                Write::Waiting { row: Some(row), .. } => {
                    self.reached.given_back += u64::from(row.channel + row.plugin > 1);
                }
                _ => {}
            }
        }
        self.seen = self.step.writes.len();
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<(), String> {
        self.journal.push(format!("  does {action:?}"));
        match action {
            Action::Read { from, events_max } => self.read = Some((from, events_max)),
            Action::Invoke(invocation) => {
                // Its lease ran out, or was cancelled, before its step was durable: a driver looks at the ticket.
                if !self.machine.is_live(invocation.ticket) {
                    self.forget_broken(invocation.position.offset);
                    return self.handle(Input::NeverRan { ticket: invocation.ticket });
                }
                self.starts += 1;
                let call = Call::of(&invocation);
                if self.is_in_time(call)? {
                    self.check_start(call)?;
                    self.check_batch(&invocation)?;
                    self.calls.push(call);
                }
            }
            Action::Load(load) => self.ask_load(load)?,
            Action::Fetch(invocation) => {
                self.reached.fetches += 1;
                self.fetches.push(Call::of(&invocation));
            }
            // The call goes on: its end must be without effect.
            Action::Cancel { ticket } => {
                if self.machine.is_live(ticket) {
                    return Err(format!("{ticket:?} was cancelled and is live"));
                }
            }
            Action::Trim(kept) => drop(self.trims.insert(kept, None)),
            Action::Paused { .. } | Action::Stuck { .. } | Action::BacklogFull { .. } | Action::Expired { .. } => {}
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), String> {
        if self.submitted.len() as u64 >= STEPS_OUTSTANDING_MAX {
            return Ok(());
        }
        self.machine.seal(&mut self.step);
        self.take_writes()?;
        self.check_rows()?;
        self.check_recovery(self.seed, self.bounds)?;
        let step = std::mem::take(&mut self.step);
        self.seen = 0;
        let sealed = Sealed { writes: step.writes, actions: step.actions };
        match self.submitted.back_mut() {
            // Nothing to write: the actions wait for the steps before them.
            Some(last) if sealed.writes.is_empty() => last.actions.extend(sealed.actions),
            Some(_) | None => self.submitted.push_back(sealed),
        }
        self.journal.push(format!("seal; {} steps outstanding", self.submitted.len()));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let Some(sealed) = self.submitted.pop_front() else { return Ok(()) };
        for write in &sealed.writes {
            self.disk.apply(write)?;
            self.place(write, &sealed.writes)?;
        }
        self.journal.push("commit".to_owned());
        for action in sealed.actions {
            self.perform(action)?;
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        self.journal.push(format!("CRASH, {} steps lost", self.submitted.len()));
        self.submitted.clear();
        self.step = Step::default();
        self.seen = 0;
        self.calls.clear();
        self.batches = Batches::default();
        self.read = None;
        self.loads = Loads::default();
        if self.random.chance(20) {
            self.spec.ordering = match self.spec.ordering {
                Ordering::ByKey => Ordering::None,
                Ordering::None => Ordering::ByKey,
            };
            self.journal.push(format!("the ordering is {:?} now", self.spec.ordering));
        }
        self.fetches.clear();
        self.trims.clear();
        self.written = self.disk.clone();
        let rows = self.disk.rows();
        self.machine = Machine::recover_bounded(self.spec.clone(), Slot(0), self.seed, rows, self.bounds);
        self.check_rows()?;
        self.handle(Input::Tick)
    }

    /// The second phase: no more faults, so everything must settle.
    fn calm_down(&mut self) -> Result<(), String> {
        self.journal.push("NO MORE FAULTS".to_owned());
        // A rule may defer for ever, which is what it is for.
        self.spec.protection.degrade.clear();
        let spec = self.spec.clone();
        self.handle(Input::Reconfigure(spec))?;
        self.handle(Input::Resume)?;
        for _ in 0..20_000 {
            self.answer_read()?;
            self.answer_load()?;
            while !self.fetches.is_empty() {
                let fetch = self.fetches.remove(0);
                let event = Some(self.event_of(fetch));
                self.handle(Input::Fetched { ticket: fetch.ticket, event })?;
            }
            while let Some(call) = self.calls.pop() {
                self.finish(call, Verdict::Ack, None, None)?;
            }
            self.decide_parked()?;
            if self.is_paused {
                self.handle(Input::Resume)?;
            }
            self.seal()?;
            self.commit()?;
            let status = self.machine.status();
            // Rows of what was let go are deleted one by one, after the floor passed them.
            let is_done = status.floor.0 as usize == self.log.len() && status.overflowed == 0 && status.waiting == 0;
            if is_done && self.submitted.is_empty() && self.step.is_empty() {
                return self.check_end();
            }
            let is_read = self.read.is_none_or(|(from, _)| from.0 as usize >= self.log.len());
            if is_read && self.calls.is_empty() && self.loads.asked.is_empty() {
                self.pass_time()?;
            }
        }
        Err(format!("did not settle: {:?}", self.machine.status()))
    }
}
