//! Dead letters and unknown results as operators handle them: read, decide, and ask what dedup knows.
//!
//! Invariant: whoever holds [`Letters`] is the only one who decides about dead letters and unknown results of that subscription;
//! one is decided about as it is on disk at that moment.

use std::sync::{Arc, PoisonError};

use bugle_core::event::StoredEvent;
use bugle_core::ids::{KeyGeneration, Name, Position};
use bugle_core::origin::Origin;
use bugle_core::row::{ClaimState, DeadRow, UnknownRow};
use bugle_core::step::Write;
use bugle_core::subscription::{DecideError, Decision, Resolution, ResolveError, Resolved};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::{Bus, Definition};
use crate::call::Port;
use crate::queue::Stopped;
use crate::reads::ReadError;
use crate::worker::{Decide, Message, Resolve};

/// Letters of one page: they carry their events.
pub const LETTERS_PAGE_MAX: usize = 64;

/// Why the letters of a subscription cannot be decided about now.
#[derive(Debug, thiserror::Error)]
pub enum HoldLettersError {
    /// The caller: no such name.
    #[error("there is no subscription `{0}`")]
    NotFound(Name),
    /// The caller: somebody else is at it.
    #[error("somebody else is working on the dead letters or unknown results of `{0}`; try again when that has ended")]
    Busy(Name),
}

/// What dedup knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimFact {
    /// Nothing.
    Free,
    /// Done: the effect would be suppressed.
    Done,
    /// Begun, and maybe done.
    Uncertain,
}

/// The dead letters and unknown results of one subscription in the hands of one operator.
pub struct Letters {
    port: Arc<Port>,
    _alone: OwnedMutexGuard<()>,
}

impl Bus {
    /// Takes the letters of a subscription in hand.
    pub fn hold_letters(&self, subscription: &str) -> Result<Letters, HoldLettersError> {
        let name = || Name::from(subscription);
        let port = self.inside.port(subscription).ok_or_else(|| HoldLettersError::NotFound(name()))?;
        let alone = Arc::clone(&port.operators).try_lock_owned().map_err(|_| HoldLettersError::Busy(name()))?;
        Ok(Letters { port, _alone: alone })
    }

    /// One dead letter.
    pub async fn letter(&self, subscription: &str, position: Position) -> Result<Option<DeadRow>, ReadError> {
        let Some(port) = self.inside.port(subscription) else { return Ok(None) };
        port.letter(position).await
    }

    /// One unknown result.
    pub async fn unknown_at(&self, subscription: &str, position: Position) -> Result<Option<UnknownRow>, ReadError> {
        let Some(port) = self.inside.port(subscription) else { return Ok(None) };
        let (store, id) = (Arc::clone(&port.shared.store), port.subscription);
        Ok(port.shared.blocking.run(move || store.unknown_at(id, position)).await?)
    }

    /// The idempotency key of a delivery that continues this one.
    #[must_use]
    pub fn idempotency_key(&self, origin: &Origin) -> String {
        self.inside.shared.keys.key(origin)
    }

    /// What dedup knows of keys of a subscription, by what is on disk and remembered of weak claims.
    pub async fn claims(&self, subscription: &str, keys: Vec<String>) -> Result<Vec<ClaimFact>, ReadError> {
        let shared = Arc::clone(&self.inside.shared);
        let scope = self.inside.spec(subscription).map_or_else(|| Name::from(subscription), |spec| spec.claim_scope());
        let now = self.now();
        let read = move || {
            let fact = |key: &String| {
                let ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                if ledger.is_remembered(now, &scope, key) {
                    return Ok(ClaimFact::Done);
                }
                drop(ledger);
                let row = shared.store.claim(&scope, key)?;
                Ok(row.filter(|row| row.expires > now).map_or(ClaimFact::Free, |row| match row.state {
                    ClaimState::Done { .. } => ClaimFact::Done,
                    ClaimState::Claimed | ClaimState::Uncertain => ClaimFact::Uncertain,
                }))
            };
            keys.iter().map(fact).collect::<Result<Vec<_>, bugle_store::ReadError>>()
        };
        Ok(self.inside.shared.blocking.run(read).await?)
    }
}

impl Port {
    async fn letter(&self, position: Position) -> Result<Option<DeadRow>, ReadError> {
        let (store, id) = (Arc::clone(&self.shared.store), self.subscription);
        Ok(self.shared.blocking.run(move || store.dead_at(id, position)).await?)
    }
}

/// What became of a letter that was to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was.
    Done,
    /// It is not there any more.
    Gone,
    /// The caller left it as it is.
    Skipped,
    /// It cannot be.
    Refused(DecideError),
}

/// Why letters were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeLettersError {
    /// The operator: the disk.
    #[error("could not read the dead letters or unknown results to change")]
    Read(#[from] ReadError),
    /// The host stops.
    #[error("could not change the dead letters or unknown results")]
    Stopped(#[from] Stopped),
}

impl Letters {
    /// The delivery that a copy of a letter or of an unknown result continues.
    #[must_use]
    pub fn origin(&self, event: &StoredEvent, generation: KeyGeneration) -> Origin {
        Origin { generation, ..self.port.origin(event) }
    }

    /// Reads letters again, asks for a decision about each, and carries all out in one batch, in the order given, together with
    /// the rows that `also` makes of their number. Durable when it returns; one answer for each letter.
    pub async fn change(
        &mut self,
        positions: Vec<Position>,
        mut choose: impl FnMut(&DeadRow) -> Option<Decision>,
        also: impl FnOnce(usize) -> Vec<Definition>,
    ) -> Result<Vec<Changed>, ChangeLettersError> {
        let _unchanged = self.port.letters.lock().await;
        let (store, id) = (Arc::clone(&self.port.shared.store), self.port.subscription);
        let read = move || positions.into_iter().map(|position| store.dead_at(id, position)).collect();
        let rows: Result<Vec<Option<DeadRow>>, bugle_store::ReadError> = self.port.shared.blocking.run(read).await;
        let mut changed = Vec::new();
        let mut letters = Vec::new();
        for row in rows.map_err(ReadError::from)? {
            let chosen = row.as_ref().map(&mut choose);
            changed.push(match &chosen {
                None => Changed::Gone,
                Some(None) => Changed::Skipped,
                Some(Some(_)) => Changed::Done,
            });
            letters.extend(row.zip(chosen.flatten()));
        }
        if letters.is_empty() {
            return Ok(changed);
        }
        let also = also(letters.len()).into_iter().map(Definition::into_write).collect();
        let mut answers = self.decide(letters, also).await?.into_iter();
        for change in changed.iter_mut().filter(|change| **change == Changed::Done) {
            if let Some(Err(error)) = answers.next() {
                *change = Changed::Refused(error);
            }
        }
        Ok(changed)
    }

    async fn decide(
        &self,
        letters: Vec<(DeadRow, Decision)>,
        also: Vec<Write>,
    ) -> Result<Vec<Result<(), DecideError>>, Stopped> {
        let (decided, answers) = oneshot::channel();
        let (done, durable) = oneshot::channel();
        self.port.inbox.push(Message::Decide(Box::new(Decide { letters, also, decided, done })));
        let answers = answers.await.map_err(|_| Stopped)?;
        durable.await.map_err(|_| Stopped)?;
        Ok(answers)
    }

    /// Removes unknown results for good, whatever their state; how many were there. Durable when it returns.
    pub async fn erase_unknown(&mut self, positions: Vec<Position>) -> Result<usize, ChangeLettersError> {
        let _unchanged = self.port.letters.lock().await;
        let (store, id) = (Arc::clone(&self.port.shared.store), self.port.subscription);
        let read =
            move || positions.into_iter().filter_map(|position| store.unknown_at(id, position).transpose()).collect();
        let rows: Result<Vec<UnknownRow>, bugle_store::ReadError> = self.port.shared.blocking.run(read).await;
        let rows = rows.map_err(ReadError::from)?;
        let (count, (done, durable)) = (rows.len(), oneshot::channel());
        if count > 0 {
            self.port.inbox.push(Message::EraseUnknown(rows, done));
            durable.await.map_err(|_| Stopped)?;
        }
        Ok(count)
    }

    /// Reads unknown results again and tells the same of all of them in one batch, in the order given, together with the rows that
    /// `also` makes of their number. Durable when it returns; one answer for each, `None` for one that is gone or that `is_meant`
    /// leaves out.
    pub async fn resolve(
        &mut self,
        positions: Vec<Position>,
        resolution: Resolution,
        remark: &str,
        mut is_meant: impl FnMut(&UnknownRow) -> bool,
        also: impl FnOnce(usize) -> Vec<Definition>,
    ) -> Result<Vec<Option<Result<Resolved, ResolveError>>>, ChangeLettersError> {
        let _unchanged = self.port.letters.lock().await;
        let (store, id) = (Arc::clone(&self.port.shared.store), self.port.subscription);
        let read = move || positions.into_iter().map(|position| store.unknown_at(id, position)).collect();
        let rows: Result<Vec<Option<UnknownRow>>, bugle_store::ReadError> = self.port.shared.blocking.run(read).await;
        let rows: Vec<_> = rows.map_err(ReadError::from)?.into_iter().map(|row| row.filter(&mut is_meant)).collect();
        let is_there: Vec<bool> = rows.iter().map(Option::is_some).collect();
        let rows: Vec<UnknownRow> = rows.into_iter().flatten().collect();
        if rows.is_empty() {
            return Ok(is_there.into_iter().map(|_| None).collect());
        }
        let also = also(rows.len()).into_iter().map(Definition::into_write).collect();
        let (resolved, answers) = oneshot::channel();
        let (done, durable) = oneshot::channel();
        let remark = remark.to_owned();
        self.port.inbox.push(Message::Resolve(Box::new(Resolve { rows, resolution, remark, also, resolved, done })));
        let mut answers = answers.await.map_err(|_| Stopped)?.into_iter();
        durable.await.map_err(|_| Stopped)?;
        Ok(is_there.into_iter().map(|is_there| if is_there { answers.next() } else { None }).collect())
    }
}
