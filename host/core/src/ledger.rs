//! What the calls of one slot share: who holds which claim, and which kv version is the latest.
//!
//! A driver keeps one ledger behind one short lock. Under that lock it looks up the rows a method asks for, calls the method, and hands
//! the returned writes to the committer, so that the order of ledger steps is the order of commits. Until [`Ledger::durable`] is
//! told, the rows of a step are served from here, since the store does not show them yet.
//!
//! It knows nothing of lanes, cursors or guests. Invariant: at most one open claim per (scope, key), and a claim leaves memory only
//! when its row is durable.

mod effect;
mod expiry;
mod kv;
#[cfg(test)]
mod tests;
mod window;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashMap;

pub use effect::{ClaimHeld, Effect, NoDoubt};
pub(crate) use kv::number;
pub use kv::{KvEffect, KvRead};
pub use window::WINDOW_BYTES_MAX;
use window::{NewMark, Window};

use crate::ids::{BootId, ClaimId, Name, SubscriptionId, Ticket};
use crate::import::{ClaimOutcome, Strength};
use crate::row::{ClaimRow, ClaimState};
use crate::step::Write;
use crate::time::{Millis, Timestamp};

/// Told to whoever finds a claim held: come back after this long. Short, since the holder's call ends within its lease.
const BUSY_RETRY: Millis = Millis(500);

/// Number of a ledger step that had writes; [`Ledger::durable`] takes it back when they are on disk. Grows by one per step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerStep(u64);

/// A claim to open.
#[derive(Clone, Debug)]
pub struct ClaimAsk {
    /// Subscription or named channel.
    pub scope: Name,
    /// Business key.
    pub key: String,
    /// The call.
    pub ticket: Ticket,
    /// Whose call it is.
    pub owner: SubscriptionId,
    /// Strong or weak.
    pub strength: Strength,
    /// How long a done mark is kept.
    pub keep: Millis,
}

/// How an open claim ends without being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimFate {
    /// The guest gives it back and the evidence does not speak against it: free, whatever an earlier holder did.
    Released,
    /// This call surely sent nothing, or got an answer that allows another try: as it was before this call.
    Unsent,
    /// Something may have been sent.
    Uncertain,
}

/// A claim that a call no longer has open. A bug of the driver or a claim dropped with its lapsed lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claim `{0}` is not open", claim.0)]
pub struct NotOpen {
    /// The claim.
    pub claim: ClaimId,
}

/// A kv entry that the transaction read was changed by another one: the delivery is run again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` was changed by another delivery")]
pub struct KvConflict {
    /// The first key found changed.
    pub key: String,
}

type ClaimKey = (Name, String);

#[derive(Debug)]
enum Held {
    /// A call holds it.
    Open(OpenClaim),
    /// Its row is on the way to the disk.
    Settling { row: Option<ClaimRow>, step: LedgerStep },
}

#[derive(Debug)]
struct OpenClaim {
    id: ClaimId,
    ticket: Ticket,
    owner: SubscriptionId,
    strength: Strength,
    keep: Millis,
    /// A row exists or is on its way, so freeing must delete it.
    has_row: bool,
    /// Somebody before this holder may have sent: freeing must not forget it.
    uncertain: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Ledger {
    claims: HashMap<ClaimKey, Held>,
    open: HashMap<ClaimId, ClaimKey>,
    recent: kv::Recent,
    window: Window,
    settling: VecDeque<(LedgerStep, ClaimKey)>,
    next_claim: u64,
    next_step: u64,
}

impl Ledger {
    /// Drops the open claims of a subscription that has ended, and what is remembered under its name: nobody is left to settle them.
    /// In a scope that others share, a claim that has a row is found uncertain by the next one.
    pub fn end(&mut self, owner: SubscriptionId, scope: &str) {
        self.window.end_scope(scope);
        let is_its = |held: Option<&Held>| matches!(held, Some(Held::Open(open)) if open.owner == owner);
        let open = self.open.iter().filter(|(_, key)| is_its(self.claims.get(*key)));
        let is_over: Vec<ClaimId> = open.map(|(claim, _)| *claim).collect();
        for claim in is_over {
            if let Some(key) = self.open.remove(&claim) {
                self.claims.remove(&key);
            }
        }
    }

    /// An empty ledger. `boot` makes kv versions grow over restarts.
    #[must_use]
    pub fn new(boot: BootId) -> Ledger {
        Ledger {
            claims: HashMap::new(),
            open: HashMap::new(),
            recent: kv::Recent::new(boot),
            window: Window::new(boot, WINDOW_BYTES_MAX),
            settling: VecDeque::new(),
            next_claim: 1,
            next_step: 1,
        }
    }

    /// Opens a claim if it is free. `stored` is the row on disk, looked up under the same lock. A strong claim comes with a
    /// write that must be durable before the caller may act.
    pub fn claim(
        &mut self,
        now: Timestamp,
        ask: ClaimAsk,
        stored: Option<ClaimRow>,
    ) -> (ClaimOutcome, Option<(Write, LedgerStep)>) {
        let key = (ask.scope.clone(), ask.key.clone());
        let row = match self.claims.get(&key) {
            Some(Held::Open(_)) => return (ClaimOutcome::Busy(BUSY_RETRY), None),
            Some(Held::Settling { row, .. }) => row.clone(),
            None => match self.window.done(now, &ask.scope, &ask.key) {
                Some(receipt) => return (ClaimOutcome::Done(receipt), None),
                None => stored,
            },
        };
        let row = row.filter(|row| row.expires > now);
        let uncertain = match row.as_ref().map(|row| &row.state) {
            Some(ClaimState::Done { receipt }) => {
                return (ClaimOutcome::Done(receipt.clone()), None);
            }
            Some(ClaimState::Claimed | ClaimState::Uncertain) => true,
            None => false,
        };
        let id = ClaimId(self.next_claim);
        self.next_claim += 1;
        let write = match ask.strength {
            Strength::Weak => None,
            Strength::Strong => {
                let row = ClaimRow { state: ClaimState::Claimed, expires: now.after(ask.keep) };
                Some((Write::Claim { scope: ask.scope.clone(), key: ask.key.clone(), row: Some(row) }, self.step()))
            }
        };
        let has_row = row.is_some() || write.is_some();
        let ClaimAsk { ticket, owner, strength, keep, .. } = ask;
        let open = OpenClaim { id, ticket, owner, strength, keep, has_row, uncertain };
        self.claims.insert(key.clone(), Held::Open(open));
        self.open.insert(id, key);
        (ClaimOutcome::Claimed { claim: id, uncertain }, write)
    }

    /// The claim is done: returns the write that must be in one batch with everything it explains.
    pub fn confirm(
        &mut self,
        now: Timestamp,
        claim: ClaimId,
        receipt: Option<Vec<u8>>,
    ) -> Result<(Write, LedgerStep), NotOpen> {
        let (key, open) = self.take(claim)?;
        let mut mark = NewMark { key: key.1.clone(), expires: now.after(open.keep), receipt };
        if open.strength == Strength::Weak && !open.has_row {
            match self.mark(now, &key.0, mark) {
                Ok(marked) => return Ok(marked),
                Err(back) => mark = back,
            }
        }
        let row = ClaimRow { state: ClaimState::Done { receipt: mark.receipt }, expires: mark.expires };
        Ok(self.settle_claim(key, Some(row)))
    }

    /// The claim ends without being done. No write if nothing was ever on disk for it.
    pub fn release(
        &mut self,
        now: Timestamp,
        claim: ClaimId,
        fate: ClaimFate,
    ) -> Result<Option<(Write, LedgerStep)>, NotOpen> {
        let (key, open) = self.take(claim)?;
        let uncertain = match fate {
            ClaimFate::Released => false,
            ClaimFate::Unsent => open.uncertain,
            ClaimFate::Uncertain => true,
        };
        let row = uncertain.then(|| ClaimRow { state: ClaimState::Uncertain, expires: now.after(open.keep) });
        if row.is_none() && !open.has_row {
            self.claims.remove(&key);
            return Ok(None);
        }
        Ok(Some(self.settle_claim(key, row)))
    }

    /// The claims a call still has open, in the order in which they were opened.
    #[must_use]
    pub fn open_claims(&self, ticket: Ticket) -> Vec<ClaimId> {
        let mut claims: Vec<ClaimId> = self
            .open
            .iter()
            .filter(|(_, key)| matches!(self.claims.get(*key), Some(Held::Open(open)) if open.ticket == ticket))
            .map(|(id, _)| *id)
            .collect();
        claims.sort_unstable();
        claims
    }

    /// Every step up to this one is on disk and visible to look-ups.
    pub fn durable(&mut self, step: LedgerStep) {
        while self.settling.front().is_some_and(|(of, _)| *of <= step) {
            let Some((of, key)) = self.settling.pop_front() else {
                break;
            };
            if matches!(self.claims.get(&key), Some(Held::Settling { step, .. }) if *step == of) {
                self.claims.remove(&key);
            }
        }
        self.recent.durable(step);
    }

    /// What is held in memory: open claims, rows on the way, kv entries on the way.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.open.len(), self.settling.len(), self.recent.len())
    }

    fn take(&mut self, claim: ClaimId) -> Result<(ClaimKey, OpenClaim), NotOpen> {
        let key = self.open.remove(&claim).ok_or(NotOpen { claim })?;
        match self.claims.remove(&key) {
            Some(Held::Open(open)) => {
                assert!(open.id == claim, "the open index names the claim it was made for");
                Ok((key, open))
            }
            Some(Held::Settling { .. }) | None => Err(NotOpen { claim }),
        }
    }

    fn settle_claim(&mut self, key: ClaimKey, row: Option<ClaimRow>) -> (Write, LedgerStep) {
        let step = self.step();
        self.claims.insert(key.clone(), Held::Settling { row: row.clone(), step });
        self.settling.push_back((step, key.clone()));
        (Write::Claim { scope: key.0, key: key.1, row }, step)
    }

    fn step(&mut self) -> LedgerStep {
        let step = LedgerStep(self.next_step);
        self.next_step += 1;
        step
    }
}
