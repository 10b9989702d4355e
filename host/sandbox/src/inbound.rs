//! Callbacks of providers: the export `inbound`, on an instance of its own, and what it says in the core's words.
//!
//! No delivery has a part in it: there is no ticket, nothing is charged, and the instance ends with the call, so what the internet sends
//! never meets what handles events. Knows nothing of HTTP and of records.
//!
//! Invariant: what a guest returns is bounded and checked here, or it has returned nothing.

use bugle_core::callback::StatusChange;
use bugle_core::delivery::CallEnd;
use bugle_core::row::RecordStatus;
use bugle_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::Store;

use crate::bindings::receiving::Receiving;
use crate::bindings::receiving::exports::bugle::plugin::inbound as wit;
use crate::calls::HostCalls;
use crate::deadline::Passed;
use crate::imports::cut;
use crate::instance::{bounded_store, ending, timed_out};
use crate::output::printable;
use crate::revision::Active;
use crate::state::State;

/// Changes that one callback may tell: providers send events in batches of a thousand at most.
pub const CHANGES_MAX: usize = 1000;
/// Longest reference: the longest that can be noted.
const REFERENCE_BYTES_MAX: usize = 1 << 10;
/// Longest recipient: the longest that can be noted.
const RECIPIENT_BYTES_MAX: usize = 512;
/// Longest detail.
const DETAIL_BYTES_MAX: usize = 1 << 10;
/// Longest text of a refusal, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// A request of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    /// In upper case.
    pub method: String,
    /// As sent.
    pub path: String,
    /// As sent, without the question mark.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// Why a callback told nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The caller: nothing is there that could receive it.
    #[error("the subscription has no plugin that takes callbacks")]
    NotReceiving,
    /// The caller: the plugin does not accept it.
    #[error("the plugin refused the callback: {0}")]
    Refused(String),
    /// The plugin's author: it trapped, took too long or said something that cannot be.
    #[error("the plugin broke on a callback")]
    Broke(CallEnd),
    /// Later, perhaps.
    #[error("no slot for an instance became free in time; raise the number of slots")]
    NoSlot,
    /// A bug of ours.
    #[error("taking the callback failed inside the host; please report it")]
    Panicked,
}

pub(crate) async fn receive<C: HostCalls>(
    active: Arc<Active<C>>,
    callback: Callback,
    within: Duration,
) -> Result<Vec<StatusChange>, ReceiveError> {
    let until = Instant::now() + within.min(active.bounds.wall);
    let guest = active.receiving.as_ref().ok_or(ReceiveError::NotReceiving)?;
    let _place = active.places.acquire(active.slots, within).await.ok_or(ReceiveError::NoSlot)?;
    let mut store = bounded_store(guest.engine(), &active);
    store.data_mut().deadline.set(until);
    let cpu = store.data().cpu.clone();
    let started = cpu.count(guest.instantiate_async(&mut store)).await;
    let guest = started.map_err(|error| broke(ending(&error, store.data_mut(), &active.bounds)))?;
    let answer = call(&mut store, &guest, callback, &active).await;
    store.data_mut().report_output();
    answer?.into_iter().map(change).collect::<Result<_, _>>().map_err(|why| broke(CallEnd::Trapped(why)))
}

async fn call<C: HostCalls>(
    store: &mut Store<State<C>>,
    guest: &Receiving,
    callback: Callback,
    active: &Active<C>,
) -> Result<Vec<wit::StatusChange>, ReceiveError> {
    let (deadline, cpu) = (store.data().deadline.clone(), store.data().cpu.clone());
    store.set_epoch_deadline(1);
    let Callback { method, path, query, headers, body } = callback;
    let callback = wit::Callback { method, path, query, headers, body };
    let work = async { guest.bugle_plugin_inbound().call_receive(&mut *store, &callback).await };
    let outcome = deadline.bound(cpu.count(work), || ()).await;
    match outcome {
        Ok(Ok(Ok(changes))) if changes.len() <= CHANGES_MAX => Ok(changes),
        Ok(Ok(Ok(changes))) => {
            let text = format!("told {} changes in one callback, at most {CHANGES_MAX} are taken", changes.len());
            Err(broke(CallEnd::LimitExceeded(text)))
        }
        Ok(Ok(Err(text))) => Err(ReceiveError::Refused(printable(&text).chars().take(TEXT_CHARS_MAX).collect())),
        Ok(Err(error)) => Err(broke(ending(&error, store.data_mut(), &active.bounds))),
        Err(Passed) => Err(broke(CallEnd::TimedOut(timed_out(store.data_mut())))),
    }
}

fn broke(end: CallEnd) -> ReceiveError {
    ReceiveError::Broke(end)
}

fn change(told: wit::StatusChange) -> Result<StatusChange, String> {
    let status = RecordStatus::from_word(&told.status).ok_or_else(|| {
        let words: Vec<&str> = RecordStatus::ALL.iter().map(|status| status.word()).collect();
        let word: String = printable(&told.status).chars().take(50).collect();
        format!("told the status `{word}`, which is none of {}", words.join(", "))
    })?;
    if !(1..=REFERENCE_BYTES_MAX).contains(&told.provider_ref.len()) {
        return Err(format!(
            "told a reference of {} bytes, not of 1 to {REFERENCE_BYTES_MAX}",
            told.provider_ref.len()
        ));
    }
    if let Some(recipient) = told.recipient.as_ref().filter(|text| !(1..=RECIPIENT_BYTES_MAX).contains(&text.len())) {
        return Err(format!("told a recipient of {} bytes, not of 1 to {RECIPIENT_BYTES_MAX}", recipient.len()));
    }
    Ok(StatusChange {
        reference: told.provider_ref,
        recipient: told.recipient,
        status,
        at: told.at.map(Timestamp),
        detail: cut(told.detail.unwrap_or_default(), DETAIL_BYTES_MAX),
    })
}
