//! What became of something: send records, with names in place of numbers.

use bugle_broker::ReadError;
use bugle_core::ids::TopicId;
use bugle_store::RecordEntry;

use super::Host;
use crate::api::RecordView;
use crate::moment;

/// Records of one business key that are looked at: one per event, subscription and recipient.
const RECORDS_MAX: usize = 1000;

impl Host {
    /// Send records of all subscriptions for a business key, oldest first.
    pub async fn records(&self, business_key: String, recipient: Option<String>) -> Result<Vec<RecordView>, ReadError> {
        let mut found = self.bus().records(business_key, RECORDS_MAX).await?;
        found.retain(|entry| recipient.as_ref().is_none_or(|wanted| entry.row.recipient == *wanted));
        found.sort_by_key(|entry| entry.row.at);
        let specs = self.bus().subscriptions();
        let name = |id| specs.iter().find(|spec| spec.id == id).map(|spec| spec.name.to_string());
        // A record outlives its subscription; then its number is all that is left of the name.
        let view = |entry: RecordEntry| {
            record(name(entry.subscription).unwrap_or_else(|| entry.subscription.to_string()), entry)
        };
        Ok(found.into_iter().map(view).collect())
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
    RecordView {
        subscription,
        position: position.to_string(),
        event_id: row.event_id,
        business_key: row.business_key,
        recipient: row.recipient,
        status: row.status.word().to_owned(),
        provider: row.provider,
        provider_reference: row.provider_reference,
        detail: row.detail,
        attempt: row.attempt.0,
        at: moment::text(row.at),
    }
}
