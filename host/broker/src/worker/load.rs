//! Bringing waiting deliveries back from the store: row and event together, those of a round in few reads.
//!
//! Invariant: every load is answered, or the subscription is paused with the reason; then its machine asks again when it is
//! resumed.

use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::SubscriptionId;
use bugle_core::step::Load;
use bugle_core::subscription::Input;
use bugle_store::{ReadError, Store};

use super::inbox::Loaded;
use super::{Message, Worker};

/// Deliveries brought back by one read.
const LOADS_MAX: usize = 64;

impl Worker {
    /// Reads what was asked for in this round.
    pub(super) fn load_all(&mut self) {
        while !self.unloaded.is_empty() {
            let many = self.unloaded.len().min(LOADS_MAX);
            let mut wanted = Vec::with_capacity(many);
            for load in self.unloaded.drain(..many) {
                let event = self.payloads.event(&self.port.shared.ring, load.position.offset);
                wanted.push((load, event));
            }
            self.port.counters.store_reads.add(1);
            let port = Arc::clone(&self.port);
            self.tasks.spawn(async move {
                let (store, subscription) = (Arc::clone(&port.shared.store), port.subscription);
                let all = port.shared.blocking.run(move || read_all(&store, subscription, wanted)).await;
                port.inbox.push(match all {
                    Ok(all) => Message::Loaded(all),
                    Err(error) => Message::ReadFailed(error.to_string()),
                });
            });
        }
    }

    /// Hands to the machine what came back; the event is kept for the attempt that follows.
    pub(super) fn loaded(&mut self, all: Vec<Loaded>) {
        for (number, found) in all {
            if let Some((_, event)) = &found {
                self.payloads.keep_loaded(event.clone());
            }
            self.handle(Input::Loaded { number, found });
        }
    }
}

fn read_all(
    store: &Store,
    subscription: SubscriptionId,
    wanted: Vec<(Load, Option<StoredEvent>)>,
) -> Result<Vec<Loaded>, ReadError> {
    let read = |(load, event): (Load, Option<StoredEvent>)| {
        let row = store.waiting_at(subscription, load.position.offset)?;
        let event = match event {
            Some(event) => Some(event),
            None => store.event(load.position)?,
        };
        Ok((load.number, row.zip(event)))
    };
    wanted.into_iter().map(read).collect()
}
