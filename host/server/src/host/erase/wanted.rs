//! Whose content is meant. Knows nothing of how it is erased.

use std::collections::BTreeMap;

use bugle_core::event::StoredEvent;
use bugle_core::ids::TopicId;
use bugle_core::origin::{Origin, SETTLED_TOPIC};
use bugle_core::spec::Subscription;
use sha2::{Digest as _, Sha256};

use super::EraseError;
use crate::api::EraseRequest;
use crate::host::Host;

/// The ordering key, by its CloudEvents name.
const KEY: &str = "partitionkey";

/// See the module.
pub(super) struct Wanted {
    /// The attribute and its value; none if only records are meant.
    event: Option<(String, String)>,
    pub(super) recipient: Option<String>,
    topic: Option<Topic>,
}

/// Where to look, if not everywhere.
struct Topic {
    id: TopicId,
    /// Subscriptions by their private topics: a copy is of the topic of its first event.
    private: BTreeMap<TopicId, Subscription>,
    /// The topic of outcomes, and the subscriptions whose outcomes may be of this topic.
    settled: Option<TopicId>,
    covering: Vec<String>,
}

impl Wanted {
    pub(super) fn of(host: &Host, request: &EraseRequest) -> Result<Wanted, EraseError> {
        let EraseRequest { topic, key, attribute, value, recipient, dry_run: _, receipt: _ } = request.clone();
        let event = match (key, attribute, value) {
            (Some(key), None, None) => Some((KEY.to_owned(), key)),
            (None, Some(attribute), Some(value)) => Some((attribute, value)),
            (None, None, None) => None,
            (_, _, _) => {
                return Err(EraseError::Invalid("give `key`, or `attribute` and `value`, not both and not half of it"));
            }
        };
        if event.is_none() && recipient.is_none() {
            return Err(EraseError::Invalid(
                "say whose content: a `key`, an `attribute` and its `value`, or a `recipient`",
            ));
        }
        let texts = event.iter().map(|(_, value)| value).chain(&recipient);
        if texts.into_iter().any(String::is_empty) {
            return Err(EraseError::Invalid("an empty text names nobody"));
        }
        if event.is_none() && topic.is_some() {
            return Err(EraseError::Invalid("records of a recipient are erased in all topics; leave `topic` out"));
        }
        let topic = topic.map(|name| Topic::of(host, &name)).transpose()?;
        Ok(Wanted { event, recipient, topic })
    }

    /// Whether events are meant, and not only records.
    pub(super) fn means_events(&self) -> bool {
        self.event.is_some()
    }

    pub(super) fn means(&self, stored: &StoredEvent) -> bool {
        let Some((name, value)) = &self.event else { return false };
        !stored.event.is_erased()
            && stored.event.attribute(name) == Some(value)
            && self.topic.as_ref().is_none_or(|topic| topic.has(stored))
    }

    /// For the audit, which must not keep what was erased, nor a hash that guesses can be tried on: who has the receipt too can prove
    /// that it was this.
    pub(super) fn fingerprint(&self, receipt: &str) -> String {
        let hash = |text: &str| {
            let hash = Sha256::digest(format!("{receipt} {text}"));
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let event = self.event.iter().map(|(name, value)| format!("{name} sha256:{}", hash(value)));
        let recipient = self.recipient.iter().map(|recipient| format!("recipient sha256:{}", hash(recipient)));
        event.chain(recipient).collect::<Vec<_>>().join(", ")
    }
}

impl Topic {
    fn of(host: &Host, name: &str) -> Result<Topic, EraseError> {
        let id = host.bus().topic(name).ok_or_else(|| EraseError::UnknownTopic(name.to_owned()))?;
        let specs = host.bus().subscriptions();
        let covering =
            specs.iter().filter(|spec| spec.topics.contains(&id)).map(|spec| spec.name.to_string()).collect();
        let private = specs.into_iter().filter_map(|spec| Some((spec.redelivery?, spec))).collect();
        Ok(Topic { id, private, settled: host.bus().topic(SETTLED_TOPIC), covering })
    }

    fn has(&self, stored: &StoredEvent) -> bool {
        if let Some(spec) = self.private.get(&stored.topic) {
            return Origin::of(spec.id, spec.redelivery, stored).topic == self.id;
        }
        if self.settled == Some(stored.topic) {
            let of = stored.event.attribute("subscription");
            return of.is_some_and(|of| self.covering.iter().any(|name| name == of));
        }
        stored.topic == self.id
    }
}
