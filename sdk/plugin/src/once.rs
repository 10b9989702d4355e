//! `once`: do an effect once per key, over attempts, crashes and duplicate events.
//!
//! Claim, act, confirm with a receipt; release after a failure that surely did nothing; keep after
//! one that may have. It does not judge by itself what left the machine: the host does, and its
//! `uncertain` wins over the plugin's word. Invariant: the effect never runs while an earlier try may
//! have succeeded, unless operator or author said that sending again is harmless.

use crate::cx::Cx;
use crate::error::{Code, HostError};
use crate::host::{dedup, millis, wit};
use crate::verdict::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use wit::dedup::{Outcome, Strength};

/// An effect to be done once, being set up. Made by [`Cx::claim`]; ends with [`Claim::run`].
#[must_use = "nothing happens before `run`"]
pub struct Claim<'a, R> {
    cx: &'a Cx,
    key: String,
    strength: Strength,
    keep: Option<Duration>,
    uncertain: Uncertain<'a, R>,
}

/// What a look at the provider found. Returned by the closure of [`Claim::reconcile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<R> {
    /// The effect was done; this is its receipt.
    Done(R),
    /// It surely was not.
    NotDone,
    /// It cannot be told.
    Unclear,
}

/// What to do when an earlier attempt may have had the effect.
enum Uncertain<'a, R> {
    GiveUp,
    Resend,
    Ask(Box<dyn FnOnce() -> Result<Found<R>, Failure> + 'a>),
}

impl<R> std::fmt::Debug for Claim<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'a, R: Serialize + DeserializeOwned> Claim<'a, R> {
    pub(crate) fn new(cx: &'a Cx, key: &str) -> Self {
        Self { cx, key: key.to_owned(), strength: Strength::Strong, keep: None, uncertain: Uncertain::GiveUp }
    }

    /// Nothing is on disk before the effect: cheaper, and a crash in the middle leaves no trace of the try.
    pub fn weak(mut self) -> Self {
        self.strength = Strength::Weak;
        self
    }

    /// How long the done effect is remembered; by default 30 days, weak 10 minutes.
    pub fn keep(mut self, time: Duration) -> Self {
        self.keep = Some(time);
        self
    }

    /// Sending again is harmless, since the receiver drops equal idempotency keys.
    pub fn resend_uncertain(mut self) -> Self {
        self.uncertain = Uncertain::Resend;
        self
    }

    /// After an uncertain attempt ask the provider with this closure.
    pub fn reconcile(mut self, ask: impl FnOnce() -> Result<Found<R>, Failure> + 'a) -> Self {
        self.uncertain = Uncertain::Ask(Box::new(ask));
        self
    }

    /// Run `effect` if it was not done before; returns what it returned, now or back then.
    ///
    /// # Errors
    /// The failure that `effect` returned; `defer` while another delivery holds the key; `unknown` if
    /// the effect may have happened, in this attempt or an earlier one.
    pub fn run(self, effect: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
        let outcome =
            dedup::claim(self.cx.ticket(), &self.key, self.strength, self.keep.map(millis)).map_err(HostError::from)?;
        let claim = match outcome {
            Outcome::Done(receipt) => return read(receipt.as_deref()),
            Outcome::Busy(time) => return Err(Failure::Defer(Duration::from_millis(time))),
            Outcome::Claimed(claim) => claim,
        };
        if claim.uncertain
            && let Some(receipt) = self.settle_uncertain()?
        {
            return confirm(claim.id, receipt);
        }
        match effect() {
            Ok(receipt) => confirm(claim.id, receipt),
            Err(Failure::Unknown(reference)) => Err(Failure::Unknown(reference)),
            Err(failure) => Err(release(claim.id, failure)),
        }
    }

    /// The receipt if the effect is known to be done; none if it may run (again). `park` is final; else a look at the
    /// provider is better than any policy; then the operator's word goes before the author's.
    fn settle_uncertain(self) -> Result<Option<R>, Failure> {
        let policy = self.cx.attribute("uncertain");
        let may_resend = match policy.as_deref() {
            Some("park") => return Err(Failure::Unknown(String::new())),
            Some("resend") => true,
            Some("ask") => false,
            _ => matches!(self.uncertain, Uncertain::Resend),
        };
        let found = match self.uncertain {
            Uncertain::Ask(ask) => ask().map_err(still_uncertain)?,
            Uncertain::Resend | Uncertain::GiveUp => Found::Unclear,
        };
        match found {
            Found::Done(receipt) => Ok(Some(receipt)),
            Found::NotDone => Ok(None),
            Found::Unclear if may_resend => Ok(None),
            Found::Unclear => Err(Failure::Unknown(String::new())),
        }
    }
}

/// A question to the provider that failed says nothing of the effect: ask again later.
fn still_uncertain(failure: Failure) -> Failure {
    match failure {
        Failure::Unknown(reference) => Failure::Retry {
            after: None,
            reason: format!("could not ask the provider whether it was sent {reference}"),
            fault: crate::Fault::Channel,
        },
        other => other,
    }
}

fn confirm<R: Serialize>(id: u64, receipt: R) -> Result<R, Failure> {
    let text = serde_json::to_vec(&receipt).ok().filter(|text| text != b"null");
    let confirmed = match dedup::confirm(id, text.as_deref()) {
        Err(error) if Code::from(error.code.clone()) == Code::TooLarge && text.is_some() => {
            crate::warn!("receipt not kept: {}", error.message);
            dedup::confirm(id, None)
        }
        other => other,
    };
    match confirmed {
        Ok(()) => Ok(receipt),
        Err(error) => {
            crate::error!("effect done but not confirmed: {}", HostError::from(error));
            Err(Failure::Unknown(String::new()))
        }
    }
}

/// Free the key; if the host knows better, the failure becomes `unknown`.
fn release(id: u64, failure: Failure) -> Failure {
    match dedup::release(id).map_err(HostError::from) {
        Err(HostError { code: Code::Uncertain, message, .. }) => {
            crate::warn!("claim kept: {message}");
            Failure::Unknown(String::new())
        }
        // Nothing is lost: the host decides about an open claim by what it saw leave.
        Err(error) => {
            crate::warn!("claim not released: {error}");
            failure
        }
        Ok(()) => failure,
    }
}

fn read<R: DeserializeOwned>(receipt: Option<&[u8]>) -> Result<R, Failure> {
    serde_json::from_slice(receipt.unwrap_or(b"null")).map_err(|error| {
        Failure::Reject(format!("done before, but its receipt is not what this plugin stores now: {error}"))
    })
}

#[cfg(test)]
mod tests;
