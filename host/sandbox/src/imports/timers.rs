//! `timers`: wake up later, by the export `timer-handler`.
//!
//! A timer is the core's; what fires it is the host's.

use bugle_core::code::Code;
use bugle_core::import::{Import, Reply};
use bugle_core::time::Timestamp;

use super::{denied, done, error, unexpected};
use crate::bindings::bugle::plugin::{timers, types};
use crate::calls::HostCalls;
use crate::rights::Right;
use crate::state::State;

impl<C: HostCalls> timers::Host for State<C> {
    async fn set(
        &mut self,
        t: types::Ticket,
        name: String,
        at: types::Instant,
        data: Vec<u8>,
    ) -> Result<(), types::Error> {
        self.live(t)?;
        self.rights.check(Right::Timers).map_err(denied)?;
        if self.active.as_ref().is_some_and(|active| active.timing.is_none()) {
            return Err(error(Code::Unsupported, "this plugin does not export `timer-handler`, which would be called"));
        }
        self.ask(t, Import::TimerSet { name, at: Timestamp(at), data }).await.and_then(done)
    }

    async fn cancel(&mut self, t: types::Ticket, name: String) -> Result<bool, types::Error> {
        self.live(t)?;
        self.rights.check(Right::Timers).map_err(denied)?;
        match self.ask(t, Import::TimerCancel { name }).await? {
            Reply::Cancelled(was_set) => Ok(was_set),
            other => Err(unexpected(&other)),
        }
    }
}
