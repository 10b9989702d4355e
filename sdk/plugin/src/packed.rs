//! Deliveries that the host hands over in one piece (`packed-handler`).
//!
//! Each string of a typed delivery costs a call from the host into the guest's allocator; this costs one for all of them.
//! It holds no state between calls. Its invariant: bytes that are no deliveries are a trap before the author's function runs.

use crate::host::wit::types;
use crate::parcel::Parcel;
use crate::{Cx, Delivery, Event, Outcome, batch, entry};
use serde::de::DeserializeOwned;

/// Run one delivery.
///
/// # Panics
/// The bytes are not one delivery.
pub fn handle_packed<T, F>(bytes: Vec<u8>, channel: F) -> Vec<Result<(), types::Failure>>
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&Cx, Event<T>) -> Outcome,
{
    let mut parcels = unpack(bytes).into_iter();
    let (Some(only), None) = (parcels.next(), parcels.next()) else {
        panic!("the host handed over another number of deliveries than one");
    };
    vec![entry::run(only, channel).map_err(types::Failure::from)]
}

/// Run the deliveries of one call.
///
/// # Panics
/// As [`crate::handle_batch`], and if the bytes are no deliveries.
pub fn handle_packed_batch<T, F>(bytes: Vec<u8>, channel: F) -> Vec<Result<(), types::Failure>>
where
    T: DeserializeOwned + 'static,
    F: FnOnce(&[Delivery<T>]) -> Vec<Outcome>,
{
    batch::run(unpack(bytes), channel).into_iter().map(|outcome| outcome.map_err(types::Failure::from)).collect()
}

fn unpack(bytes: Vec<u8>) -> Vec<Parcel> {
    Parcel::all(bytes).expect("the host packs deliveries as the contract says")
}
