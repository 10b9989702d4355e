//! Unknown results of the running host: list, show, resolve.
//!
//! The core decides what a resolution does with claims and deliveries; here rows are selected and told of. Every change leaves its
//! audit row in the same batch. Knows nothing of HTTP.
//!
//! Invariant: what changes many rows was confirmed by somebody who knew how many.

use bugle_broker::Letters;
use bugle_core::ids::Position;
use bugle_core::origin::Origin;
use bugle_core::row::{UnknownRow, UnknownState};
use bugle_core::spec::Subscription;
use bugle_core::subscription::{Resolution, Resolved as Outcome};

use super::Host;
use super::kept::{CHANGED_AT_ONCE, Kept as _, KeptError, attempt};
use crate::api::{KeptFilter, ResolveRequest, Resolved, UnknownView};
use crate::{catalog, event_json, moment};

/// As long as a guest's receipt may be.
const RECEIPT_BYTES_MAX: usize = 4 << 10;

fn resolution(request: &ResolveRequest) -> Result<Resolution, KeptError> {
    let receipt = request.receipt.as_ref().map(|receipt| receipt.clone().into_bytes());
    if receipt.as_ref().is_some_and(|receipt| receipt.len() > RECEIPT_BYTES_MAX) {
        return Err(KeptError::Invalid(format!("the receipt is longer than {RECEIPT_BYTES_MAX} bytes")));
    }
    match (request.resolution.as_str(), receipt) {
        ("sent", receipt) => Ok(Resolution::Sent { receipt }),
        ("not-sent", None) => Ok(Resolution::NotSent),
        ("retry", None) => Ok(Resolution::Retry),
        ("not-sent" | "retry", Some(_)) => {
            Err(KeptError::Invalid("a receipt is of something that was sent; give it with `sent` only".to_owned()))
        }
        (other, _) => Err(KeptError::Invalid(format!(
            "`{other}` cannot be said of an unknown result; use `sent`, `not-sent` or `retry`"
        ))),
    }
}

impl Host {
    /// Unknown results of one subscription or all that a filter selects, oldest first.
    pub async fn unknown(
        &self,
        subscription: Option<&str>,
        filter: &KeptFilter,
        limit: usize,
    ) -> Result<Vec<UnknownView>, KeptError> {
        let found = self.kept(subscription, filter, limit).await?;
        Ok(found.into_iter().map(|(spec, row)| self.unknown_view(&spec, row)).collect())
    }

    /// One unknown result.
    pub async fn unknown_result(&self, subscription: &str, position: Position) -> Result<UnknownView, KeptError> {
        let none = || UnknownRow::not_found(subscription, position);
        let spec = self.spec(subscription).ok_or_else(none)?;
        let row = self.bus().unknown_at(subscription, position).await?.ok_or_else(none)?;
        Ok(self.unknown_view(&spec, row))
    }

    /// Writes down what a person says of unknown results, and does what follows from it.
    pub async fn resolve(&self, request: &ResolveRequest) -> Result<Resolved, KeptError> {
        let resolution = resolution(request)?;
        let ResolveRequest { subscription, filter, remark, confirm, .. } = request;
        let remark = remark.as_deref().unwrap_or_default();
        let mut wanted = self.wanted(filter)?;
        let mut letters = self.bus().hold_letters(subscription)?;
        if let Some(position) = wanted.position {
            return self.resolve_at(&mut letters, subscription, position, resolution, remark).await;
        }
        wanted.state.get_or_insert(UnknownState::Open);
        let selected = self.select::<UnknownRow>(subscription, &letters, &wanted).await?;
        UnknownRow::confirm(&selected, *confirm, "resolve", subscription)?;
        let audit = self.audit("unknown.resolve", subscription);
        let mut done = Resolved::default();
        for chunk in selected.chunks(CHANGED_AT_ONCE) {
            let positions = chunk.iter().map(|row| row.position).collect();
            let before = done.resolved;
            let word = resolution.state().word();
            let also = |more| vec![audit.row(format!("{} as {word}; {wanted}", before + more as u64))];
            let told = resolution.clone();
            for answer in letters.resolve(positions, told, remark, |row| row.is_wanted(&wanted), also).await? {
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
    ) -> Result<Resolved, KeptError> {
        let audit = self.audit("unknown.resolve", &format!("{subscription} {position}"));
        let word = resolution.state().word();
        let also = |_| vec![audit.row(format!("as {word}"))];
        // What was said before is judged by the core, which says what is wrong with it.
        let answers = letters.resolve(vec![position], resolution, remark, |_| true, also).await?;
        match answers.into_iter().next().flatten() {
            Some(Ok(Outcome::Now(_))) => Ok(Resolved { resolved: 1, ..Resolved::default() }),
            Some(Ok(Outcome::Before)) => Ok(Resolved { before: 1, ..Resolved::default() }),
            Some(Err(why)) => Err(UnknownRow::refused(position, why)),
            None => Err(UnknownRow::not_found(subscription, position)),
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

#[cfg(test)]
mod tests {
    use bugle_core::code::Code;

    use super::*;

    fn request(resolution: &str, receipt: Option<String>) -> ResolveRequest {
        ResolveRequest {
            subscription: "sms".to_owned(),
            filter: KeptFilter::default(),
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
    }
}
