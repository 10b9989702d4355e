//! The seam to the broker: started attempts as the sandbox sees them.
//!
//! The sandbox asks and tells through [`HostCalls`] and keeps no state of a delivery of its own; whoever implements it decides.
//!
//! Invariant: each attempt is finished exactly once, by [`HostCalls::finish`] or [`HostCalls::finish_all`], whatever the guest does.

use bugle_core::delivery::{CallEnd, Delivery, Settles};
use bugle_core::ids::{Name, Revision};
use bugle_core::import::{Import, ImportResult};
use bugle_core::time::Timestamp;

/// One delivery in the hands of one guest call.
pub trait HostCalls: Send + 'static {
    /// What to hand to the guest.
    fn delivery(&self) -> &Delivery;

    /// Name of the event's topic.
    fn topic(&self) -> Name;

    /// The host's accepted clock, the one that deadlines are counted in.
    fn now(&self) -> Timestamp;

    /// The name of the timer that fires with it, if it is one.
    fn timer(&self) -> Option<&str> {
        None
    }

    /// Which revision the call is about to run on, and when verdicts by import take effect there.
    fn runs_on(&mut self, revision: Revision, settles: Settles) {
        let _ = (revision, settles);
    }

    /// Whether its verdict took effect already.
    fn is_settled(&self) -> bool {
        false
    }

    /// Carries out one import. A future dropped half-way means that the guest was stopped; `finish` follows.
    fn import(&mut self, import: Import) -> impl Future<Output = ImportResult> + Send;

    /// The call ended.
    fn finish(self, end: CallEnd);

    /// A call that several shared ended.
    fn finish_all(ended: impl Iterator<Item = (Self, CallEnd)>)
    where
        Self: Sized,
    {
        for (call, end) in ended {
            call.finish(end);
        }
    }
}
