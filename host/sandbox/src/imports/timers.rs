//! `timers`: known to the contract, not served by this host version.

use bugle_core::code::Code;

use super::error;
use crate::bindings::bugle::plugin::{timers, types};
use crate::calls::HostCalls;
use crate::state::State;

fn unsupported() -> types::Error {
    error(Code::Unsupported, "this host version serves no timers")
}

impl<C: HostCalls> timers::Host for State<C> {
    fn set(&mut self, t: types::Ticket, _: String, _: types::Instant, _: Vec<u8>) -> Result<(), types::Error> {
        self.live(t)?;
        Err(unsupported())
    }

    fn cancel(&mut self, t: types::Ticket, _: String) -> Result<bool, types::Error> {
        self.live(t)?;
        Err(unsupported())
    }
}
