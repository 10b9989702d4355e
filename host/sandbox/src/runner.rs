//! One runner: takes calls from its pool, one after another, on one instance.
//!
//! Invariant: a call that was taken is finished, whatever happens to the instance.

use bugle_core::delivery::{CallEnd, Failure};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls::HostCalls;
use crate::instance::{Instance, Life, Wanted, time_left};
use crate::pool::Pool;
use crate::revision::Active;

/// Other tasks of the thread get their turn at least this often.
const TURN: Duration = Duration::from_millis(1);

/// Runs until the pool has nothing for it.
pub(crate) async fn run<C: HostCalls>(pool: Arc<Pool<C>>) {
    let mut instance: Option<Instance<C>> = None;
    let mut turn_began = Instant::now();
    let mut calls = Vec::new();
    while let Some(active) = pool.next(&mut instance, &mut calls) {
        calls.iter_mut().for_each(|call| call.runs_on(active.revision, active.world.settles()));
        let late: Vec<C> = calls.extract_if(.., |call| is_late(call)).collect();
        if !late.is_empty() {
            // They waited too long for an instance; nobody's attempt.
            let end = CallEnd::NotStarted("its expirytime passed before the plugin could take it".to_owned());
            C::finish_all(late.into_iter().map(|call| (call, end.clone())));
            if calls.is_empty() {
                continue;
            }
        }
        let is_timer = calls.first().is_some_and(|call| call.timer().is_some());
        if is_timer && active.timing.is_none() {
            let text = "a timer fires, and the plugin does not export `timer-handler`; deploy a revision that does, and replay it";
            let end = CallEnd::Returned(Err(Failure::Reject(text.to_owned())));
            C::finish_all(calls.drain(..).map(|call| (call, end.clone())));
            continue;
        }
        if is_timer {
            // Another export, so another instance; this one gives its place first.
            instance = None;
        }
        let wanted = if is_timer { Wanted::Timer } else { Wanted::Handler };
        if instance.is_none() {
            match start(&pool, active, time_left(&calls), wanted).await {
                Ok(started) => instance = Some(started),
                Err(end) => {
                    C::finish_all(calls.drain(..).map(|call| (call, end.clone())));
                    continue;
                }
            }
        }
        let Some(ready) = &mut instance else { continue };
        let mut has_waited = false;
        let life = Box::pin(ready.call(&mut calls, || {
            has_waited = true;
            pool.went_waiting();
        }))
        .await;
        if has_waited {
            pool.stopped_waiting();
            turn_began = Instant::now();
        }
        if is_timer || matches!(life, Life::Over) {
            instance = None;
        }
        if turn_began.elapsed() > TURN {
            tokio::task::yield_now().await;
            turn_began = Instant::now();
        }
    }
}

/// Whether a call comes too late for its event. Most events say nothing of that, and cost no look at the clock.
fn is_late<C: HostCalls>(call: &C) -> bool {
    let event = &call.delivery().event.event;
    event.index().timing.is_some() && event.is_expired(call.now())
}

/// A fresh instance, once there is a slot for it.
async fn start<C: HostCalls>(
    pool: &Pool<C>,
    active: Arc<Active<C>>,
    within: Duration,
    wanted: Wanted,
) -> Result<Instance<C>, CallEnd> {
    let Some(slots) = pool.slots.acquire(active.slots, within).await else {
        return Err(CallEnd::NotStarted(
            "no slot for an instance became free in time; raise the number of slots".to_owned(),
        ));
    };
    Instance::start(active, slots, wanted).await
}
