//! Asks a plugin what became of an effect that may have happened: its export `reconcile`, on an instance of its own.
//!
//! The handler waits in `dedup.claim` meanwhile, so it is another instance; the delivery is lent to that one, since its imports are
//! about the same delivery. What the core makes of the answer is not known here.
//!
//! Invariant: whatever the asked instance does, there is an answer: one that broke, or had no place, does not know.

use bugle_core::delivery::CallEnd;
use bugle_core::import::Found;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::Store;

use crate::apart;
use crate::bindings::bugle::plugin::types::{Delivery, Error};
use crate::bindings::reconciling::Reconciling;
use crate::bindings::reconciling::exports::bugle::plugin::reconcile::{Answer, Doubt};
use crate::calls::HostCalls;
use crate::deadline::Passed;
use crate::hand_over;
use crate::imports::bounded_reason;
use crate::instance::{bounded_store, ending, timed_out};
use crate::revision::Active;
use crate::state::State;

/// Longest wait for a place: those who wait in `claim` have places too, so waiting for each other must end.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Asks about the claim of this key. The handler's own instance is `state`.
pub(crate) async fn ask<C: HostCalls>(state: &mut State<C>, ticket: u64, key: String) -> Result<Found, Error> {
    let within = state.time_for_outgoing();
    let reference = state.live(ticket)?.delivery().asks.clone().unwrap_or_default();
    let Some(active) = state.active.clone() else { return Ok(unknown("there is no instance to ask")) };
    let Some((nth, call)) = state.lend(ticket) else { return Ok(unknown("there is no delivery")) };
    let asked = async move || Asked { active, within }.run(call, Doubt { key, reference }).await;
    // If this is dropped the delivery goes with it, and ends as a call that was stopped.
    let (call, found) = apart::run(asked).await?;
    state.give_back(nth, call);
    Ok(found)
}

struct Asked<C: HostCalls> {
    active: Arc<Active<C>>,
    within: Duration,
}

impl<C: HostCalls> Asked<C> {
    async fn run(self, call: C, doubt: Doubt) -> (C, Found) {
        let Asked { active, within } = self;
        let until = Instant::now() + within.min(active.bounds.wall);
        let Some(guest) = &active.reconciling else {
            return (call, unknown("the plugin does not export `reconcile`; deploy a revision that does"));
        };
        let Some(_place) = active.places.acquire(active.slots, within.min(PLACE_WAIT_MAX)).await else {
            return (call, unknown("no slot for an instance became free in time; raise the number of slots"));
        };
        let mut store = bounded_store(guest.engine(), &active);
        store.data_mut().deadline.set(until);
        let cpu = store.data().cpu.clone();
        let started = cpu.count(guest.instantiate_async(&mut store)).await;
        let guest = match started {
            Ok(guest) => guest,
            Err(error) => return (call, broke(&ending(&error, store.data_mut(), &active.bounds))),
        };
        let delivery = hand_over::delivery(&call, active.rights.business_key.as_deref());
        store.data_mut().begin(&mut vec![call]);
        let found = check(&mut store, &guest, (&delivery, &doubt), &active).await;
        let state = store.data_mut();
        state.report_output();
        state.end_outgoing().await;
        let call = state.end().next();
        (call.expect("the delivery stays with the store while its guest runs"), found)
    }
}

async fn check<C: HostCalls>(
    store: &mut Store<State<C>>,
    guest: &Reconciling,
    (delivery, doubt): (&Delivery, &Doubt),
    active: &Active<C>,
) -> Found {
    let (deadline, cpu) = (store.data().deadline.clone(), store.data().cpu.clone());
    store.set_epoch_deadline(1);
    let work = async { guest.bugle_plugin_reconcile().call_check_sent(&mut *store, delivery, doubt).await };
    let outcome = deadline.bound(cpu.count(work), || ()).await;
    match outcome {
        Ok(Ok(Answer::Done(receipt))) => Found::Done(receipt),
        Ok(Ok(Answer::NotSent)) => Found::NotSent,
        Ok(Ok(Answer::Unknown(reason))) => Found::Unknown(bounded_reason(reason)),
        Ok(Err(error)) => broke(&ending(&error, store.data_mut(), &active.bounds)),
        Err(Passed) => unknown(&timed_out(store.data_mut())),
    }
}

fn unknown(why: &str) -> Found {
    Found::Unknown(why.to_owned())
}

fn broke(end: &CallEnd) -> Found {
    let text = match end {
        CallEnd::Returned(_) => "it returned",
        CallEnd::Trapped(text) | CallEnd::TimedOut(text) | CallEnd::LimitExceeded(text) | CallEnd::NotStarted(text) => {
            text
        }
    };
    Found::Unknown(bounded_reason(format!("`reconcile` of the plugin broke: {text}")))
}
