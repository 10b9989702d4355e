//! `ordering`: the delivery's lane.
//!
//! What waits and how long a lane is held is the core's.

use bugle_core::code::Code;
use bugle_core::import::{Import, Reply};
use bugle_core::time::Millis;

use super::{done, error, unexpected};
use crate::bindings::bugle::plugin::{ordering, types};
use crate::calls::HostCalls;
use crate::state::State;

impl<C: HostCalls> State<C> {
    fn lane(&mut self, ticket: u64) -> Result<Option<String>, types::Error> {
        let is_ordered = self.rights.is_ordered;
        let call = self.live(ticket)?;
        Ok(call.delivery().event.event.key().filter(|_| is_ordered).map(str::to_owned))
    }
}

impl<C: HostCalls> ordering::Host for State<C> {
    async fn key(&mut self, t: types::Ticket) -> Result<Option<String>, types::Error> {
        self.lane(t)
    }

    async fn waiting(&mut self, t: types::Ticket) -> Result<u32, types::Error> {
        if self.lane(t)?.is_none() {
            return Ok(0);
        }
        match self.ask(t, Import::Waiting).await? {
            Reply::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    async fn hold(&mut self, t: types::Ticket, duration: types::Millis) -> Result<(), types::Error> {
        if self.lane(t)?.is_none() {
            return Err(error(Code::Invalid, "this delivery is in no lane; only events with an ordering key are"));
        }
        self.ask(t, Import::Hold(Millis(duration))).await.and_then(done)
    }
}
