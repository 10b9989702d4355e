//! One instance of a plugin: started, called, thrown away.
//!
//! Every way a call can end becomes a [`CallEnd`] with a reason. It does not know queues or other instances.
//!
//! Invariant: after anything but a plain return the instance is not called again.

use bugle_core::delivery::CallEnd;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::{Engine, Store, Trap};

use crate::bindings::Channel;
use crate::bindings::batch::BatchChannel;
use crate::bindings::bugle::plugin::types::Failure;
use crate::bindings::packing::Packing;
use crate::bindings::timing::Timing;
use crate::calls::HostCalls;
use crate::deadline::Passed;
use crate::hand_over;
use crate::options::Bounds;
use crate::packed;
use crate::revision::{Active, Linked};
use crate::state::State;

/// Bytes a guest may pass to the host in one call: the largest list any import takes is 1 MiB, `send-all` apart.
const HOSTCALL_BYTES_MAX: usize = 4 << 20;
/// Handles of components (streams, pollables).
const HANDLES_MAX: usize = 1024;
/// Longest reason.
const REASON_CHARS_MAX: usize = 2000;

/// What a guest exports.
enum Guest {
    Channel(Channel),
    Batch(BatchChannel),
    Packed(Packing),
    Timer(Timing),
}

/// Which export an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The handler of its world.
    Handler,
    /// `timer-handler`.
    Timer,
}

/// What a guest returned.
enum Returned {
    One(Result<(), Failure>),
    Many(Vec<Result<(), Failure>>),
}

/// A started guest.
pub(crate) struct Instance<C: HostCalls> {
    store: Store<State<C>>,
    guest: Guest,
    active: Arc<Active<C>>,
    calls_left: u32,
    /// Deliveries in one piece, for a guest that takes them so; kept for its room.
    packed: Vec<u8>,
    pub(crate) idle_since: Instant,
    /// Its share of the slots, given back after the store.
    _slots: OwnedSemaphorePermit,
}

/// How a call ended, and whether the instance may be called again.
pub(crate) enum Life {
    Reusable,
    Over,
}

impl<C: HostCalls> Instance<C> {
    /// Makes a store and runs the guest's start code, under the CPU budget.
    pub(crate) async fn start(
        active: Arc<Active<C>>,
        slots: OwnedSemaphorePermit,
        wanted: Wanted,
    ) -> Result<Instance<C>, CallEnd> {
        let bounds = active.bounds;
        let engine = match &active.linked {
            Linked::Channel(pre) => pre.engine(),
            Linked::Batch(pre) => pre.engine(),
            Linked::Packed(pre) => pre.engine(),
        };
        let mut store = bounded_store(engine, &active);
        let cpu = store.data().cpu.clone();
        let starting = async {
            if wanted == Wanted::Timer {
                let pre = active.timing.as_ref().ok_or_else(|| wasmtime::Error::msg("no `timer-handler`"))?;
                return pre.instantiate_async(&mut store).await.map(Guest::Timer);
            }
            match &active.linked {
                Linked::Channel(pre) => pre.instantiate_async(&mut store).await.map(Guest::Channel),
                Linked::Batch(pre) => pre.instantiate_async(&mut store).await.map(Guest::Batch),
                Linked::Packed(pre) => pre.instantiate_async(&mut store).await.map(Guest::Packed),
            }
        };
        let guest = cpu.count(starting).await.map_err(|error| ending(&error, store.data_mut(), &bounds))?;
        let (calls_left, packed) = (bounds.reuse, Vec::new());
        Ok(Instance { store, guest, calls_left, packed, active, idle_since: Instant::now(), _slots: slots })
    }

    /// Whether it is of this revision and binding.
    pub(crate) fn is_of(&self, active: &Arc<Active<C>>) -> bool {
        Arc::ptr_eq(&self.active, active)
    }

    /// Hands deliveries to the guest in one call and finishes them; a guest that takes one per call gets the only one. `on_wait` is
    /// called when the guest waits for the first time.
    pub(crate) async fn call(&mut self, calls: &mut Vec<C>, on_wait: impl FnMut()) -> Life {
        let mut deliveries = Vec::new();
        let business_key = self.active.rights.business_key.as_deref();
        if let Guest::Packed(_) = &self.guest {
            packed::refill(&mut self.packed, calls, business_key);
        } else {
            deliveries.extend(calls.iter().map(|call| hand_over::delivery(call, business_key)));
        }
        let count = calls.len();
        let timer = calls.first().and_then(|call| call.timer().map(str::to_owned)).unwrap_or_default();
        let left = time_left(calls);
        let state = self.store.data_mut();
        state.begin(calls);
        let (deadline, cpu) = (state.deadline.clone(), state.cpu.clone());
        deadline.set(Instant::now() + left.min(self.active.bounds.wall));
        self.store.set_epoch_deadline(1);
        let work = async {
            match (&self.guest, deliveries.as_slice()) {
                (Guest::Packed(guest), _) => {
                    let handler = guest.bugle_plugin_packed_handler();
                    handler.call_handle_packed(&mut self.store, &self.packed).await.map(Returned::Many)
                }
                (Guest::Channel(guest), [delivery]) => {
                    guest.bugle_plugin_handler().call_handle(&mut self.store, delivery).await.map(Returned::One)
                }
                (Guest::Timer(guest), [delivery]) => {
                    let handler = guest.bugle_plugin_timer_handler();
                    let fired = handler.call_fire(&mut self.store, delivery.ticket, &timer, &delivery.event.data);
                    fired.await.map(Returned::One)
                }
                (Guest::Channel(_) | Guest::Timer(_), _) => {
                    Err(wasmtime::Error::msg("this plugin takes one delivery per call"))
                }
                (Guest::Batch(guest), deliveries) => {
                    let handler = guest.bugle_plugin_batch_handler();
                    handler.call_handle_batch(&mut self.store, deliveries).await.map(Returned::Many)
                }
            }
        };
        let outcome = AssertUnwindSafe(deadline.bound(cpu.count(work), on_wait)).catch_unwind().await;
        let state = self.store.data_mut();
        let (end, life) = match outcome {
            Ok(Ok(Ok(returned))) => ends(returned, count, state),
            Ok(Ok(Err(error))) => (Ends::All(ending(&error, state, &self.active.bounds)), Life::Over),
            Ok(Err(Passed)) => (Ends::All(CallEnd::TimedOut(timed_out(state))), Life::Over),
            Err(_) => {
                let text = "the host's own code failed in this call; please report it".to_owned();
                (Ends::All(CallEnd::Trapped(text)), Life::Over)
            }
        };
        state.report_output();
        state.end_outgoing().await;
        match end {
            // Nearly every call: no list is made of it.
            Ends::All(end) if count == 1 => state.end().for_each(|call| call.finish(end.clone())),
            Ends::All(end) => C::finish_all(state.end().map(|call| (call, end.clone()))),
            Ends::Each(results) => C::finish_all(state.end().zip(results.into_iter().map(hand_over::returned))),
        }
        self.calls_left = self.calls_left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let is_worn = self.calls_left == 0 || self.store.data().memory.is_half_full();
        self.idle_since = Instant::now();
        if is_worn { Life::Over } else { life }
    }

    /// Runs `lifecycle.check`, at most for `wall`.
    pub(crate) async fn check(&mut self, wall: Duration) -> Result<Result<(), String>, CallEnd> {
        let state = self.store.data_mut();
        state.refill();
        let (deadline, cpu) = (state.deadline.clone(), state.cpu.clone());
        deadline.set(Instant::now() + wall);
        self.store.set_epoch_deadline(1);
        let work = async {
            match &self.guest {
                Guest::Channel(guest) => guest.bugle_plugin_lifecycle().call_check(&mut self.store).await,
                Guest::Batch(guest) => guest.bugle_plugin_lifecycle().call_check(&mut self.store).await,
                Guest::Packed(guest) => guest.bugle_plugin_lifecycle().call_check(&mut self.store).await,
                Guest::Timer(_) => Err(wasmtime::Error::msg("an instance for a timer is not checked")),
            }
        };
        let outcome = deadline.bound(cpu.count(work), || ()).await;
        let state = self.store.data_mut();
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ending(&error, state, &self.active.bounds)),
            Err(Passed) => Err(CallEnd::TimedOut(timed_out(state))),
        }
    }
}

/// An empty store with every bound set.
pub(crate) fn bounded_store<C: HostCalls>(engine: &Engine, active: &Arc<Active<C>>) -> Store<State<C>> {
    let mut store = Store::new(engine, State::new(Arc::clone(&active.rights), &active.bounds));
    store.data_mut().active = Some(Arc::clone(active));
    store.limiter(|state| &mut state.memory);
    store.epoch_deadline_callback(|store| Ok(store.data().tick()));
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    store
}

/// How the deliveries of one call ended.
enum Ends {
    /// All of them alike.
    All(CallEnd),
    /// Each by its own result.
    Each(Vec<Result<(), Failure>>),
}

/// What a guest returned for so many deliveries. A list of another length tells nothing of anybody.
fn ends<C: HostCalls>(returned: Returned, count: usize, state: &mut State<C>) -> (Ends, Life) {
    match returned {
        Returned::One(result) => (Ends::All(hand_over::returned(result)), Life::Reusable),
        Returned::Many(results) if results.len() == count => {
            let ends = match <[_; 1]>::try_from(results) {
                Ok([only]) => Ends::All(hand_over::returned(only)),
                Err(results) => Ends::Each(results),
            };
            (ends, Life::Reusable)
        }
        Returned::Many(results) => {
            let text = format!("returned {} results for {count} deliveries", results.len());
            (Ends::All(CallEnd::Trapped(reason(text, state))), Life::Over)
        }
    }
}

/// Until the first of them must have ended.
pub(crate) fn time_left<C: HostCalls>(calls: &[C]) -> Duration {
    let left = calls.iter().map(|call| call.delivery().deadline.since(call.now()).0).min();
    Duration::from_millis(left.unwrap_or_default())
}

pub(crate) fn timed_out<C: HostCalls>(state: &mut State<C>) -> String {
    reason("ran past its deadline and was stopped".to_owned(), state)
}

/// What became of a call that wasmtime stopped.
pub(crate) fn ending<C: HostCalls>(error: &wasmtime::Error, state: &mut State<C>, bounds: &Bounds) -> CallEnd {
    if state.memory.take_refused() {
        let text = format!("asked for more than its {} bytes of memory", state.memory.bytes_max());
        return CallEnd::LimitExceeded(reason(text, state));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let budget = bounds.cpu;
            CallEnd::TimedOut(reason(format!("used up its CPU budget of {budget:?} and was stopped"), state))
        }
        Some(Trap::StackOverflow) => {
            CallEnd::LimitExceeded(reason("ran out of stack; is there a deep recursion?".to_owned(), state))
        }
        Some(Trap::MemoryOutOfBounds) => {
            let text = "touched memory out of bounds; a deep recursion ends like this too".to_owned();
            CallEnd::Trapped(reason(text, state))
        }
        Some(trap) => CallEnd::Trapped(reason(trap.to_string(), state)),
        None => {
            let text = format!("{:#}", error.root_cause());
            if text.contains("fuel allocated for hostcalls") {
                let text = format!("passed more than {HOSTCALL_BYTES_MAX} bytes to the host in one call");
                return CallEnd::LimitExceeded(reason(text, state));
            }
            CallEnd::Trapped(reason(text, state))
        }
    }
}

/// The text and what the guest wrote last: a panic message is told on stderr only.
fn reason<C: HostCalls>(text: String, state: &mut State<C>) -> String {
    let full = match state.output.take() {
        Some(output) => format!("{text}; its last output: {output}"),
        None => text,
    };
    full.chars().take(REASON_CHARS_MAX).collect()
}
