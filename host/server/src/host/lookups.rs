//! What became of something: send records and dead letters, with names in place of numbers.

use bugle_broker::ReadError;
use bugle_core::ids::{Position, TopicId};
use bugle_core::row::{AttemptNote, DeadRow};
use bugle_store::RecordEntry;

use super::Host;
use crate::api::{AttemptView, DeadView, RecordView};
use crate::{event_json, moment};

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

    /// Dead letters of one subscription or all, oldest first.
    pub async fn dead(&self, subscription: Option<String>, limit: usize) -> Result<Vec<DeadView>, ReadError> {
        let mut found: Vec<(String, Position, DeadRow)> = Vec::new();
        for spec in self.bus().subscriptions() {
            if subscription.as_deref().is_some_and(|wanted| *wanted != *spec.name) {
                continue;
            }
            let rows = self.bus().dead(&spec.name, None, limit).await?;
            found.extend(rows.into_iter().map(|entry| (spec.name.to_string(), entry.position, entry.row)));
        }
        found.sort_by_key(|(_, _, row)| row.at);
        found.truncate(limit);
        Ok(found.into_iter().map(|found| self.dead_view(found)).collect())
    }

    fn dead_view(&self, (subscription, position, row): (String, Position, DeadRow)) -> DeadView {
        DeadView {
            subscription,
            position: position.to_string(),
            cause: row.cause,
            reason: row.reason,
            attempts: row.attempts,
            channel_faults: row.channel,
            plugin_faults: row.plugin,
            at: moment::text(row.at),
            history: row.notes.into_iter().map(attempt).collect(),
            event: event_json::view(&row.event, &self.topic_name(row.event.topic)),
        }
    }

    /// The name of a topic; its number in the impossible case that it has none.
    #[must_use]
    pub fn topic_name(&self, id: TopicId) -> String {
        let topics = self.bus().topics();
        let found = topics.into_iter().find(|topic| topic.id == id);
        found.map_or_else(|| id.to_string(), |topic| topic.name.to_string())
    }
}

fn attempt(note: AttemptNote) -> AttemptView {
    AttemptView { attempt: note.attempt.0, at: moment::text(note.at), reason: note.reason }
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
