//! The seam to the broker: one started attempt as the sandbox sees it.
//!
//! The sandbox asks and tells through [`HostCalls`] and keeps no state of a delivery of its own; whoever implements it decides.
//!
//! Invariant: [`HostCalls::finish`] is called exactly once per call, whatever the guest does.

use bugle_core::delivery::{CallEnd, Delivery};
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

    /// Which revision the call is about to run on, for whoever wants to know.
    fn runs_on(&mut self, revision: Revision) {
        let _ = revision;
    }

    /// Carries out one import. A future dropped half-way means that the guest was stopped; `finish` follows.
    fn import(&mut self, import: Import) -> impl Future<Output = ImportResult> + Send;

    /// The call ended.
    fn finish(self, end: CallEnd);
}
