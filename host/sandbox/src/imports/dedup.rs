//! `dedup`: claims.
//!
//! Scope, evidence and fate of a claim are the core's; claim ids are checked there against those open in this call. Where the core
//! wants the plugin asked first, that is done on another instance.

use bugle_core::ids::ClaimId;
use bugle_core::import::{ClaimOutcome, Import, Reply, Strength};
use bugle_core::time::Millis;

use super::{done, unexpected};
use crate::bindings::bugle::plugin::{dedup, types};
use crate::calls::HostCalls;
use crate::reconcile;
use crate::state::State;

impl<C: HostCalls> dedup::Host for State<C> {
    async fn claim(
        &mut self,
        t: types::Ticket,
        key: String,
        strength: dedup::Strength,
        keep: Option<types::Millis>,
    ) -> Result<dedup::Outcome, types::Error> {
        let strength = match strength {
            dedup::Strength::Strong => Strength::Strong,
            dedup::Strength::Weak => Strength::Weak,
        };
        let keep = keep.map_or(strength.keep_default(), Millis);
        let mut reply = self.ask(t, Import::Claim { key: key.clone(), strength, keep }).await?;
        if reply == Reply::Ask {
            let found = reconcile::ask(self, t, key).await?;
            reply = self.ask(t, Import::Reconciled(found)).await?;
        }
        match reply {
            Reply::Claim(ClaimOutcome::Claimed { claim, uncertain }) => {
                self.claimed(t, claim.0);
                Ok(dedup::Outcome::Claimed(dedup::OpenClaim { id: claim.0, uncertain }))
            }
            Reply::Claim(ClaimOutcome::Done(receipt)) => Ok(dedup::Outcome::Done(receipt)),
            Reply::Claim(ClaimOutcome::Busy(Millis(millis))) => Ok(dedup::Outcome::Busy(millis)),
            other => Err(unexpected(&other)),
        }
    }

    async fn confirm(&mut self, id: u64, receipt: Option<Vec<u8>>) -> Result<(), types::Error> {
        self.ask_claimant(id, Import::Confirm { claim: ClaimId(id), receipt }).await.and_then(done)
    }

    async fn release(&mut self, id: u64) -> Result<(), types::Error> {
        self.ask_claimant(id, Import::Release { claim: ClaimId(id) }).await.and_then(done)
    }
}
