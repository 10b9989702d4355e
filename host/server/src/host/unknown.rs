//! Unknown results of the running host: list, show, resolve.
//!
//! The core decides what a resolution does with claims and deliveries; here rows are selected and told of. Every change leaves its
//! audit row in the same batch. Knows nothing of HTTP.
//!
//! Invariant: what changes many rows was confirmed by somebody who knew how many.

use bugle_broker::{ChangeLettersError, HoldLettersError, Letters, ReadError};
use bugle_core::code::Code;
use bugle_core::ids::Position;
use bugle_core::origin::Origin;
use bugle_core::row::{UnknownRow, UnknownState};
use bugle_core::spec::Subscription;
use bugle_core::subscription::{Resolution, ResolveError, Resolved as Outcome};
use bugle_core::time::Timestamp;

use super::Host;
use super::dead::attempt;
use super::dead::filter::{Seen, Wanted};
use crate::api::{DeadFilter, ResolveRequest, Resolved, UnknownFilter, UnknownView};
use crate::{catalog, event_json, moment};

/// Rows changed in one batch.
const CHANGED_AT_ONCE: usize = 64;
/// Rows read at once.
const PAGE: usize = bugle_broker::LETTERS_PAGE_MAX;
/// As long as a guest's receipt may be.
const RECEIPT_BYTES_MAX: usize = 4 << 10;

/// Why something was not done with unknown results.
#[derive(Debug, thiserror::Error)]
pub enum UnknownError {
    /// The caller: the filter or the resolution.
    #[error("{0}")]
    Invalid(String),
    /// The caller: no such row.
    #[error(
        "there is no unknown result of `{subscription}` at {position}; `bugle unknown list {subscription}` shows them"
    )]
    NotFound {
        /// The subscription.
        subscription: String,
        /// The place.
        position: Position,
    },
    /// The caller: it would be many.
    #[error("this would resolve {rows} unknown results of `{subscription}`; confirm that number to do it")]
    Unconfirmed {
        /// The subscription.
        subscription: String,
        /// How many.
        rows: u64,
    },
    /// The caller: what was said before, or a call that is under way.
    #[error("the unknown result at {position} was left as it is: {source}")]
    Refused {
        /// The place.
        position: Position,
        /// Why.
        source: ResolveError,
    },
    /// The caller: the subscription.
    #[error(transparent)]
    Hold(#[from] HoldLettersError),
    /// The operator: the disk, or the host stops.
    #[error(transparent)]
    Change(#[from] ChangeLettersError),
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl UnknownError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            UnknownError::Invalid(_) => Code::Invalid,
            UnknownError::NotFound { .. } | UnknownError::Hold(HoldLettersError::NotFound(_)) => Code::NotFound,
            UnknownError::Unconfirmed { .. }
            | UnknownError::Refused { .. }
            | UnknownError::Hold(HoldLettersError::Busy(_)) => Code::Conflict,
            UnknownError::Change(ChangeLettersError::Stopped(_)) => Code::Unavailable,
            UnknownError::Change(ChangeLettersError::Read(_)) | UnknownError::Read(_) => Code::StorageFailed,
        }
    }
}

/// A parsed filter.
struct Meant {
    rest: Wanted,
    state: Option<UnknownState>,
}

impl Meant {
    fn parse(filter: &UnknownFilter, now: Timestamp) -> Result<Meant, UnknownError> {
        let UnknownFilter { position, kind, key, since, until, revision, state } = filter.clone();
        let state = state.map(|word| {
            let words = "`open`, `sent`, `not-sent` or `retried`";
            UnknownState::from_word(&word)
                .ok_or_else(|| format!("`{word}` is not a state of an unknown result; use {words}"))
        });
        let rest = DeadFilter { position, kind, key, cause: None, since, until, revision, state: None };
        let rest = Wanted::parse(&rest, now).map_err(UnknownError::Invalid)?;
        Ok(Meant { rest, state: state.transpose().map_err(UnknownError::Invalid)? })
    }

    fn matches(&self, row: &UnknownRow) -> bool {
        let seen = Seen { event: &row.event, cause: "", revision: row.revision.as_ref(), at: row.at };
        self.rest.selects(&seen) && self.state.is_none_or(|state| row.state == state)
    }
}

fn resolution(request: &ResolveRequest) -> Result<Resolution, UnknownError> {
    let receipt = request.receipt.as_ref().map(|receipt| receipt.clone().into_bytes());
    if receipt.as_ref().is_some_and(|receipt| receipt.len() > RECEIPT_BYTES_MAX) {
        return Err(UnknownError::Invalid(format!("the receipt is longer than {RECEIPT_BYTES_MAX} bytes")));
    }
    match (request.resolution.as_str(), receipt) {
        ("sent", receipt) => Ok(Resolution::Sent { receipt }),
        ("not-sent", None) => Ok(Resolution::NotSent),
        ("retry", None) => Ok(Resolution::Retry),
        ("not-sent" | "retry", Some(_)) => {
            Err(UnknownError::Invalid("a receipt is of something that was sent; give it with `sent` only".to_owned()))
        }
        (other, _) => Err(UnknownError::Invalid(format!(
            "`{other}` cannot be said of an unknown result; use `sent`, `not-sent` or `retry`"
        ))),
    }
}

impl Host {
    /// Unknown results of one subscription or all that a filter selects, oldest first.
    pub async fn unknown(
        &self,
        subscription: Option<&str>,
        filter: &UnknownFilter,
        limit: usize,
    ) -> Result<Vec<UnknownView>, UnknownError> {
        let meant = Meant::parse(filter, self.bus().now())?;
        let mut found: Vec<(Subscription, UnknownRow)> = Vec::new();
        for spec in self.bus().subscriptions() {
            if subscription.is_some_and(|wanted| *wanted != *spec.name) {
                continue;
            }
            let (mut after, mut count) = (None, 0);
            while count < limit {
                let page = self.bus().unknown(&spec.name, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.position);
                let rows = page.into_iter().map(|entry| entry.row).filter(|row| meant.matches(row));
                let rows: Vec<_> = rows.take(limit - count).map(|row| (spec.clone(), row)).collect();
                count += rows.len();
                found.extend(rows);
            }
        }
        found.sort_by_key(|(_, row)| row.at);
        found.truncate(limit);
        Ok(found.into_iter().map(|(spec, row)| self.unknown_view(&spec, row)).collect())
    }

    /// One unknown result.
    pub async fn unknown_result(&self, subscription: &str, position: Position) -> Result<UnknownView, UnknownError> {
        let none = || UnknownError::NotFound { subscription: subscription.to_owned(), position };
        let spec = self.spec(subscription).ok_or_else(none)?;
        let row = self.bus().unknown_at(subscription, position).await?.ok_or_else(none)?;
        Ok(self.unknown_view(&spec, row))
    }

    /// Writes down what a person says of unknown results, and does what follows from it.
    pub async fn resolve(&self, request: &ResolveRequest) -> Result<Resolved, UnknownError> {
        let resolution = resolution(request)?;
        let ResolveRequest { subscription, filter, remark, confirm, .. } = request;
        let remark = remark.as_deref().unwrap_or_default();
        let mut meant = Meant::parse(filter, self.bus().now())?;
        let mut letters = self.bus().hold_letters(subscription)?;
        if let Some(position) = meant.rest.position {
            return self.resolve_at(&mut letters, subscription, position, resolution, remark).await;
        }
        meant.state.get_or_insert(UnknownState::Open);
        let selected = select(&letters, &meant).await?;
        let count = selected.len() as u64;
        if count > 1 && confirm.is_none_or(|confirmed| confirmed < count) {
            return Err(UnknownError::Unconfirmed { subscription: subscription.clone(), rows: count });
        }
        let audit = self.audit("unknown.resolve", subscription);
        let mut done = Resolved::default();
        for positions in selected.chunks(CHANGED_AT_ONCE) {
            let before = done.resolved;
            let word = resolution.state().word();
            let also = |more| vec![audit.row(format!("{} as {word}; {}", before + more as u64, meant.rest))];
            let told = resolution.clone();
            for answer in letters.resolve(positions.to_vec(), told, remark, |row| meant.matches(row), also).await? {
                match answer {
                    Some(Ok(Outcome::Now(_))) => done.resolved += 1,
                    Some(Ok(Outcome::Before)) => done.before += 1,
                    Some(Err(_)) | None => done.skipped += 1,
                }
            }
        }
        Ok(done)
    }

    async fn resolve_at(
        &self,
        letters: &mut Letters,
        subscription: &str,
        position: Position,
        resolution: Resolution,
        remark: &str,
    ) -> Result<Resolved, UnknownError> {
        let audit = self.audit("unknown.resolve", &format!("{subscription} {position}"));
        let word = resolution.state().word();
        let also = |_| vec![audit.row(format!("as {word}"))];
        // What was said before is judged by the core, which says what is wrong with it.
        let answers = letters.resolve(vec![position], resolution, remark, |_| true, also).await?;
        match answers.into_iter().next().flatten() {
            Some(Ok(Outcome::Now(_))) => Ok(Resolved { resolved: 1, ..Resolved::default() }),
            Some(Ok(Outcome::Before)) => Ok(Resolved { before: 1, ..Resolved::default() }),
            Some(Err(source)) => Err(UnknownError::Refused { position, source }),
            None => Err(UnknownError::NotFound { subscription: subscription.to_owned(), position }),
        }
    }

    fn unknown_view(&self, spec: &Subscription, row: UnknownRow) -> UnknownView {
        let origin = Origin::of(spec.id, spec.redelivery, &row.event);
        let origin = Origin { generation: row.generation, ..origin };
        UnknownView {
            subscription: spec.name.to_string(),
            position: row.event.position.to_string(),
            state: row.state.word().to_owned(),
            decided: row.decided.map(moment::text),
            remark: row.remark,
            reference: row.reference,
            claims: row.claims.into_iter().map(|claim| claim.key).collect(),
            attempts: row.attempts,
            at: moment::text(row.at),
            revision: row.revision.as_ref().map(catalog::digits),
            trace: row.event.event.attribute("traceparent").map(str::to_owned),
            idempotency_key: self.bus().idempotency_key(&origin),
            history: row.notes.into_iter().map(attempt).collect(),
            event: event_json::view(&row.event, &self.topic_name(origin.topic)),
        }
    }
}

/// The rows that are meant, in the order of their first events, so that copies of one key come in their old order.
async fn select(letters: &Letters, meant: &Meant) -> Result<Vec<Position>, ReadError> {
    let mut selected = Vec::new();
    let mut after = None;
    loop {
        let page = letters.unknown_page(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        let rows = page.iter().filter(|entry| meant.matches(&entry.row));
        selected.extend(rows.map(|entry| (letters.unknown_origin(&entry.row).position, entry.position)));
    }
    selected.sort_unstable();
    Ok(selected.into_iter().map(|(_, position)| position).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(resolution: &str, receipt: Option<String>) -> ResolveRequest {
        ResolveRequest {
            subscription: "sms".to_owned(),
            filter: UnknownFilter::default(),
            resolution: resolution.to_owned(),
            receipt,
            remark: None,
            confirm: None,
        }
    }

    #[test]
    fn only_what_makes_sense_can_be_said() {
        let said = |word: &str, receipt: Option<&str>| resolution(&request(word, receipt.map(str::to_owned)));
        assert_eq!(said("sent", None).unwrap(), Resolution::Sent { receipt: None });
        assert_eq!(said("sent", Some("1")).unwrap(), Resolution::Sent { receipt: Some(b"1".to_vec()) });
        assert_eq!(said("not-sent", None).unwrap(), Resolution::NotSent);
        assert_eq!(said("retry", None).unwrap(), Resolution::Retry);
        let refused = |word: &str, receipt: Option<&str>, told: &str| {
            let error = said(word, receipt).unwrap_err();
            assert!(error.code() == Code::Invalid && error.to_string().contains(told), "{error}");
        };
        refused("lost", None, "`not-sent`");
        refused("retry", Some("1"), "with `sent` only");
        refused("sent", Some(&"x".repeat(RECEIPT_BYTES_MAX + 1)), "4096 bytes");
        let filter = UnknownFilter { state: Some("manual".to_owned()), ..UnknownFilter::default() };
        let error = Meant::parse(&filter, Timestamp(0)).err().unwrap();
        assert!(error.to_string().contains("`retried`"), "{error}");
    }
}
