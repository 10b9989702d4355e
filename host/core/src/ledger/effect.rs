//! What a person knows of an effect in doubt, written into its claims; and effects that are in doubt again.
//!
//! Invariant: a claim that a call holds, or that became certain since, is left alone.

use alloc::string::String;
use alloc::vec::Vec;

use super::{ClaimKey, Held, Ledger, LedgerStep};
use crate::row::{ClaimName, ClaimRow, ClaimState, UncertainClaim};
use crate::seeded::{Bug, is_planted};
use crate::step::Write;
use crate::time::Timestamp;

/// What a person knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It happened: the claim is done, with what later claims are answered.
    Happened {
        /// As a guest gives it with its confirm.
        receipt: Option<Vec<u8>>,
    },
    /// It did not happen: the claim is free.
    DidNot,
    /// Nobody knows: the claim stays as it is.
    InDoubt,
}

/// A call is at it just now; the caller tries again after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery holds claim `{key}` just now; try again in a moment")]
pub struct ClaimHeld {
    /// Business key.
    pub key: String,
}

/// Why an effect is not put in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDoubt {
    /// A call is at it just now.
    Held,
    /// Nothing is remembered of it on disk.
    Forgotten,
}

impl Ledger {
    /// An effect that counted as done is in doubt again, for as long as it would have been remembered. `stored` is the row on disk,
    /// looked up under the same lock. No write if it was in doubt before.
    pub fn doubt(
        &mut self,
        now: Timestamp,
        claim: &ClaimName,
        stored: impl FnOnce(&str, &str) -> Option<ClaimRow>,
    ) -> Result<Option<(Write, LedgerStep)>, NoDoubt> {
        let key: ClaimKey = (claim.scope.clone(), claim.key.clone());
        let row = match self.claims.get(&key) {
            Some(Held::Open(_)) => return Err(NoDoubt::Held),
            Some(Held::Settling { row, .. }) => row.clone(),
            None => stored(&claim.scope, &claim.key),
        };
        let row = row.filter(|row| row.expires > now).ok_or(NoDoubt::Forgotten)?;
        match row.state {
            ClaimState::Claimed | ClaimState::Uncertain => Ok(None),
            ClaimState::Done { .. } if is_planted(Bug::LateClaimStaysDone) => Ok(None),
            ClaimState::Done { .. } => {
                let row = ClaimRow { state: ClaimState::Uncertain, expires: row.expires };
                Ok(Some(self.settle_claim(key, Some(row))))
            }
        }
    }

    /// Tells claims what a person knows. `since` is when they were left uncertain; `stored` looks a row up under the same lock.
    /// Nothing is told if one of them is held.
    pub fn tell(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        claims: &[UncertainClaim],
        effect: &Effect,
        mut stored: impl FnMut(&str, &str) -> Option<ClaimRow>,
    ) -> Result<(Vec<Write>, Option<LedgerStep>), ClaimHeld> {
        let key_of = |claim: &UncertainClaim| (claim.scope.clone(), claim.key.clone());
        if let Some(held) = claims.iter().find(|claim| matches!(self.claims.get(&key_of(claim)), Some(Held::Open(_)))) {
            return Err(ClaimHeld { key: held.key.clone() });
        }
        let (mut writes, mut last) = (Vec::new(), None);
        for claim in claims {
            let key: ClaimKey = key_of(claim);
            let row = match self.claims.get(&key) {
                Some(Held::Settling { row, .. }) => row.clone(),
                Some(Held::Open(_)) | None => stored(&claim.scope, &claim.key),
            };
            let row = row.filter(|row| row.expires > now);
            let told = match effect {
                Effect::InDoubt => continue,
                Effect::Happened { receipt } => {
                    if matches!(&row, Some(ClaimRow { state: ClaimState::Done { .. }, .. })) {
                        continue;
                    }
                    // Remembered as long from now on as a confirm at that time would have been.
                    let expires = now.after(claim.expires.since(since));
                    Some(ClaimRow { state: ClaimState::Done { receipt: receipt.clone() }, expires })
                }
                Effect::DidNot => {
                    let is_as_left =
                        |row: &ClaimRow| row.state == ClaimState::Uncertain && row.expires == claim.expires;
                    if !row.as_ref().is_some_and(is_as_left) {
                        continue;
                    }
                    None
                }
            };
            let (write, step) = self.settle_claim(key, told);
            writes.push(write);
            last = Some(step);
        }
        Ok((writes, last))
    }
}
