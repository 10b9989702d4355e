//! What became of something: send records, with names in place of numbers.

use bugle_broker::{Lookup, ReadError};
use bugle_core::code::Code;
use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::time::{Millis, Timestamp};
use bugle_store::RecordEntry;

use super::Host;
use crate::api::{RecordFilter, RecordView};
use crate::moment;

/// Why send records were not found.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The caller: nothing to look for.
    #[error("nothing to look for; give a business key, a recipient, an event's id or a provider's reference")]
    Nothing,
    /// The operator: there are too many old states to look through.
    #[error(
        "there are too many states of send records that others followed, so not all late ones were found; they go with time: shorten `storage.records`"
    )]
    Cut,
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl RecordsError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            RecordsError::Nothing => Code::Invalid,
            RecordsError::Cut => Code::Unavailable,
            RecordsError::Read(_) => Code::StorageFailed,
        }
    }
}

/// Records of one lookup that are looked at: one per event, subscription and recipient.
const RECORDS_MAX: usize = 1000;

impl Host {
    /// Send records that a filter selects, oldest first. The most selective part of it is looked up, the others are compared.
    pub async fn records(&self, filter: &RecordFilter) -> Result<Vec<RecordView>, RecordsError> {
        let RecordFilter { key, recipient, event, provider_ref, subscription } = filter;
        let lookup = key.clone().map(Lookup::BusinessKey);
        let lookup = lookup.or_else(|| event.clone().map(Lookup::Event));
        let lookup = lookup.or_else(|| provider_ref.clone().map(Lookup::Reference));
        let lookup = lookup.or_else(|| recipient.clone().map(Lookup::Recipient)).ok_or(RecordsError::Nothing)?;
        let mut found = self.bus().find_records(lookup, RECORDS_MAX).await?;
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| *wanted == *value);
        found.retain(|RecordEntry { row, .. }| {
            is(key, &row.business_key)
                && is(recipient, &row.recipient)
                && is(event, &row.event_id)
                && is(provider_ref, &row.provider_reference)
        });
        found.sort_by_key(|entry| entry.row.at);
        Ok(self.record_views(found, subscription.as_deref()))
    }

    /// Send records that have waited for something to follow for this long or longer, oldest first.
    pub async fn late_records(
        &self,
        older: Millis,
        subscription: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RecordView>, RecordsError> {
        let before = Timestamp(self.bus().now().0.saturating_sub(older.0));
        let id = match subscription.map(|name| (name, self.spec(name))) {
            None => None,
            Some((_, Some(spec))) => Some(spec.id),
            // Of one that is gone the number is left.
            Some((name, None)) => match name.parse() {
                Ok(number) => Some(SubscriptionId(number)),
                Err(_) => return Ok(Vec::new()),
            },
        };
        let late = self.bus().late_records(before, id, limit.min(RECORDS_MAX)).await?;
        if late.is_cut {
            return Err(RecordsError::Cut);
        }
        Ok(self.record_views(late.found, None))
    }

    fn record_views(&self, found: Vec<RecordEntry>, subscription: Option<&str>) -> Vec<RecordView> {
        let specs = self.bus().subscriptions();
        let name = |id| specs.iter().find(|spec| spec.id == id).map(|spec| spec.name.to_string());
        // A record outlives its subscription; then its number is all that is left of the name.
        let view = |entry: RecordEntry| {
            record(name(entry.subscription).unwrap_or_else(|| entry.subscription.to_string()), entry)
        };
        let views = found.into_iter().map(view);
        views.filter(|view| subscription.is_none_or(|wanted| view.subscription == wanted)).collect()
    }

    /// The name of a topic; its number in the impossible case that it has none.
    #[must_use]
    pub fn topic_name(&self, id: TopicId) -> String {
        let topics = self.bus().topics();
        let found = topics.into_iter().find(|topic| topic.id == id);
        found.map_or_else(|| id.to_string(), |topic| topic.name.to_string())
    }
}

fn record(subscription: String, RecordEntry { position, row, .. }: RecordEntry) -> RecordView {
    let is_open = row.is_waiting();
    RecordView {
        subscription,
        position: position.to_string(),
        event_id: row.event_id,
        business_key: row.business_key,
        recipient: row.recipient,
        status: row.status.word().to_owned(),
        is_open,
        provider: row.provider,
        provider_reference: row.provider_reference,
        detail: row.detail,
        attempt: row.attempt.0,
        at: moment::text(row.at),
    }
}
