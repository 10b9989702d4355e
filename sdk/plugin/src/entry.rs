//! What the code made by `#[channel]` calls: decode the event, run the author's function, give the verdict.
//!
//! It holds no state between calls. Its invariant: data that does not decode is rejected before the
//! author's function runs, so it has had no effect.

use crate::host::wit::types;
use crate::parcel::Parcel;
use crate::{Config, Cx, Event, Failure, Outcome};
use serde::de::DeserializeOwned;

/// Run one delivery.
///
/// # Errors
/// The author's verdict, or `reject` if the data is not a `T`.
pub fn handle<T, F>(delivery: types::Delivery, channel: F) -> Result<(), types::Failure>
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&Cx, Event<T>) -> Outcome,
{
    Ok(run(Parcel::of(&delivery), channel)?)
}

/// See [`handle`].
pub(crate) fn run<T, F>(delivery: Parcel, channel: F) -> Outcome
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&Cx, Event<T>) -> Outcome,
{
    let cx = Cx::new(delivery.clone());
    channel(&cx, Event::decode(delivery).map_err(Failure::Reject)?)
}

/// Run the author's config check.
///
/// # Errors
/// The text of whatever the check says.
pub fn check<E: std::fmt::Display>(check: impl FnOnce(&Config) -> Result<(), E>) -> Result<(), String> {
    check(&Config::default()).map_err(|error| error.to_string())
}

/// The check of a channel that has none of its own.
///
/// # Errors
/// Never.
pub fn no_check(_: &Config) -> Result<(), String> {
    Ok(())
}
