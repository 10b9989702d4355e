//! The worker of one subscription: it feeds the machine, commits its steps and runs their actions. It decides nothing.
//!
//! One task, one inbox. It handles everything that has come in, then submits one step; while a few steps are on their way to
//! the disk, further inputs gather into the next one. Payloads come from the ring, from a small window of chunks read for a
//! laggard, or from the store.
//!
//! Invariant: `actions` of a step run after its writes are durable, and steps with a ledger part enter the committer's queue
//! in the ledger's order.

mod inbox;
mod letters;
mod load;
mod look;
mod pace;
mod payloads;
mod read;
mod settle;
mod step;
mod trim;
mod unknown;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bugle_core::attempt::Settlement;
use bugle_core::delivery::{Delivery, Verdict};
use bugle_core::event::StoredEvent;
use bugle_core::ids::{Name, Offset, Ticket};
use bugle_core::origin::Origin;
use bugle_core::step::{Action, Invocation, Load, Step};
use bugle_core::subscription::{Input, LateCounts, Machine, STEPS_OUTSTANDING_MAX};
use bugle_core::time::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::call::{Call, Port};
use crate::invoke::Invoke;
pub(crate) use inbox::{Decide, Effects, Ended, Inbox, Late, Message, Operator, Resolve};
pub use pace::Pace;
use pace::PaceMeter;
use payloads::Payloads;
use read::{Reading, Wanted};

/// Steps of one subscription that may be on their way to the disk: as many as its machine allows. With two, acks wait for the
/// next but one commit; with eight they join the next one, which settled 40 % more keyed events per second.
const STEPS_IN_FLIGHT_MAX: u64 = STEPS_OUTSTANDING_MAX;

/// See the module.
pub(crate) struct Worker {
    port: Arc<Port>,
    plugin: Name,
    invoke: Arc<dyn Invoke>,
    machine: Machine,
    messages: Vec<Message>,
    /// One reading of the clock for each round.
    now: Timestamp,
    /// The step that gathers.
    step: Step,
    /// Bytes of rows in it that calls brought.
    step_bytes: usize,
    /// Ends whose commit has a part in the ledger: they wait until a step may be submitted.
    held: Vec<Ended>,
    /// What people say of unknown results: it has a part in the ledger too.
    resolving: Vec<Resolve>,
    /// Records that nothing followed: they put claims in doubt.
    late: Vec<Late>,
    /// What is to be done once the gathering step is durable.
    after: After,
    /// Submitted and not durable yet, oldest first.
    submitted: VecDeque<After>,
    completed: u64,
    /// Deliveries given up that were counted.
    buried: u64,
    /// The same of those that expired.
    expired: u64,
    /// The same of late records.
    late_told: LateCounts,
    payloads: Payloads,
    /// Erasures that `payloads` has heard of.
    erasures: u64,
    reading: Reading,
    /// Start of the page that is being read from the store.
    paging: Option<Offset>,
    /// Deliveries whose event must come from the store first, and why.
    fetching: HashMap<Ticket, Wanted>,
    /// Those of them that were not asked for yet.
    unfetched: Vec<Invocation>,
    /// Waiting deliveries to bring back from the store at the end of this round.
    unloaded: Vec<Load>,
    /// Calls to hand over at the end of this round.
    calls: Vec<Call>,
    /// Calls handed over that have not ended.
    calls_out: usize,
    /// Somebody waits for the last call to end; no call is started any more.
    draining: Option<Vec<oneshot::Sender<()>>>,
    is_stopping: bool,
    pace: PaceMeter,
    /// The breaker is open, as far as people were told.
    is_sick: bool,
    alarm: Alarm,
    /// Reads of the store under way; dropped with the worker.
    tasks: JoinSet<()>,
}

/// What follows a durable step.
#[derive(Default)]
struct After {
    actions: Vec<Action>,
    /// Receipt times of the events acked in it.
    acked: Vec<Timestamp>,
    /// Guests that wait to hear what became of their verdicts.
    settled: Vec<(oneshot::Sender<Settlement>, Settlement)>,
    replies: Vec<oneshot::Sender<()>>,
}

impl After {
    fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.acked.is_empty() && self.settled.is_empty() && self.replies.is_empty()
    }
}

impl Worker {
    pub(crate) fn new(port: Arc<Port>, plugin: Name, invoke: Arc<dyn Invoke>, machine: Machine) -> Worker {
        Worker {
            now: port.shared.clock.now(),
            payloads: Payloads::new(machine.prefetch_bytes()),
            erasures: 0,
            port,
            plugin,
            invoke,
            machine,
            messages: Vec::new(),
            step: Step::default(),
            step_bytes: 0,
            held: Vec::new(),
            resolving: Vec::new(),
            late: Vec::new(),
            after: After::default(),
            submitted: VecDeque::new(),
            completed: 0,
            buried: 0,
            expired: 0,
            late_told: LateCounts::default(),
            reading: Reading::Idle,
            paging: None,
            fetching: HashMap::new(),
            unfetched: Vec::new(),
            unloaded: Vec::new(),
            calls: Vec::new(),
            calls_out: 0,
            draining: None,
            is_stopping: false,
            pace: PaceMeter::default(),
            is_sick: false,
            alarm: Alarm::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        self.tick();
        loop {
            self.now = self.port.shared.clock.now();
            self.port.inbox.take(&mut self.messages);
            while self.tasks.try_join_next().is_some() {}
            self.complete_steps();
            self.handle_messages();
            self.look();
            self.tick_if_due();
            self.read_at_tail();
            self.run_immediate();
            self.submit();
            self.run_immediate();
            self.fetch_all();
            self.load_all();
            self.hand_over();
            self.port.counters.flow.set(self.machine.flow_counts());
            self.answer_drain();
            if self.is_stopping {
                return;
            }
            self.rest().await;
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.machine.handle(self.now, input, &mut self.step);
    }

    fn tick(&mut self) {
        self.handle(Input::Tick);
    }

    fn tick_if_due(&mut self) {
        let now = self.now;
        if self.machine.next_wakeup().is_some_and(|at| at <= now) {
            self.tick();
        }
    }

    /// Runs what needs no disk; reads from the ring bring more of it.
    fn run_immediate(&mut self) {
        while !self.step.immediate.is_empty() {
            for action in std::mem::take(&mut self.step.immediate) {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Read { from, events_max } => self.read(from, events_max as usize),
            Action::Invoke(invocation) => self.start(invocation, Wanted::Call),
            Action::Load(load) if self.machine.is_loading(load.number) => self.unloaded.push(load),
            // A seek let go of it before its step was durable.
            Action::Load(_) => {}
            Action::Fetch(invocation) => self.start(invocation, Wanted::Event),
            Action::Cancel { ticket } => {
                if self.fetching.remove(&ticket).is_some() {
                    self.handle(Input::NeverRan { ticket });
                }
                self.port.counters.lapsed.add(1);
                tracing::debug!(subscription = %self.port.name, ticket = ticket.0, "a lease ended before its call");
            }
            Action::Stuck { position, how } => self.stuck(position, how),
            Action::Trim(kept) => self.show_kept(kept),
            Action::Paused { reason } => {
                tracing::warn!(subscription = %self.port.name, %reason, "the subscription is paused; resume it when the cause is gone");
            }
            Action::BacklogFull { is_full } => self.backlog_full(is_full),
            Action::Expired { events, below } => self.expired(events, below),
        }
    }

    /// Makes a call of an attempt or hands its event in, once the event was fetched if need be.
    fn start(&mut self, invocation: Invocation, wanted: fn(Invocation) -> Wanted) {
        if self.draining.is_some() {
            return;
        }
        // Its lease ended before the step that explains the attempt was durable.
        if !self.machine.is_live(invocation.ticket) {
            self.handle(Input::NeverRan { ticket: invocation.ticket });
            return;
        }
        if invocation.letter.is_some() {
            self.fetch(wanted(invocation));
            return;
        }
        let erasures = self.port.shared.erasures.load(Ordering::Acquire);
        if erasures != self.erasures {
            self.erasures = erasures;
            self.payloads.forget();
        }
        let offset = invocation.position.offset;
        match self.payloads.event(&self.port.shared.ring, offset) {
            Some(event) => self.got(wanted(invocation), event),
            None => self.fetch(wanted(invocation)),
        }
    }

    /// Goes on with a delivery whose event is there.
    fn got(&mut self, wanted: Wanted, event: StoredEvent) {
        match wanted {
            Wanted::Call(invocation) => self.call(&invocation, event),
            Wanted::Event(Invocation { ticket, .. }) => self.handle(Input::Fetched { ticket, event: Some(event) }),
        }
    }

    fn call(&mut self, invocation: &Invocation, event: StoredEvent) {
        if event.event.is_expired(self.now) {
            // Its time passed while the step before the call was on its way to the disk.
            let verdict = Verdict::NotStarted("its expirytime has passed".to_owned());
            let (ticket, writes) = (invocation.ticket, Vec::new());
            self.handle(Input::Finished { ticket, event, verdict, writes, hold: None, pause: None });
            return;
        }
        let origin = self.port.origin(&event);
        let generation = invocation.letter.unwrap_or(origin.generation);
        let idempotency_key = self.port.shared.keys.key(&Origin { generation, ..origin });
        let delivery = Delivery {
            ticket: invocation.ticket,
            event,
            attempt: invocation.attempt,
            idempotency_key,
            deadline: invocation.deadline,
            wants_fresh: invocation.wants_fresh,
            may_resend: origin.may_resend,
            is_for_a_person: origin.is_for_a_person(),
            batch: invocation.batch,
            asks: invocation.asks.clone(),
        };
        self.port.counters.attempts.add(1);
        self.calls_out += 1;
        self.calls.push(Call::new(Arc::clone(&self.port), delivery));
    }

    fn hand_over(&mut self) {
        self.machine.handed_over();
        if !self.calls.is_empty() {
            let calls = std::mem::take(&mut self.calls);
            self.invoke.invoke(&self.port.name, &self.plugin, calls);
        }
    }

    fn answer_drain(&mut self) {
        let is_idle = self.calls_out == 0
            && self.submitted.is_empty()
            && self.held.is_empty()
            && self.resolving.is_empty()
            && self.late.is_empty()
            && self.step.writes.is_empty();
        if let (true, Some(waiting)) = (is_idle, &mut self.draining) {
            for reply in waiting.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(());
            }
        }
    }

    /// Waits for a message, a durable step, events at the tail or the machine's next timer.
    async fn rest(&mut self) {
        let now = self.now;
        self.alarm.set(self.machine.next_wakeup(), now);
        tokio::select! {
            biased;
            () = self.port.inbox.woken() => {}
            () = self.alarm.rings() => {}
        }
        // Others on this thread get their turn even when there is always something to do.
        tokio::task::yield_now().await;
    }

    fn floor(&self) -> Offset {
        self.machine.floor()
    }
}

impl Drop for Worker {
    /// A worker that broke an invariant is not started again: its subscription stands still until the host is restarted.
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(subscription = %self.port.name, "the worker broke an invariant and has ended; restart the host");
        }
        self.port.inbox.close();
    }
}

/// The timer of the machine's next wake-up. Kept armed when the wake-up moves to a later time, since it does so with nearly
/// every event; it then rings once in vain.
#[derive(Default)]
struct Alarm {
    at: Option<Instant>,
}

impl Alarm {
    fn set(&mut self, wakeup: Option<Timestamp>, now: Timestamp) {
        let Some(wakeup) = wakeup else {
            return;
        };
        let at = Instant::now() + Duration::from_millis(wakeup.since(now).0.max(1));
        if self.at.is_none_or(|armed| at < armed || armed <= Instant::now()) {
            self.at = Some(at);
        }
    }

    /// Cancel safe.
    async fn rings(&mut self) {
        match self.at {
            None => std::future::pending().await,
            Some(at) => {
                tokio::time::sleep_until(at).await;
                self.at = None;
            }
        }
    }
}
