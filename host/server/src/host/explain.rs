//! `explain`: finds what was asked for and has every subscription say where it is.
//!
//! The words are in `told`; where anything is, the machines say. Changes nothing.

mod told;

use bugle_broker::{Explanation, ReadError, Stopped};
use bugle_core::code::Code;
use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{Name, Offset, Position};
use bugle_core::publish::IdState;
use bugle_core::spec::Subscription;
use bugle_core::subscription::{Answer, Question};

use super::{Host, locked};
use crate::api::{EventHead, ExplainView, ExplanationView};
use crate::moment;
use told::Told;

/// What shall be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The event at a place.
    Position(Position),
    /// The event of an id.
    Id {
        /// Topic.
        topic: String,
        /// CloudEvents `source`.
        source: String,
        /// CloudEvents `id`.
        id: String,
    },
    /// An ordering key.
    Key(String),
}

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The caller: no such subscription.
    #[error("there is no subscription `{0}`; `bugle subscription list` shows them")]
    UnknownSubscription(String),
    /// The caller: no such topic.
    #[error("there is no topic `{0}`; `bugle topic list` shows them")]
    UnknownTopic(String),
    /// The caller: no such event.
    #[error("there is no event at {0}; the log goes from {1} to {2}")]
    NoEvent(Position, Position, Position),
    /// The caller: no such id.
    #[error(
        "no event of topic `{topic}` with source `{source_name}` and id `{id}` is within the window of remembered ids; ask for its position"
    )]
    NoId {
        /// Topic.
        topic: String,
        /// CloudEvents `source`.
        source_name: String,
        /// CloudEvents `id`.
        id: String,
    },
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The host stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ExplainError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ExplainError::UnknownTopic(_) => Code::UnknownTopic,
            ExplainError::UnknownSubscription(_) | ExplainError::NoEvent(..) | ExplainError::NoId { .. } => {
                Code::NotFound
            }
            ExplainError::Read(_) => Code::StorageFailed,
            ExplainError::Stopped(_) => Code::Unavailable,
        }
    }
}

const CLASSES: [Class; 3] = [Class::Critical, Class::Normal, Class::Low];

impl Host {
    /// Where an event or a key is, in one subscription or all of them.
    pub async fn explain(&self, wanted: Wanted, subscription: Option<&str>) -> Result<ExplainView, ExplainError> {
        if let Some(name) = subscription.filter(|name| !locked(&self.definitions).contains_key(*name)) {
            return Err(ExplainError::UnknownSubscription(name.to_owned()));
        }
        let position = match wanted {
            Wanted::Key(key) => return self.explain_key(key, subscription).await,
            Wanted::Position(position) => position,
            Wanted::Id { topic, source, id } => self.position_of(topic, source, id).await?,
        };
        let event = self.bus().event(position).await?.ok_or_else(|| self.no_event(position))?;
        let mut head = self.event_head(&event);
        let mut asked = event;
        if asked.is_scheduled() {
            // No subscription ever gets it but its copy, so it is the copy that is explained.
            let (view, copy) = self.scheduled_view(&asked).await?;
            head.scheduled = Some(view);
            match copy {
                Some(copy) => asked = copy,
                None => return Ok(self.explained(head, Vec::new())),
            }
        }
        let (position, question) = (asked.position, Question::Event(asked));
        let explanations = self.bus().explain(&question, subscription).await?;
        let view = |explanation: Explanation| match explanation.answer {
            None => stopped(&explanation.subscription),
            Some(Answer::Event(explained)) => {
                let told = self.told(&explanation.subscription);
                told.event(position, &head, &explained, explanation.ending.as_ref())
            }
            // A machine answers a question for an event with an event.
            Some(Answer::Lane(_)) => stopped(&explanation.subscription),
        };
        let subscriptions = explanations.into_iter().map(view).collect();
        Ok(self.explained(head, subscriptions))
    }

    fn explained(&self, head: EventHead, subscriptions: Vec<ExplanationView>) -> ExplainView {
        ExplainView { event: Some(head), key: None, at: moment::text(self.bus().now()), subscriptions }
    }

    async fn explain_key(&self, key: String, subscription: Option<&str>) -> Result<ExplainView, ExplainError> {
        let mut subscriptions = Vec::new();
        for class in CLASSES {
            let question = Question::Lane { key: key.clone(), class };
            for explanation in self.bus().explain(&question, subscription).await? {
                match explanation.answer {
                    None => subscriptions.push(stopped(&explanation.subscription)),
                    Some(Answer::Lane(Some(lane))) => {
                        subscriptions.push(self.told(&explanation.subscription).lane(&key, class, &lane));
                    }
                    Some(Answer::Lane(None) | Answer::Event(_)) => {}
                }
            }
        }
        subscriptions.sort_by(|one, other| one.subscription.cmp(&other.subscription));
        subscriptions.dedup_by(|one, other| one.state == "stopped" && one.subscription == other.subscription);
        Ok(ExplainView { event: None, key: Some(key), at: moment::text(self.bus().now()), subscriptions })
    }

    async fn position_of(&self, topic: String, source: String, id: String) -> Result<Position, ExplainError> {
        let name = Name::from(topic.as_str());
        match self.bus().query(name, source.clone(), id.clone()).await? {
            None => Err(ExplainError::UnknownTopic(topic)),
            Some(IdState::NotInWindow) => Err(ExplainError::NoId { topic, source_name: source, id }),
            Some(IdState::Stored(position)) => Ok(position),
        }
    }

    fn no_event(&self, position: Position) -> ExplainError {
        let at = |offset| Position { slot: position.slot, offset };
        ExplainError::NoEvent(position, at(self.bus().floor()), at(self.bus().end()))
    }

    fn told(&self, subscription: &str) -> Told {
        let spec = self.bus().subscriptions().into_iter().find(|spec| *spec.name == *subscription);
        let has_records = spec.as_ref().is_some_and(|spec| spec.records);
        let topics = spec.iter().flat_map(|spec: &Subscription| &spec.topics).map(|id| self.topic_name(*id));
        Told {
            subscription: subscription.to_owned(),
            topics: topics.collect(),
            started_at: self.started_at(subscription).unwrap_or(Offset(0)),
            has_records,
            now: self.bus().now(),
        }
    }

    fn event_head(&self, stored: &StoredEvent) -> EventHead {
        let event = &stored.event;
        EventHead {
            position: stored.position.to_string(),
            topic: self.topic_name(stored.topic),
            kind: event.kind().to_owned(),
            source: event.source().to_owned(),
            id: event.id().to_owned(),
            key: event.key().map(str::to_owned),
            class: event.class().word().to_owned(),
            received: moment::text(stored.received),
            expires: event.timing().expires.map(moment::text),
            scheduled: None,
            released_from: event.timing().released_from.map(|place| place.to_string()),
        }
    }
}

fn stopped(subscription: &str) -> ExplanationView {
    ExplanationView {
        subscription: subscription.to_owned(),
        state: "stopped".to_owned(),
        why: vec!["its worker broke; see the log".to_owned()],
        next: "nothing, until the host is started again".to_owned(),
        ..ExplanationView::default()
    }
}
