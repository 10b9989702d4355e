//! The calls and instances of one subscription: a queue, runners that take from it, and warm instances between runs.
//!
//! A runner is a task that hands one call after another to one instance. While its guest waits in an import another runner may
//! take its place: fast guests need one runner per thread, waiting ones as many as the subscription allows.
//!
//! Invariant: while calls are queued, a runner is busy or the subscription has all the runners it may have.

use bugle_core::delivery::CallEnd;
use bugle_core::spec::BATCH_DELIVERIES_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::calls::HostCalls;
use crate::instance::Instance;
use crate::revision::Active;
use crate::runner;
use crate::slots::Slots;
use crate::verify::World;

/// Idle instances kept for the next burst.
const IDLE_MAX: usize = 64;
/// After this an idle instance gives its memory back.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// Calls queued per busy runner before another one starts: waking a thread costs more than a few fast calls.
const CALLS_PER_RUNNER: usize = 8;
/// Bytes of events in one call for several deliveries: the rest goes into the next one, so that an instance needs no more memory
/// than for the largest event and a little.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Calls queued beyond the concurrency; more is a fault of the caller.
const QUEUE_SLACK: usize = 1024;

/// See the module.
pub(crate) struct Pool<C: HostCalls> {
    state: Mutex<PoolState<C>>,
    pub(crate) slots: Arc<Slots>,
    guest: Handle,
    threads: usize,
}

struct PoolState<C: HostCalls> {
    active: Arc<Active<C>>,
    calls: VecDeque<C>,
    idle: Vec<Instance<C>>,
    /// Runner tasks alive.
    runners: usize,
    /// Those whose guest has waited in its current call.
    waiting: usize,
    is_stopping: bool,
}

impl<C: HostCalls> PoolState<C> {
    fn busy(&self) -> usize {
        self.runners - self.waiting
    }

    /// Adds the deliveries behind the first one that share its call.
    fn take_companions(&mut self, calls: &mut Vec<C>) {
        // Timers fire one by one.
        let batch_of = |call: &C| call.delivery().batch.map(|batch| batch.first).filter(|_| call.timer().is_none());
        let bytes_of = |call: &C| call.delivery().event.event.bytes().len();
        let Some(first) = calls.first() else { return };
        let (Some(batch), mut bytes) = (batch_of(first), bytes_of(first)) else { return };
        while let Some(next) = self.calls.front().filter(|next| batch_of(next) == Some(batch)) {
            bytes += bytes_of(next);
            if calls.len() >= BATCH_DELIVERIES_MAX as usize || bytes > BATCH_BYTES_MAX {
                return;
            }
            calls.extend(self.calls.pop_front());
        }
    }
}

/// What one subscription has just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// The subscription.
    pub subscription: String,
    /// Its plugin.
    pub plugin: String,
    /// The active revision.
    pub revision: bugle_core::ids::Revision,
    /// Calls not started.
    pub queued: usize,
    /// Calls under way, waiting ones included.
    pub running: usize,
    /// Calls that wait in an import, or have waited.
    pub waiting: usize,
    /// Warm instances without a call.
    pub idle: usize,
}

impl<C: HostCalls> Pool<C> {
    pub(crate) fn new(active: Arc<Active<C>>, slots: Arc<Slots>, guest: Handle, threads: usize) -> Pool<C> {
        let state =
            PoolState { active, calls: VecDeque::new(), idle: Vec::new(), runners: 0, waiting: 0, is_stopping: false };
        Pool { state: Mutex::new(state), slots, guest, threads: threads.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that start from now on run on this revision and binding; calls under way end on theirs.
    pub(crate) fn activate(&self, active: Arc<Active<C>>) {
        let mut state = self.lock();
        state.active = active;
        let old = std::mem::take(&mut state.idle);
        drop(state);
        drop(old);
    }

    /// Queues calls and sees to it that somebody runs them. Never blocks.
    pub(crate) fn push(self: &Arc<Self>, calls: Vec<C>) {
        let mut state = self.lock();
        let room = if state.is_stopping {
            0
        } else {
            (state.active.concurrency + QUEUE_SLACK).saturating_sub(state.calls.len())
        };
        let reason = if state.is_stopping { "the host is stopping" } else { "the queue of the subscription is full" };
        let mut calls = calls.into_iter();
        state.calls.extend(calls.by_ref().take(room));
        let started = self.more_runners(&mut state);
        drop(state);
        self.spawn(started);
        for refused in calls {
            refused.finish(CallEnd::NotStarted(reason.to_owned()));
        }
    }

    /// How many runners to start now; they are counted already.
    fn more_runners(&self, state: &mut PoolState<C>) -> usize {
        let before = state.runners;
        while !state.calls.is_empty()
            && state.runners < state.active.concurrency
            && state.busy() < self.threads
            && state.calls.len() >= CALLS_PER_RUNNER * state.busy()
        {
            state.runners += 1;
        }
        state.runners - before
    }

    fn spawn(self: &Arc<Self>, runners: usize) {
        for _ in 0..runners {
            self.guest.spawn(runner::run(Arc::clone(self)));
        }
    }

    /// What the next call runs on, with its deliveries in `calls`, and an idle instance if the runner has none that fits. `None`:
    /// the runner is to end; its instance was taken back.
    pub(crate) fn next(&self, own: &mut Option<Instance<C>>, calls: &mut Vec<C>) -> Option<Arc<Active<C>>> {
        let mut state = self.lock();
        let stale = own.take_if(|instance| !instance.is_of(&state.active));
        let has_enough = state.busy() > self.threads;
        let next = if has_enough { None } else { state.calls.pop_front() };
        let Some(call) = next else {
            state.runners -= 1;
            let surplus = own.take().and_then(|instance| self.keep(&mut state, instance));
            drop(state);
            drop((stale, surplus));
            return None;
        };
        // A delivery that broke an instance runs on one of its own next, so that nothing an earlier call left can be to blame.
        let wants_fresh = call.delivery().wants_fresh;
        let used = own.take_if(|_| wants_fresh).and_then(|instance| self.keep(&mut state, instance));
        if own.is_none() && !wants_fresh {
            *own = state.idle.pop();
        }
        let active = Arc::clone(&state.active);
        calls.push(call);
        if active.world == World::BatchChannel {
            state.take_companions(calls);
        }
        drop(state);
        drop((stale, used));
        Some(active)
    }

    /// Keeps an instance for the next runner, or gives it back to be dropped outside the lock.
    fn keep(&self, state: &mut PoolState<C>, instance: Instance<C>) -> Option<Instance<C>> {
        if state.is_stopping || state.idle.len() >= IDLE_MAX || self.slots.have_waiters() {
            return Some(instance);
        }
        state.idle.push(instance);
        None
    }

    /// The runner's guest waits: somebody else may work.
    pub(crate) fn went_waiting(self: &Arc<Self>) {
        let mut state = self.lock();
        state.waiting += 1;
        let started = self.more_runners(&mut state);
        drop(state);
        self.spawn(started);
    }

    /// The call that had waited is over.
    pub(crate) fn stopped_waiting(&self) {
        self.lock().waiting -= 1;
    }

    /// Drops instances that nobody used for a while, or all of them if slots are short.
    pub(crate) fn sweep(&self, slots_are_short: bool) {
        let mut state = self.lock();
        let (kept, old) = std::mem::take(&mut state.idle)
            .into_iter()
            .partition(|instance| !slots_are_short && instance.idle_since + IDLE_TIME_MAX > Instant::now());
        state.idle = kept;
        drop(state);
        let old: Vec<Instance<C>> = old;
        drop(old);
    }

    /// Takes no more calls; queued ones are given back. Calls under way go on.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let calls = std::mem::take(&mut state.calls);
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
        for call in calls {
            call.finish(CallEnd::NotStarted("the host is stopping".to_owned()));
        }
    }

    /// The revision and binding that a call would run on now.
    pub(crate) fn active(&self) -> Arc<Active<C>> {
        Arc::clone(&self.lock().active)
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.lock().runners == 0
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let state = self.lock();
        PoolStatus {
            subscription: state.active.rights.subscription.to_string(),
            plugin: state.active.rights.plugin.clone(),
            revision: state.active.revision,
            queued: state.calls.len(),
            running: state.runners,
            waiting: state.waiting,
            idle: state.idle.len(),
        }
    }
}
