//! One event to very many recipients, page by page: each page's follow-up events and the place after them land in one batch, so a
//! crash, a time-out or a redeploy goes on after the last page and repeats nothing.
//!
//! A page is a nested transaction of the delivery (a claim and its confirm); between two rounds of pages the delivery is put off, at
//! no cost, so that no call runs long. The event is settled when the last page is out. It knows nothing of where the recipients
//! come from. Invariant: what a page published and the checkpoint after it are on disk together or not at all.

use crate::cx::Cx;
use crate::error::HostError;
use crate::host::{dedup, millis, wit};
use crate::publish::Publish;
use crate::verdict::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::time::Duration;
use wit::dedup::{Outcome as Claimed, Strength};

/// Pages of one round: a few thousand recipients, well within the CPU budget of an attempt.
const PAGES_PER_ROUND: u32 = 16;
/// A round ends early when it took this long: half of the CPU that a call has by default.
const ROUND_MAX: Duration = Duration::from_millis(250);
/// The checkpoint is the truth; the claim of a page is needed while the page is made.
const CLAIM_KEPT: Duration = Duration::from_secs(60);
/// How long a finished fan-out is remembered after its last page.
const DONE_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A fan-out being set up. Made by [`Cx::fan_out`]; ends with [`FanOut::run`].
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct FanOut<'a> {
    cx: &'a Cx,
    name: String,
    pages_per_round: u32,
}

/// Where a fan-out stands; a row of the plugin's kv store.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// What the page before said.
    cursor: Option<String>,
    /// Follow-up events so far, over all pages.
    sent: u64,
    pages: u64,
    is_done: bool,
}

/// One page being made.
#[derive(Debug)]
pub struct Page<'a> {
    cx: &'a Cx,
    prefix: String,
    cursor: Option<String>,
    sent: Cell<u64>,
}

impl<'a> Page<'a> {
    /// What the closure returned for the page before; none for the first one.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Follow-up events so far, over all pages; what was begun here counts.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// A follow-up event of this page. Its id is made of the event and the count, so it is the same if the page is made again, and
    /// no other page has it.
    pub fn publish(&self, topic: &str, kind: &str) -> Publish<'a> {
        let count = self.sent.get() + 1;
        self.sent.set(count);
        self.cx.publish(topic, kind).id(format!("{}{count}", self.prefix))
    }
}

impl<'a> FanOut<'a> {
    pub(crate) fn new(cx: &'a Cx, name: &str) -> Self {
        Self { cx, name: name.to_owned(), pages_per_round: PAGES_PER_ROUND }
    }

    /// Pages before the delivery is put off and others get their turn; by default 16.
    pub fn pages_per_round(mut self, pages: u32) -> Self {
        self.pages_per_round = pages.max(1);
        self
    }

    /// Make pages until there are no more. `page` publishes what belongs to one page (at most 256 events and 1 MiB) and returns the
    /// cursor of the next one, or none after the last. Needs the grants `kv` and `publish`.
    ///
    /// # Errors
    /// The failure that `page` returned, with nothing of that page done; `defer` when there is more to do; the host's.
    pub fn run(self, mut page: impl FnMut(&Page<'_>) -> Result<Option<String>, Failure>) -> Outcome {
        let key = format!("fan-out/{}/{}", self.name, self.cx.idempotency_key());
        let mut at: Checkpoint = self.cx.kv().get_json(&key)?.unwrap_or_default();
        let left = self.cx.remaining();
        for _ in 0..self.pages_per_round {
            if at.is_done {
                return Ok(());
            }
            if left.saturating_sub(self.cx.remaining()) > ROUND_MAX {
                break;
            }
            at = self.one(&key, &at, &mut page)?;
        }
        if at.is_done { Ok(()) } else { Err(Failure::Defer(Duration::ZERO)) }
    }

    /// Makes one page; the checkpoint after it.
    fn one(
        &self,
        key: &str,
        at: &Checkpoint,
        page: &mut impl FnMut(&Page<'_>) -> Result<Option<String>, Failure>,
    ) -> Result<Checkpoint, Failure> {
        let claim = self.open(&format!("{key}/{}", at.pages))?;
        let prefix = format!("{}/{}/", self.cx.idempotency_key(), self.name);
        let made = Page { cx: self.cx, prefix, cursor: at.cursor.clone(), sent: Cell::new(at.sent) };
        let cursor = match page(&made) {
            Ok(cursor) => cursor,
            Err(failure) => return Err(give_up(claim, failure)),
        };
        let is_done = cursor.is_none();
        let after = Checkpoint { cursor, sent: made.sent(), pages: at.pages + 1, is_done };
        let kept = is_done.then_some(DONE_KEPT);
        let confirmed = self.cx.kv().put_json(key, &after, kept);
        let confirmed = confirmed.and_then(|()| dedup::confirm(claim, None).map_err(HostError::from));
        // Whether it landed is not known: the next attempt looks at the checkpoint.
        confirmed.map_err(Failure::from)?;
        Ok(after)
    }

    /// A page left open by a crash published nothing, so it is made again whatever the claim says of it.
    fn open(&self, key: &str) -> Result<u64, Failure> {
        let claim = dedup::claim(self.cx.ticket(), key, Strength::Weak, Some(millis(CLAIM_KEPT)));
        match claim.map_err(HostError::from)? {
            Claimed::Claimed(claim) => Ok(claim.id),
            Claimed::Busy(time) => Err(Failure::Defer(Duration::from_millis(time))),
            // Its checkpoint was in the same batch: somebody took that away.
            Claimed::Done(_) => Err(Failure::Defer(CLAIM_KEPT)),
        }
    }
}

/// Nothing of the page stays. What it asked others for was a list: asking again does no harm, even if the answer was lost.
fn give_up(claim: u64, failure: Failure) -> Failure {
    if let Err(error) = dedup::release(claim) {
        crate::debug!("page kept open: {}", HostError::from(error));
    }
    match failure {
        Failure::Unknown(reference) => Failure::Retry {
            after: None,
            reason: format!("could not read a page of recipients {reference}"),
            fault: crate::Fault::Channel,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests;
