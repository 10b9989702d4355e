//! One runner: takes calls from its pool, one after another, on one instance.
//!
//! Invariant: a call that was taken is finished, whatever happens to the instance.

use bugle_core::delivery::CallEnd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls::HostCalls;
use crate::instance::{Instance, Life};
use crate::pool::Pool;
use crate::revision::Active;

/// Other tasks of the thread get their turn at least this often.
const TURN: Duration = Duration::from_millis(1);

/// Runs until the pool has nothing for it.
pub(crate) async fn run<C: HostCalls>(pool: Arc<Pool<C>>) {
    let mut instance: Option<Instance<C>> = None;
    let mut turn_began = Instant::now();
    while let Some((mut call, active)) = pool.next(&mut instance) {
        call.runs_on(active.revision);
        if instance.is_none() {
            let left = Duration::from_millis(call.delivery().deadline.since(call.now()).0);
            match start(&pool, active, left).await {
                Ok(started) => instance = Some(started),
                Err(end) => {
                    call.finish(end);
                    continue;
                }
            }
        }
        let Some(ready) = &mut instance else { continue };
        let mut has_waited = false;
        let life = Box::pin(ready.call(call, || {
            has_waited = true;
            pool.went_waiting();
        }))
        .await;
        if has_waited {
            pool.stopped_waiting();
            turn_began = Instant::now();
        }
        if let Life::Over = life {
            instance = None;
        }
        if turn_began.elapsed() > TURN {
            tokio::task::yield_now().await;
            turn_began = Instant::now();
        }
    }
}

/// A fresh instance, once there is a slot for it.
async fn start<C: HostCalls>(pool: &Pool<C>, active: Arc<Active<C>>, within: Duration) -> Result<Instance<C>, CallEnd> {
    let Some(slots) = pool.slots.acquire(active.slots, within).await else {
        return Err(CallEnd::NotStarted(
            "no slot for an instance became free in time; raise the number of slots".to_owned(),
        ));
    };
    Instance::start(active, slots).await
}
