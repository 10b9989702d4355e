//! Whose content is meant. Knows nothing of how it is erased.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, Position, TopicId};
use bugle_core::origin::{Origin, SETTLED_TOPIC};
use bugle_core::spec::Subscription;
use sha2::{Digest as _, Sha256};

use super::EraseError;
use crate::api::EraseRequest;
use crate::host::Host;

/// The ordering key, by its CloudEvents name.
const KEY: &str = "partitionkey";

/// What an outcome says of its event, before the name of the event's own attribute.
const OF_EVENT: &str = "event";
/// Whom an outcome is of, if its plugin noted that.
const OF_RECIPIENT: &str = "eventrecipient";

/// Whether an outcome is of one of these events.
fn tells_of(outcome: &StoredEvent, gone: &BTreeSet<Offset>) -> bool {
    let position = outcome.event.attribute("eventposition").and_then(|text| text.parse::<Position>().ok());
    position.is_some_and(|position| gone.contains(&position.offset))
}

/// See the module.
pub(super) struct Wanted {
    /// The attribute and its value; none if only records are meant.
    event: Option<(String, String)>,
    pub(super) recipient: Option<String>,
    topic: Option<Topic>,
    /// The topic of outcomes.
    settled: Option<TopicId>,
}

/// Where to look, if not everywhere.
struct Topic {
    id: TopicId,
    /// Subscriptions by their private topics: a copy is of the topic of its first event.
    private: BTreeMap<TopicId, Subscription>,
    /// The subscriptions whose outcomes may be of this topic.
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
        if event.iter().map(|(_, value)| value).chain(&recipient).any(String::is_empty) {
            return Err(EraseError::Invalid("an empty text names nobody"));
        }
        if event.is_none() && topic.is_some() {
            return Err(EraseError::Invalid("records of a recipient are erased in all topics; leave `topic` out"));
        }
        let topic = topic.map(|name| Topic::of(host, &name)).transpose()?;
        Ok(Wanted { event, recipient, topic, settled: host.bus().topic(SETTLED_TOPIC) })
    }

    /// Whether the content of an event is meant; `gone` are places of earlier events whose content went.
    pub(super) fn means(&self, stored: &StoredEvent, gone: &BTreeSet<Offset>) -> bool {
        let (event, is_outcome) = (&stored.event, self.is_outcome(stored));
        if event.is_erased() {
            return false;
        }
        if is_outcome
            && (self.recipient.as_deref().is_some_and(|of| event.attribute(OF_RECIPIENT) == Some(of))
                || tells_of(stored, gone))
        {
            return true;
        }
        let Some((name, value)) = &self.event else { return false };
        let has = |name: &str| event.attribute(name) == Some(value);
        (has(name) || is_outcome && has(&format!("{OF_EVENT}{name}")))
            && self.topic.as_ref().is_none_or(|topic| topic.has(stored, is_outcome))
    }

    /// What must not be found any more.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.event.iter().map(|(_, value)| value.as_str()).chain(self.recipient.as_deref())
    }

    /// Whether an event tells how a delivery ended.
    pub(super) fn is_outcome(&self, stored: &StoredEvent) -> bool {
        self.settled == Some(stored.topic)
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
        Ok(Topic { id, private, covering })
    }

    fn has(&self, stored: &StoredEvent, is_outcome: bool) -> bool {
        if let Some(spec) = self.private.get(&stored.topic) {
            return Origin::of(spec.id, spec.redelivery, stored).topic == self.id;
        }
        if is_outcome {
            let of = stored.event.attribute("subscription");
            return of.is_some_and(|of| self.covering.iter().any(|name| name == of));
        }
        stored.topic == self.id
    }
}
