//! An effect that may have happened is asked about before it is done again: what is taken meanwhile, and what the answer does.
//!
//! The claim is open and ours while the plugin is asked, so nobody else acts under its key. Knows nothing of how a plugin is asked.
//! Invariant: a claim that came uncertain is given to the guest only after the answer that it was not done.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Attempt, Next, Pending, Transaction, limits, refuse};
use crate::code::Code;
use crate::delivery::Verdict;
use crate::ids::ClaimId;
use crate::import::{ClaimOutcome, Found, Import, ImportError, Reply};

/// What is taken while the plugin is asked, and that no answer comes unasked.
pub(super) fn admit(is_asking: bool, import: &Import) -> Result<(), ImportError> {
    match (is_asking, import) {
        (true, Import::EgressStart | Import::EgressEnd(_) | Import::Reconciled(_)) => Ok(()),
        (true, _) => Err(limits::error(
            Code::Invalid,
            "`reconcile` only asks what became of an earlier attempt; it can call out, and nothing else",
        )),
        (false, Import::Reconciled(_)) => Err(limits::error(Code::Invalid, "nothing was asked about")),
        (false, _) => Ok(()),
    }
}

impl Attempt {
    /// The answer to [`Reply::Ask`].
    pub(super) fn reconciled(&mut self, found: Found) -> Next {
        self.is_asking = false;
        let Some(open) = self.claims.last_mut() else {
            return refuse(Code::Invalid, String::from("nothing was asked about"));
        };
        let claim = open.id;
        match found {
            Found::Done(receipt) => {
                // That it was done counts for more than what the provider called it.
                let receipt = receipt.filter(|receipt| receipt.len() <= limits::RECEIPT_BYTES_MAX);
                let pending = Pending::FoundDone { claim, receipt: receipt.clone() };
                self.ask(pending, Next::Confirm { claim, receipt, transaction: Transaction::default() })
            }
            Found::NotSent => {
                open.uncertain = false;
                Next::Reply(Ok(Reply::Claim(ClaimOutcome::Claimed { claim, uncertain: false })))
            }
            Found::Unknown(reason) => {
                let refusal = in_doubt(&open.key, &reason);
                // Whatever the guest makes of it: it must not act under this claim.
                self.settled.get_or_insert(Verdict::Unknown(limits::text(reason)));
                refusal
            }
        }
    }

    pub(super) fn found_done(&mut self, claim: ClaimId, receipt: Option<Vec<u8>>) -> Next {
        // The claim ends as if the guest had confirmed it; it was never told that it had it.
        let _done = self.confirmed(claim);
        Next::Reply(Ok(Reply::Claim(ClaimOutcome::Done(receipt))))
    }
}

/// The guest gets no claim of which it is not known whether it was used.
pub(super) fn in_doubt(key: &str, reason: &str) -> Next {
    let text = format!("whether `{key}` was done before is not known ({reason}); return `unknown`");
    refuse(Code::Uncertain, limits::text(text))
}
